"""What all benchmarks share: rows of figures as a table, photos by repetition, processes of their own."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tfcaption.benchmarks import baselines
from tfcaption.runtime.errors import UsageError


@dataclass
class Row:
    """One candidate: what it is, and a value for each repeat."""

    name: str
    unit: str
    reference: str = ""  # the name of the row that the ratio is to
    values: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def median(self) -> float:
        """Of the repeats."""
        return statistics.median(self.values)


def benchmark_table(rows: Sequence[Row]) -> str:
    """Rows as text: median, range, and how many times the reference's speed."""
    medians = {row.name: row.median for row in rows}
    lines = [f"{'':58} {'median':>10} {'range':>21} {'ratio':>8}"]
    for row in rows:
        ratio = f"{ratio_to(row, medians):7.2f}x" if row.reference else ""
        spread = f"{min(row.values):,.1f} - {max(row.values):,.1f}"
        lines.append(f"{row.name:58} {row.median:10,.1f} {spread:>21} {ratio:>8}  {row.unit}{row.note}")
    return "\n".join(lines)


def ratio_to(row: Row, medians: dict[str, float]) -> float:
    """How many times as fast (or as much) as its reference; a row in seconds is faster where it is smaller."""
    ratio = row.median / medians[row.reference]
    return 1 / ratio if row.unit == "s an epoch" else ratio


@contextmanager
def repeated_photos(images: str, count: int) -> Iterator[tuple[Path, Path, list[str]]]:
    """A Flickr8k layout of `count` photos: those below `images`, over and over, by links.

    Yields:
        The folder of the photos, the folder of the captions, and the photos' paths.
    """
    originals = baselines.find_photos(images)
    with tempfile.TemporaryDirectory() as name:
        folder, texts = Path(name) / "photos", Path(name) / "text"
        folder.mkdir()
        texts.mkdir()
        lines, paths = [], []
        for index in range(count):
            path = folder / f"photo_{index:06d}.jpg"
            path.symlink_to(originals[index % len(originals)].resolve())
            paths.append(str(path))
            lines += [f"{path.name}#{k}\tA photo of number {index % 50} .\n" for k in range(5)]
        (texts / "Flickr8k.token.txt").write_text("".join(lines))
        (texts / "Flickr_8k.trainImages.txt").write_text("".join(f"{Path(path).name}\n" for path in paths))
        yield folder, texts, paths


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def run_module(*arguments: object) -> None:
    """Run `python -m` with these arguments; raises ValueError with the last line of what it complains of."""
    done = subprocess.run([sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise UsageError(f"{arguments[0]} failed: {done.stderr.strip().splitlines()[-1]}")


def seconds_of(work: Callable[[], object]) -> float:
    """How long some work takes."""
    start = time.monotonic()
    work()
    return time.monotonic() - start
