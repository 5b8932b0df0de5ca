"""Command lines: a parser whose help begins with examples, and errors for users as one line."""

import argparse
import functools
import sys
from collections.abc import Callable, Sequence

from tfcaption.runtime.errors import Preempted, TfcaptionError

EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: try again later


def command_parser(module: str, examples: str, *, usage: str | None = None) -> argparse.ArgumentParser:
    """A parser whose help begins with examples, and that takes no abbreviated options.

    Args:
        module: as it is run with `python -m`.
        examples: shown first.
        usage: the arguments in one line, where argparse's own would be too long.
    """
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        usage=usage and f"%(prog)s {usage}",
        description=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def reports_errors(main: Callable[..., int]) -> Callable[..., int]:
    """Decorates a command's `main`: an error that is meant for the user becomes one line and exit code 1.

    Any other exception is a bug and keeps its traceback.
    """

    @functools.wraps(main)
    def reporting(argv: Sequence[str] | None = None) -> int:
        try:
            return main(argv)
        except Preempted as stopped:
            print(f"{stopped}; run the same command to resume", file=sys.stderr)
            return EXIT_PREEMPTED
        except (TfcaptionError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1

    return reporting
