"""The console script `tfcaption`: every command by its name, `tfcaption NAME ...` = `python -m MODULE ...`.

Commands are the entry points of the group `tfcaption.commands` (see setup.py), imported only when called.
"""

import ast
import difflib
import platform
import shutil
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path

from tfcaption.runtime.command import started_by

# The order of the work, in which commands are listed; those of other packages come after them.
ORDER = (
    *("sample_data", "build_records", "inspect", "encoders", "extract_features", "import_features", "configs", "train"),
    *("sweep", "evaluate", "report", "caption", "export", "publish", "caption_images", "serve", "benchmark"),
)


def main(argv: Sequence[str] | None = None, *, script: str = "tfcaption") -> int:
    """Run the command named first in `argv` (default: the command line); returns its exit code.

    Args:
        argv: the name of a command and its arguments.
        script: what was typed before them, for help texts.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands = {entry.name: entry for entry in entry_points(group="tfcaption.commands")}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(
            f"usage: {script} COMMAND ...\n\ncommands, in the order of the work:\n{_listing(commands)}\n\n"
            f"{script} COMMAND --help    examples and options of a command\n{script} --version         this version"
        )
        return 0
    if arguments[0] in ("-V", "--version"):
        print(_versions())
        return 0
    name, *rest = arguments
    if name not in commands:
        close = difflib.get_close_matches(name.replace("-", "_"), commands, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}? " if close else ""
        print(f"error: no command '{name}'; {hint}{script} --help lists all", file=sys.stderr)
        return 2
    with started_by(script):
        return commands[name].load()(rest)


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in ("tensorflow", "apache-beam"):
        with suppress(PackageNotFoundError):  # TensorFlow may be installed under another name, such as tensorflow-cpu
            found.append(f"{package} {version(package)}")
    return f"tfcaption {version('tfcaption')} ({', '.join(found)})"


def _listing(commands: dict[str, EntryPoint]) -> str:
    width = shutil.get_terminal_size().columns
    names = sorted(commands, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    return "\n".join(
        textwrap.fill(f"  {name:<18}{_description(commands[name])}", width, subsequent_indent=" " * 20)
        for name in names
    )


def _description(entry: EntryPoint) -> str:
    """First line of a command's docstring, read from its file, since importing all of them takes seconds."""
    spec = find_spec(entry.module)
    if spec is None or spec.origin is None:
        return ""
    return (ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or "").partition("\n")[0]
