"""Text files that people wrote: any encoding of Unicode, any line end, names as they are spelt, lists."""

import io
import json
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

from beam_jobs.errors import SourceError

UNSAFE_NAME = "must be a name or a path relative to the folder of the photos, without `..` and control characters"
_ABSOLUTE = re.compile(r"[/\\]|[a-zA-Z]:[/\\]|[a-zA-Z][a-zA-Z0-9+.-]*://")
_UTF8 = ("utf-8", "utf-8-sig")
_UNSAFE = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of surrogate pairs, separators of lines


class Span(NamedTuple):
    """The part of a file that one worker reads: what begins in a range of its bytes, such as lines."""

    start: int = 0
    end: int | None = None  # None: the end of the file
    lines_before: int = 0


WHOLE = Span()


def file_lines(path: Path, span: Span = WHOLE) -> Iterator[tuple[int, bytes]]:
    """The lines of a text file with their numbers; see `stream_lines`."""
    with path.open("rb") as stream:
        yield from stream_lines(stream, span)


def stream_lines(stream: BinaryIO, span: Span = WHOLE) -> Iterator[tuple[int, bytes]]:
    """The lines of an open text file with their numbers, as UTF-8 without line ends and blank lines.

    A line ends with LF, CR LF or CR. What ends with LF is in the span in which it begins, with all lines in it.
    """
    for number, line in enumerate(chain.from_iterable(_lines_in(stream, span)), span.lines_before + 1):
        if line.strip():
            yield number, line


def all_lines(path: Path, span: Span) -> Iterator[bytes]:
    """The lines that begin in a span, as UTF-8 without line ends, blank ones too."""
    with path.open("rb") as stream:
        yield from chain.from_iterable(_lines_in(stream, span))


def count_lines(path: Path, span: Span) -> int:
    """How many lines begin in a span, blank ones too."""
    with path.open("rb") as stream:
        return sum(map(len, _lines_in(stream, span)))


def can_be_divided(path: Path) -> bool:
    """Whether a text file can be read by spans: it need not be converted to UTF-8."""
    with path.open("rb") as stream:
        return json.detect_encoding(stream.read(4)) in _UTF8


def _lines_in(stream: BinaryIO, span: Span) -> Iterator[list[bytes]]:
    text = utf8(stream)
    if span.start:
        text.seek(span.start - 1)
        text.readline()  # of the span before, unless it is the end of its last line
    at = text.tell()
    begins = at if span.start else 0  # the first line begins at its byte-order mark
    for line in text:
        if span.end is not None and begins >= span.end:
            return
        begins = at = at + len(line)
        yield line.removesuffix(b"\n").removesuffix(b"\r").split(b"\r")


def utf8(stream: BinaryIO) -> BinaryIO:
    """A text file, open at its beginning, as UTF-8 without byte-order mark; UTF-16 and UTF-32 are converted.

    What cannot be converted becomes a byte that is not UTF-8, so that the readers reject the line.
    """
    head = stream.read(4)
    encoding = json.detect_encoding(head)  # by a byte-order mark, or by the zero bytes of the first characters
    if encoding in _UTF8:
        stream.seek(3 if encoding == "utf-8-sig" else 0)
        return stream
    text = (head + stream.read()).decode(encoding, errors="replace").removeprefix("\ufeff")
    return io.BytesIO(text.encode().replace("\ufffd".encode(), b"\xff"))


def is_absolute(name: str) -> bool:
    """True for a path from the root, on Linux or Windows, and for one that names another filesystem (https://)."""
    return bool(_ABSOLUTE.match(name))


@lru_cache  # captions of one photo come together
def normal_name(name: str) -> str:
    """A photo's name as ids have it: with `/` between folders, without a leading `./`.

    Empty if the name is unsafe: an absolute path, one with `..` or a control character, no name at all.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    unsafe = not name.isprintable() and any(unicodedata.category(c) in _UNSAFE for c in name)
    if unsafe or is_absolute(name) or ".." in parts:
        return ""
    return "/".join(parts)


def photo_names(path: Path) -> Iterator[tuple[str, str]]:
    """(FILE, line NUMBER; photo's name) of each line of a file that lists photos.

    Raises:
        SourceError: a line is not UTF-8 or not a safe name.
    """
    for number, line in file_lines(path):
        where = f"{path}, line {number}"
        yield where, listed_name(where, line)


def listed_name(where: str, line: bytes) -> str:
    """The photo's name in a line of a file that lists photos.

    Raises:
        SourceError: it is not UTF-8 or not a safe name; the message begins with `where`.
    """
    try:
        name = line.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise SourceError(f"{where}: not UTF-8; save the file as UTF-8") from error
    if not (normal := normal_name(name)):
        raise SourceError(f"{where}: {name[:80]!r} {UNSAFE_NAME}")
    return normal
