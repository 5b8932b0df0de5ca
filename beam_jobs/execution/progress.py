"""Progress of workers that share this machine's disk: each appends a byte per item to a file of its own."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NotRequired, TypedDict, Unpack

from apache_beam.metrics import Metrics

from tfcaption.runtime.paths import is_local
from tfcaption.runtime.progress import Progress

KEPT_SHARDS = Metrics.counter("tfcaption", "kept_shards")  # shards of an earlier run, which a job does not write again
_FOLDER = ".progress"
_TOTAL = "total"
_READING, _JOINING = "reading", "joining"  # folders of counters of entries, a byte for each thousand
_SECONDS_BETWEEN_UPDATES = 0.5


class ShownProgress(TypedDict):
    """What `progress_shown` is told about a job."""

    total: int | None  # items of the job; None: a worker announces it before the first item is done
    unit: str  # name of the items, plural
    label: str  # what is being done
    reading: NotRequired[str]  # what is being done when entries are read; `reading captions` if left out
    now_and_then: NotRequired[Callable[[], None]]  # is called until the first item is done


class ProgressCounter:
    """Counts what one worker has done, by appending to a file of its own, which needs no connection.

    Args:
        output: the job's output folder; on another filesystem nothing is counted.
        name: unique for each unit of work, such as the shard's name.
    """

    def __init__(self, output: str, name: str) -> None:
        folder = Path(output) / _FOLDER
        # "wb" starts at zero again, so that a shard that Beam tries again is not counted twice.
        path = folder / name
        self._stream = path.open("wb", buffering=0) if path.parent.is_dir() else None

    @classmethod
    def of_entries(cls, output: str, name: str, *, joined: bool = False) -> "ProgressCounter":
        """A counter of thousands of entries (lines, rows), read or then joined before the first item is done."""
        return cls(output, f"{_JOINING if joined else _READING}/{name}")

    def add(self, items: int = 1) -> None:
        """Count more items as done."""
        if self._stream:
            self._stream.write(b"." * items)

    def close(self) -> None:
        """Close the file; the count stays."""
        if self._stream:
            self._stream.close()


def announce_total(output: str, total: int) -> None:
    """Say how many items the job has, from a worker that finds out."""
    folder = Path(output) / _FOLDER
    if folder.is_dir():
        (folder / _TOTAL).write_text(str(total))


@contextmanager
def progress_shown(output: str, **shown: Unpack[ShownProgress]) -> Iterator[None]:
    """Show what all `ProgressCounter`s of an output folder have counted, until the block ends.

    Until the first item is counted, it says that workers start: they import Beam, some also TensorFlow. Then it shows
    how many entries were read, and how many of them joined, if `ProgressCounter.of_entries` counts some.

    Args:
        output: the job's output folder; on another filesystem nothing is shown.
        shown: see `ShownProgress`.
    """
    total, unit, label = shown["total"], shown["unit"], shown["label"]
    reading, now_and_then = shown.get("reading", "reading captions"), shown.get("now_and_then", lambda: None)
    if not is_local(output):
        yield
        return
    folder = Path(output) / _FOLDER
    for entries in (_READING, _JOINING):
        (folder / entries).mkdir(parents=True, exist_ok=True)
    ended = threading.Event()

    def watch() -> None:
        print(f"{label}: starting workers", file=sys.stderr, flush=True)
        since = time.monotonic()
        with ExitStack() as stack:
            entries: Progress | None = None
            while not _items_done(folder) and not ended.wait(_SECONDS_BETWEEN_UPDATES):
                read, joined = (1_000 * _items_done(folder / each) for each in (_READING, _JOINING))
                if joined and entries and entries.total is None:
                    entries.update(read)
                    stack.close()
                    entries = stack.enter_context(Progress(read, unit="entries", label="joining captions", since=since))
                elif read and not entries:
                    entries = stack.enter_context(Progress(None, unit="entries", label=reading, since=since))
                if entries:
                    entries.update(joined or read)
                now_and_then()
                since = time.monotonic()
        if (known := total if total is not None else _announced(folder)) is None:
            return  # the job failed before
        with Progress(known, unit=unit, label=label, since=since) as progress:
            while not ended.wait(_SECONDS_BETWEEN_UPDATES):
                progress.update(_items_done(folder))
            progress.update(_items_done(folder))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        remove_progress(output)


def remove_progress(output: str) -> None:
    """Remove the counters of an earlier run, finished or killed."""
    if is_local(output):
        shutil.rmtree(Path(output) / _FOLDER, ignore_errors=True)


def _announced(folder: Path) -> int | None:
    path = folder / _TOTAL
    return int(path.read_text()) if path.exists() else None


def _items_done(folder: Path) -> int:
    with os.scandir(folder) as entries:  # of tens of thousands of shards, twice a second
        return sum(entry.stat().st_size for entry in entries if entry.name not in (_TOTAL, _READING, _JOINING))
