"""What the commands of all jobs share: the lock on the output folder, the summary, Beam imported quietly."""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from tfcaption.records.dataset_info import FeaturesInfo
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.folder_lock import locked

Info = TypeVar("Info")


def run_job(
    job: Callable[[argparse.Namespace, Sequence[str]], Info | None],
    summary: Callable[[Info, float], str],
    arguments: argparse.Namespace,
    flags: Sequence[str],
    *,
    noun: str,
    next_step: str = "",
) -> int:
    """Run a job and print a summary and the path of its output; returns the exit code.

    Args:
        job: takes the arguments and Beam's flags; returns the description of its output, or None if nothing ran.
        summary: takes that description and the seconds taken; returns lines for people.
        arguments: the job's own; `output` is its output folder.
        flags: Beam's options.
        noun: the kind of output, plural.
        next_step: the command that most people run after it; empty: none is named.

    Raises:
        UsageError: this process could not read all names of photos.
        FolderInUse: another process writes into the output folder.
    """
    start = time.monotonic()
    if (encoding := sys.getfilesystemencoding()) != "utf-8":
        raise UsageError(f"names of photos would be read as {encoding}; set PYTHONUTF8=1")
    with locked(arguments.output):
        info = job(arguments, flags)
    if info is None:
        print("nothing ran: a dry run, or a template")
        return 0
    print(summary(info, time.monotonic() - start))
    print(f"{noun}: {arguments.output}")
    if next_step:
        print(f"next: {next_step}")
    return 0


def import_beam() -> None:
    """Import Beam, without its warnings of cloud libraries that a local run does not need; takes a second."""
    logging.disable(logging.WARNING)
    import apache_beam  # noqa: F401  # here: a wrong path is an error before it

    logging.disable(logging.NOTSET)


def features_summary(info: FeaturesInfo, seconds: float) -> str:
    """A line on features as written, for people: photos, settings, size and speed."""
    shards = [shard for split in info.splits.values() for shard in split]
    photos, size = sum(shard.records for shard in shards), sum(shard.bytes for shard in shards)
    return (
        f"{photos:,} photos, {info.settings}, {len(shards):,} shards, {size / 1e6:,.1f} MB "
        f"in {seconds:.1f} s: {photos / max(seconds, 1e-9):,.1f} photos/s"
    )
