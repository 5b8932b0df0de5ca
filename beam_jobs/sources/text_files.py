"""Text files that people wrote: lines with any line end, and lists of photos."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from beam_jobs.errors import SourceError


def file_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a text file with their numbers; see `stream_lines`."""
    with path.open("rb") as stream:
        yield from stream_lines(stream, str(path))


def stream_lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    """The lines of an open text file with their numbers, without line ends, byte-order mark and blank lines.

    Raises:
        SourceError: the text is UTF-16.
    """
    for number, line in enumerate(stream, start=1):
        if number == 1:
            if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise SourceError(f"{name}: is UTF-16 text; save it as UTF-8")
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.strip():
            yield number, line.strip(b"\r\n")


def is_safe_name(name: str) -> bool:
    """True for a plain printable file name, without a folder or `..`."""
    return name not in ("", ".", "..") and not any(c in "/\\" or not c.isprintable() for c in name)


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
