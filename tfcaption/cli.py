"""The console script `tfcaption`: every command by its name, `tfcaption NAME ...` = `python -m MODULE ...`.

Commands are the entry points of the group `tfcaption.commands` (see setup.py), imported only when called.
"""

import ast
import shutil
import sys
import textwrap
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command named first in `argv` (default: the command line); returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands = {entry.name: entry for entry in entry_points(group="tfcaption.commands")}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: tfcaption COMMAND ...\n\ncommands:\n{_listing(commands)}\n\noptions: tfcaption COMMAND --help")
        return 0
    name, *rest = arguments
    if name not in commands:
        print(f"error: no command '{name}'; the commands are:\n{_listing(commands)}", file=sys.stderr)
        return 2
    return commands[name].load()(rest)


def _listing(commands: dict[str, EntryPoint]) -> str:
    width = shutil.get_terminal_size().columns
    return "\n".join(
        textwrap.fill(f"  {name:<18}{_description(entry)}", width, subsequent_indent=" " * 20)
        for name, entry in sorted(commands.items())
    )


def _description(entry: EntryPoint) -> str:
    """First line of a command's docstring, read from its file, since importing all of them takes seconds."""
    spec = find_spec(entry.module)
    if spec is None or spec.origin is None:
        return ""
    return (ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or "").partition("\n")[0]
