"""Progress of workers that share this machine's disk: each appends a byte per item to a file of its own."""

import shutil
import threading
from pathlib import Path

from tfcaption.runtime.paths import is_local
from tfcaption.runtime.progress import Progress

PROGRESS_FOLDER = ".progress"


def remove_progress(output: str) -> None:
    """Remove the workers' progress files of a run, finished or killed."""
    if is_local(output):
        shutil.rmtree(Path(output) / PROGRESS_FOLDER, ignore_errors=True)


def watch(folder: Path, total: int, unit: str, label: str, stop: threading.Event) -> None:
    """Show how far the workers are until `stop` is set."""
    with Progress(total, unit=unit, label=label) as progress:
        while not stop.wait(0.5):
            progress.update(_done(folder))
        progress.update(_done(folder))


def _done(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


class ProgressCounter:
    """Counts what one worker has done by appending a byte to a file of its own; free, and needs no connection.

    Args:
        output: the job's output folder; on another filesystem nothing is counted.
        name: unique per bundle, e.g. the shard's name.
    """

    def __init__(self, output: str, name: str) -> None:
        folder = Path(output) / PROGRESS_FOLDER
        # Started afresh, so that a bundle that is tried again is not counted twice.
        self._stream = (folder / name).open("wb", buffering=0) if folder.is_dir() else None

    def add(self, done: int = 1) -> None:
        """So many more are done."""
        if self._stream:
            self._stream.write(b"." * done)

    def close(self) -> None:
        """Close the file; the count stays."""
        if self._stream:
            self._stream.close()
