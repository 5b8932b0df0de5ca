"""What the commands of all jobs share: the lock on the output folder, the summary, Beam imported quietly."""

import argparse
import gc
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from beam_jobs.execution.worker import collect_less
from tfcaption.backbones.families import is_file
from tfcaption.records.dataset_info import NAMED_WEIGHTS, FeaturesInfo
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.folder_lock import locked
from tfcaption.runtime.paths import is_local

Info = TypeVar("Info")
# Arguments of the jobs whose values are paths; weights and encoders may be names instead.
_PATHS = (
    "images",
    "captions",
    "held_out",
    "records",
    "features",
    "input",
    "model",
    "run",
    "weights",
    "encoder",
    "output",
)


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
        info = job(_readable_elsewhere(arguments, flags), flags)
    if info is None:
        print("nothing ran: a dry run, or a template")
        return 0
    print(summary(info, time.monotonic() - start))
    print(f"{noun}: {arguments.output}")
    if next_step:
        print(f"next: {next_step}")
    return 0


def _readable_elsewhere(arguments: argparse.Namespace, flags: Sequence[str]) -> argparse.Namespace:
    """The arguments with absolute local paths where `--runner` is given: its workers may start in another folder."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--runner")
    if parser.parse_known_args(list(flags))[0].runner is None:
        return arguments
    paths: dict[str, str | list[str]] = {}
    for name, value in vars(arguments).items():
        if name in _PATHS and value:
            several = isinstance(value, list)
            paths[name] = [_absolute(name, each) for each in value] if several else _absolute(name, value)
    return argparse.Namespace(**{**vars(arguments), **paths})


def _absolute(argument: str, value: str) -> str:
    """A local path made absolute; URLs, and names of encoders and weights, stay."""
    is_name = (argument == "weights" and value in NAMED_WEIGHTS) or (argument == "encoder" and not is_file(value))
    return value if is_name or not is_local(value) else str(Path(value).absolute())


def import_beam() -> None:
    """Import Beam, without its warnings of cloud libraries that a local run does not need; takes a second.

    See `collect_less` for what it does to collections of garbage; they would also take a quarter of the import.
    """
    logging.disable(logging.WARNING)
    gc.disable()
    import apache_beam  # noqa: F401  # here: a wrong path is an error before it

    gc.enable()
    logging.disable(logging.NOTSET)
    collect_less()


def features_summary(info: FeaturesInfo, seconds: float) -> str:
    """A line on features as written, for people: photos, settings, size and speed."""
    photos = sum(shard.records for split in info.splits.values() for shard in split)
    shards, size = len(info.all_shards), sum(shard.bytes for shard in info.all_shards)
    return (
        f"{photos:,} photos, {info.settings}, {shards:,} shards, {size / 1e6:,.1f} MB "
        f"in {seconds:.1f} s: {photos / max(seconds, 1e-9):,.1f} photos/s"
    )
