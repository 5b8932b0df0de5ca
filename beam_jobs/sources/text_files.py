"""Text files that people wrote: hidden ones, any encoding of Unicode, any line end, names as they are spelt, lists."""

import io
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import BinaryIO

from beam_jobs.errors import SourceError

# Zero-width space and joiners, soft hyphen, byte-order mark, direction marks.
_INVISIBLE = "Cf"
_UNSAFE = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of surrogate pairs, separators of lines
_HIDDEN_FOLDER = "__MACOSX"  # of archives made on a Mac: a hidden file for each file


def is_hidden(path: PurePath) -> bool:
    """True for a hidden file, or one in a hidden folder; `path` is below the folder that the user names."""
    return any(part.startswith(".") or part == _HIDDEN_FOLDER for part in path.parts)


def file_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a text file with their numbers; see `stream_lines`."""
    with path.open("rb") as stream:
        yield from stream_lines(stream)


def stream_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines of an open text file with their numbers, as UTF-8 without line ends and blank lines.

    A line ends with LF, CR LF or CR.
    """
    number = 0
    for part in utf8(stream):
        for line in part.removesuffix(b"\n").removesuffix(b"\r").split(b"\r"):
            number += 1
            if line.strip():
                yield number, line


def utf8(stream: BinaryIO) -> BinaryIO:
    """A text file, open at its beginning, as UTF-8 without byte-order mark; UTF-16 and UTF-32 are converted.

    What cannot be converted becomes a byte that is not UTF-8, so that the readers reject the line.
    """
    head = stream.read(4)
    encoding = json.detect_encoding(head)  # by a byte-order mark, or by the zero bytes of the first characters
    if encoding in ("utf-8", "utf-8-sig"):
        stream.seek(3 if encoding == "utf-8-sig" else 0)
        return stream
    text = (head + stream.read()).decode(encoding, errors="replace").removeprefix("\ufeff")
    return io.BytesIO(text.encode().replace("\ufffd".encode(), b"\xff"))


def is_safe_name(name: str) -> bool:
    """True for a plain file name without control characters, without a folder or `..`."""
    return name not in ("", ".", "..") and not any(c in "/\\" or unicodedata.category(c) in _UNSAFE for c in name)


def spelling(name: str) -> str:
    """Equal for names that differ in case, in how accents are composed, in the kind of spaces, or invisibly.

    Screenshots of a Mac have a narrow no-break space (U+202F) in their names, and emoji hold joiners (U+200D).
    """
    composed = unicodedata.normalize("NFC", name)
    visible = "".join(c for c in composed if unicodedata.category(c) != _INVISIBLE)
    return " ".join(visible.split()).casefold()


def photo_names(path: Path) -> Iterator[tuple[str, str]]:
    """(FILE, line NUMBER; photo's name) of each line of a file that lists photos.

    Raises:
        SourceError: a line is not UTF-8 or not a plain file name.
    """
    for number, line in file_lines(path):
        where = f"{path}, line {number}"
        try:
            name = line.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise SourceError(f"{where}: not UTF-8; save the file as UTF-8") from error
        if not is_safe_name(name):
            raise SourceError(f"{where}: {name[:80]!r} must be a plain file name")
        yield where, name
