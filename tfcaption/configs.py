"""Lists the configs that come with tfcaption, with what each is for and the result it gave; or prints one.

Every command that takes --config takes these names, in any folder.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfcaption.config import find_config, named_configs
from tfcaption.runtime.command import command_parser, reports_errors

EXAMPLES = """examples:
  python -m tfcaption.configs                            # the list
  python -m tfcaption.configs small > my.yaml            # one of them, to be changed
  python -m tfcaption.train --print_config --config small      # all its fields, with those it leaves at their defaults
  python -m tfcaption.train --config small --set train.epochs=50"""


@dataclass(frozen=True)
class Header:
    """What the comment on top of a config says."""

    purpose: str  # its first line
    result: str  # the line `# result: ...`; empty where nothing was measured


def read_header(path: Path) -> Header:
    """The comment on top of a config."""
    comments = [
        line.removeprefix("#").strip() for line in path.read_text(encoding="utf-8").splitlines() if line[:1] == "#"
    ]
    results = (line.removeprefix("result: ") for line in comments if line.startswith("result: "))
    return Header(comments[0], next(results, ""))


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = command_parser("tfcaption.configs", EXAMPLES)
    parser.add_argument("name", nargs="?", metavar="NAME", help="the config to print (default: list all)")
    arguments = parser.parse_args(argv)
    if arguments.name:
        print(find_config(arguments.name).read_text(encoding="utf-8"), end="")
        return 0
    for name, path in named_configs().items():
        header = read_header(path)
        print("\n    ".join(filter(None, (name, header.purpose, header.result))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
