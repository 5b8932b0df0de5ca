"""The console script `tfcaption`: one door to every command, `tfcaption NAME ...` = `python -m MODULE ...`.

Subcommands are the entry points of the group `tfcaption.commands` (see setup.py), loaded only when called.
"""

import sys
from collections.abc import Sequence
from importlib.metadata import entry_points


def main(argv: Sequence[str] | None = None) -> int:
    """Run the subcommand named first in `argv` (default: the command line); returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands = {entry.name: entry for entry in entry_points(group="tfcaption.commands")}
    listing = "\n".join(f"  tfcaption {name} --help" for name in commands)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: tfcaption COMMAND ...\n\ncommands:\n{listing}")
        return 0
    name, *rest = arguments
    if name not in commands:
        print(f"tfcaption: there is no command '{name}'; the commands are:\n{listing}", file=sys.stderr)
        return 2
    return commands[name].load()(rest)
