"""Packages of tfcaption's extras (setup.py): an error that says which to install where one is missing."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import requires

from tfcaption.runtime.errors import UsageError


def install_command(extra: str) -> str:
    """The command that installs the packages of an extra: `pip install 'flask<4,>=3.1' ...`."""
    quoted = " ".join(f"'{requirement}'" for requirement in _requirements(extra))
    return f"pip install {quoted}"


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Within the block, an import of a package that is missing and belongs to an extra is an error for the user.

    Raises:
        UsageError: the package is not installed; the message has the command that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        # Modules are named like their packages, but for dashes and capitals.
        if package not in (_name(requirement).replace("-", "_") for requirement in _requirements(extra)):
            raise
        raise UsageError(f"{package} is not installed; {install_command(extra)}") from error


def _requirements(extra: str) -> list[str]:
    """`NAME<4,>=3.1` of each package of an extra."""
    lines = [line.replace("'", '"').partition(";") for line in requires("tfcaption") or ()]
    return [requirement.strip() for requirement, _, marker in lines if f'extra == "{extra}"' in marker]


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement)[0].lower()
