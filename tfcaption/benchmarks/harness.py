"""Shared by all benchmarks: rows of results, their table and JSON, photos by repetition, commands in processes."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tfcaption.preprocessing.photos import photos_below
from tfcaption.runtime.errors import TfcaptionError, UsageError

SECONDS_PER_EPOCH = "s/epoch"


class BenchmarkError(TfcaptionError):
    """A measured command that failed; the message ends with its last line."""


@dataclass
class Row:
    """One candidate and its value in each repeat."""

    name: str
    unit: str
    reference: str = ""  # name of the row that the ratio is relative to
    values: list[float] = field(default_factory=list)
    note: str = ""
    fault: str = ""  # what is wrong with what was measured

    @property
    def median(self) -> float:
        """Median over the repeats."""
        return statistics.median(self.values)


def benchmark_table(rows: Sequence[Row]) -> str:
    """Rows as text: median, range, and ratio to the reference."""
    medians = {row.name: row.median for row in rows}
    width = max([58, *map(len, medians)])
    lines = [f"{'':{width}} {'median':>10} {'range':>21} {'ratio':>8}"]
    for row in rows:
        ratio = f"{ratio_to_reference(row, medians):7.2f}x" if row.reference else ""
        spread = f"{min(row.values):,.1f} - {max(row.values):,.1f}"
        lines.append(f"{row.name:{width}} {row.median:10,.1f} {spread:>21} {ratio:>8}  {row.unit}{row.note}")
    return "\n".join(lines)


def described_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows with their medians and ratios, for JSON."""
    medians = {row.name: row.median for row in rows}
    return [
        asdict(row) | {"median": row.median} | ({"ratio": ratio_to_reference(row, medians)} if row.reference else {})
        for row in rows
    ]


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write rows as JSON; `read_rows` reads them back."""
    path.write_text(json.dumps(described_rows(rows), indent=1) + "\n", encoding="utf-8")


def read_rows(path: Path) -> list[Row]:
    """The rows that `write_rows` wrote."""
    names = [field.name for field in fields(Row)]
    return [Row(**{name: row[name] for name in names}) for row in json.loads(path.read_text(encoding="utf-8"))]


def ratio_to_reference(row: Row, medians: dict[str, float]) -> float:
    """Median relative to the reference's: a speed-up, also for seconds per epoch; for memory, a factor."""
    ratio = row.median / medians[row.reference]
    return 1 / ratio if row.unit == SECONDS_PER_EPOCH else ratio


def find_jpegs(folder: Path) -> list[Path]:
    """The photo files below a folder that are JPEG, the one format that every baseline decodes; sorted.

    Raises:
        UsageError: there are none.
    """
    found = photos_below(folder) if folder.is_dir() else []
    jpegs = [path for path in found if path.suffix.lower() in (".jpg", ".jpeg")]
    if not jpegs:
        raise UsageError(f"{folder}: no JPEG photo below it; name a folder of photos with --images")
    return jpegs


@contextmanager
def repeated_photos(images: Path, count: int) -> Iterator[tuple[Path, Path, list[str]]]:
    """A data set of `count` photos in the Flickr8k layout: links to the photos below `images`, repeated.

    Yields:
        The folder of the photos, the folder of the captions, and the photos' paths.
    """
    originals = find_jpegs(images)
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
    """A temporary folder, removed at the end of the block."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def run_module(*arguments: object) -> None:
    """Run `python -m` with these arguments.

    Raises:
        BenchmarkError: it failed.
    """
    done = subprocess.run([sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        (*_, message) = ["", *done.stderr.strip().splitlines()]
        raise BenchmarkError(f"python -m {arguments[0]}: exit code {done.returncode}; {message}")


def cpu_seconds_of(work: Callable[..., object], *arguments: object) -> float:
    """CPU seconds of this process, over all its threads, that one call takes: other work changes them less."""
    start = time.process_time()
    work(*arguments)
    return time.process_time() - start


def seconds_of(work: Callable[..., object], *arguments: object) -> float:
    """Seconds that one call takes."""
    start = time.monotonic()
    work(*arguments)
    return time.monotonic() - start
