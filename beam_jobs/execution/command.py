"""What the commands of all Beam jobs do around their job: quiet imports, the lock, errors of one line, the summary."""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from tfcaption.runtime.errors import TfcaptionError
from tfcaption.runtime.folder_lock import locked


def run_job(
    job: Callable[[argparse.Namespace, Sequence[str]], Any],
    summary: Callable[[Any, float], str],
    arguments: argparse.Namespace,
    flags: Sequence[str],
    *,
    what: str,
) -> int:
    """Run a job and print what it made; returns the exit code.

    Args:
        job: takes the arguments and Beam's flags; gives the description of what it wrote, None if nothing ran.
        summary: of that description and the seconds taken.
        arguments: the job's own; `output` is where it writes.
        flags: Beam's options.
        what: is written, in the plural.
    """
    start = time.monotonic()
    if (encoding := sys.getfilesystemencoding()) != "utf-8":
        print(f"error: names of photos would be read as {encoding}; set PYTHONUTF8=1", file=sys.stderr)
        return 1
    logging.disable(logging.WARNING)  # Beam's import warns of cloud libraries that a local run does not need
    import apache_beam  # noqa: F401

    logging.disable(logging.NOTSET)
    try:
        with locked(arguments.output):
            info = job(arguments, flags)
    except (TfcaptionError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if info is None:
        print("nothing ran: a dry run, or a template")
        return 0
    print(summary(info, time.monotonic() - start))
    print(f"{what}: {arguments.output}")
    return 0
