"""What a folder is, by the file that marks it; for errors about a path of the wrong kind."""

from collections import Counter
from pathlib import Path

from tfcaption.records.dataset_info import CAPTIONS_FILE, DATASET_FILE, FEATURES_FILE, PARTIAL_FEATURES_FILE
from tfcaption.runtime.paths import is_local

RUN_FILE = "config.yaml"
EXPORT_FILE = "saved_model.pb"
# A run directory also holds the dataset.json of its records, so it comes first.
_MARKS = {
    RUN_FILE: "a run directory",
    EXPORT_FILE: "an export",
    FEATURES_FILE: "a folder of features",
    PARTIAL_FEATURES_FILE: "a folder of incomplete features",
    DATASET_FILE: "a folder of records",
    CAPTIONS_FILE: "a folder of captions",
}
# Endings of photos' files, with those of HEIC, which is found but not read.
PHOTO_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif")
)
_PLURALS = {RUN_FILE: "run directories", EXPORT_FILE: "exports"}


def has_file(folder: Path, name: str) -> bool:
    """Whether a folder holds a file of this name."""
    return (folder / name).is_file()


def exports_below(folder: Path) -> list[Path]:
    """The exports directly in a folder whose names are numbers, as TensorFlow Serving counts versions; newest last."""
    if not folder.is_dir():
        return []
    numbered = [path for path in folder.iterdir() if path.name.isdecimal()]
    return sorted((path for path in numbered if has_file(path, EXPORT_FILE)), key=lambda path: int(path.name))


def describe_folder(path: Path) -> str:
    """What a path is, in words that follow "is"; for messages.

    Returns:
        "a run directory", "an export", "a folder of records" ..., "a folder above run directories (such as runs/a)",
        "a folder of photos", "a folder of .txt files", "empty", "a photo", "a file", or "missing"; in an object store
        "a folder", unless a file marks it.
    """
    if not path.exists():
        return "missing"
    if not path.is_dir():
        return "a photo" if _is_photo(path.name) else "a file"
    for name, kind in _MARKS.items():
        if has_file(path, name):
            return kind
    if not is_local(path):  # a look at each object of a store is a request
        return "a folder"
    inside = sorted(path.iterdir())
    folders = [child for child in inside if child.is_dir()]
    for name, plural in _PLURALS.items():
        if marked := [folder for folder in folders if has_file(folder, name)]:
            return f"a folder above {plural} (such as {marked[0]})"
    files = [child.name for child in inside if child.is_file()]
    if not files:
        return "a folder of folders" if inside else "empty"
    if 2 * sum(map(_is_photo, files)) >= len(files):  # captions may lie beside them
        return "a folder of photos"
    ((suffix, _),) = Counter(Path(name).suffix.lower() for name in files).most_common(1)
    return f"a folder of {suffix} files" if suffix else "a folder of files"


def _is_photo(name: str) -> bool:
    return Path(name).suffix.lower() in PHOTO_SUFFIXES
