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


def add_subjects(parser: argparse.ArgumentParser, *names: str, metavar: str, several: bool, help: str) -> None:
    """Add what a command works on: its first arguments, or an option; `subjects` reads them.

    Args:
        parser: of the command.
        names: of the option that is accepted in their place, such as `--run`.
        metavar: their name in the help.
        several: whether there may be more than one.
        help: the line of the help.
    """
    parser.add_argument("subjects", nargs="*" if several else "?", default=[], metavar=metavar, help=help)
    more = "+" if several else None
    parser.add_argument(
        *names, dest="subject_option", nargs=more, default=[], metavar=metavar, help=f"{metavar}, as an option"
    )


def subjects(parser: argparse.ArgumentParser, arguments: argparse.Namespace, *, required: bool = True) -> list[str]:
    """What `add_subjects` found, each once; an error of the command line where there is nothing."""
    found: list[str] = []
    for given in (arguments.subjects, arguments.subject_option):
        found += given if isinstance(given, list) else [given]
    found = list(dict.fromkeys(found))
    action = next(action for action in parser._actions if action.dest == "subjects")
    if required and not found:
        parser.error(f"name a {action.metavar}")
    if action.nargs == "?" and len(found) > 1:
        parser.error(f"name one {action.metavar}, not {' and '.join(found)}")
    return found
