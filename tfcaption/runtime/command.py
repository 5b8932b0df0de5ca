"""Command lines: a parser whose help begins with examples, and errors for users as one line."""

import argparse
import functools
import io
import os
import re
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

from tfcaption.runtime.errors import Preempted, TfcaptionError
from tfcaption.runtime.process import command_environment, environment

EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: try again later
EXIT_UNREAD = 141  # of a program that SIGPIPE ends

# What a user types before the name of a command; None where a module is run with `python -m`.
_console_script: ContextVar[str | None] = ContextVar("console_script", default=None)


@contextmanager
def started_by(console_script: str) -> Iterator[None]:
    """Within the block, help names commands as `tfcaption NAME` and not as `python -m tfcaption.NAME`."""
    token = _console_script.set(console_script)
    try:
        yield
    finally:
        _console_script.reset(token)


class _Parser(argparse.ArgumentParser):
    """Errors of the command line in two lines: argparse would print the usage, up to ten lines, before them."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n{self.prog} --help shows all options\n")


def command_parser(module: str, examples: str, *, usage: str | None = None) -> argparse.ArgumentParser:
    """A parser whose help begins with examples, and that takes no abbreviated options.

    Args:
        module: as it is run with `python -m`.
        examples: shown first.
        usage: the arguments in one line, where argparse's own would be too long.
    """
    prog, script = f"python -m {module}", _console_script.get()
    if script:
        as_script = functools.partial(re.sub, r"python -m (?:tfcaption|beam_jobs)\.(?=\w)", f"{script} ")
        prog, examples = as_script(prog), as_script(examples)
    return _Parser(
        prog=prog,
        usage=usage and f"%(prog)s {usage}",
        description=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def reports_errors(main: Callable[..., int]) -> Callable[..., int]:
    """Decorates a command's `main`: an error that is meant for the user becomes one line and exit code 1.

    Any other exception is a bug and keeps its traceback. The command runs in `command_environment`, and prints UTF-8 in
    every locale, since commands read files as UTF-8.
    """

    @functools.wraps(main)
    def reporting(argv: Sequence[str] | None = None) -> int:
        _open_streams()
        with environment(**command_environment()):
            try:
                try:
                    return main(argv)
                finally:
                    sys.stdout.flush()
            except Preempted as stopped:
                print(f"{stopped}; run the same command to resume", file=sys.stderr)
                return EXIT_PREEMPTED
            except (TfcaptionError, OSError) as error:
                if isinstance(error, BrokenPipeError) and _nobody_reads_stdout():
                    return EXIT_UNREAD
                print(f"error: {error}", file=sys.stderr)
                return 1

    return reporting


def _open_streams() -> None:
    """Standard streams in UTF-8; closed ones lead nowhere, instead of into the next file that is opened."""
    encoding: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace"}  # a name may be other bytes
    for descriptor, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        stream = getattr(sys, name)
        if stream is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)  # by the processes that are started
            setattr(sys, name, open(descriptor, mode, closefd=False, **encoding))  # noqa: SIM115 (stays open)
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(**encoding)


def _nobody_reads_stdout() -> bool:
    """Whether standard output is a pipe that was closed, as by `| head`; what is left for it is dropped."""
    descriptor = sys.stdout.fileno()
    poll = select.poll()
    poll.register(descriptor, 0)
    unread = bool(poll.poll(0))  # asked for nothing, it reports errors only
    if unread:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return unread


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
