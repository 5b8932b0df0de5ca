"""Which files below a folder are photos."""

from pathlib import Path

from tfcaption.photos import SUFFIXES
from tfcaption.runtime.paths import files_below


def is_photo_name(name: str) -> bool:
    """True for a file name that ends as photos do and is not hidden.

    Archives made on a Mac carry a hidden file beside each photo (__MACOSX/._NAME.jpg) that is none.
    """
    return Path(name).suffix.lower() in SUFFIXES and not Path(name).name.startswith(".")


def photos_below(folder: str | Path) -> list[Path]:
    """The photo files in a folder and in all folders below it, sorted; links to folders are not followed."""
    return sorted(path for path in files_below(folder) if is_photo_name(path.name))
