"""Names of photos: how people and programs spell them, and the columns and keys of files that hold them."""

import re
import unicodedata
from collections.abc import Iterable

# Names of columns and keys in use, see `column_key`, the most specific first; the first one that a row has counts.
PHOTO_COLUMNS = (
    *("image", "photo", "image_name", "file_name", "filename", "file", "image_path", "file_path", "filepath"),
    *("image_id", "path", "id", "name"),
)
CAPTION_COLUMNS = ("caption", "captions", "text", "comment", "sentence", "raw")
_INVISIBLE = "Cf"  # zero-width space and joiners, soft hyphen, byte-order mark, direction marks


def spelling(name: str) -> str:
    """Equal for names that differ in case, in how accents are composed, in the kind of spaces, or invisibly.

    Screenshots of a Mac have a narrow no-break space (U+202F) in their names, and emoji hold joiners (U+200D).
    """
    if not name.isascii():  # or there is nothing to compose, and nothing invisible
        composed = unicodedata.normalize("NFC", name)
        name = "".join(c for c in composed if unicodedata.category(c) != _INVISIBLE)
    return " ".join(name.split()).casefold()


def column_key(name: str) -> str:
    """Equal for names of columns that differ in case, or in how words are joined: image_name, Image Name, imageName."""
    return re.sub(r"[\W_]+", "", name).lower()


def usual_column(row: Iterable[str], names: Iterable[str]) -> str | None:
    """The first of `names` that a row or header has, as `column_key` compares them; None if it has none."""
    columns = {column_key(column): column for column in reversed([*row])}
    return next((columns[key] for key in map(column_key, names) if key in columns), None)
