"""Captions with the addresses of their photos, as in Conceptual Captions, and the names of photos downloaded."""

import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from beam_jobs.errors import SourceError
from beam_jobs.execution.counting import some_of
from beam_jobs.sources.base import CaptionLine, Columns, DividedSource, Listing, caption_files, text_lines
from beam_jobs.sources.text_files import Span, file_lines
from tfcaption.records.folder_kinds import PHOTO_SUFFIXES
from tfcaption.runtime.paths import entries_below

_ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)
_PHOTOS_TO_TRY = 1_000  # by whose names it is told how photos are named
_MOST_LINES = 100_000_000  # larger numbers are checksums of addresses: those go up to 4 billion


class Naming(NamedTuple):
    """How a program that downloads photos names them."""

    said: str  # for people
    by_line: bool  # the name says nothing of the address, so photos of two files have the same names
    name: Callable[[int, str, int], str]  # of line (from 0), address, and digits of a number


class Addresses(DividedSource):
    """Lines CAPTION<TAB>ADDRESS, or the other way round, without a header; photos are named by line or by address."""

    name = "addresses"
    layout = "a .tsv file without header, CAPTION<TAB>ADDRESS, whose photos are named by line or by address"
    photos_were_downloaded = True

    def __init__(self, naming: str = "address", digits: int = 0) -> None:
        self._naming, self._digits = naming, digits

    def files(self, captions: Path) -> list[Path]:
        """See `Source.files`."""
        return caption_files(captions, _begins_with_address)

    def for_photos(self, images: Path, files: Sequence[Path]) -> "Addresses":
        """See `Source.for_photos`: the names of the first photos say how all are named.

        Raises:
            SourceError: photos of several files would have equal names.
        """
        found = (path.name for path, problem in entries_below(images) if not problem) if images.is_dir() else iter(())
        stems = (stem for name in found if (stem := _stem(name)))
        tried = [*islice(stems, _PHOTOS_TO_TRY)]
        kinds = Counter(map(_kind, tried)).most_common(1)
        kind = kinds[0][0] if kinds else "address"
        digits = _digits([stem for stem in tried if _kind(stem) == kind]) if kind == "line" else 0
        if NAMINGS[kind].by_line and len(files) > 1:
            raise SourceError(
                f"--images {images}: photos are {NAMINGS[kind].said}, but several files have such lines "
                f"({some_of([file.name for file in files])}); name one file as --captions, and the folder of its photos"
            )
        return Addresses(kind, digits)

    def read_span(self, file: Path, span: Span, listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read_span`."""
        naming = NAMINGS[self._naming]
        listing.notes.append(f"photos are {naming.said}")
        for number, text in text_lines(file, listing, span):
            where = f"{file.name}:{number}"
            cells = _caption_and_address(text)
            try:
                name = naming.name(number - 1, cells[1], self._digits) if cells else ""
            except ValueError:  # of `urlsplit`: a bracket without its pair
                name = ""
            if cells is None or not name:
                listing.reject("caption", where, "malformed line", f"not CAPTION<TAB>ADDRESS: {text[:80]!r}")
            else:
                yield CaptionLine(where, name, cells[0], file=file)


def _begins_with_address(path: Path) -> bool:
    if path.suffix.lower() not in (".tsv", ".txt", ".csv"):
        return False
    _, line = next(file_lines(path), (0, b""))
    return _caption_and_address(line.decode(errors="replace")) is not None


def _caption_and_address(line: str) -> tuple[str, str] | None:
    """The caption and the address in a line; None if it does not consist of them."""
    cells = [cell.strip() for cell in line.split("\t")]
    if len(cells) != 2 or sum(bool(_ADDRESS.fullmatch(cell)) for cell in cells) != 1:
        return None
    return (cells[0], cells[1]) if _ADDRESS.fullmatch(cells[1]) else (cells[1], cells[0])


def _stem(name: str) -> str:
    """The name of a photo's file without its ending, which a downloaded one may lack; empty for another file."""
    suffix = PurePosixPath(name).suffix
    if suffix.lower() in PHOTO_SUFFIXES:
        return name.removesuffix(suffix)
    return "" if suffix or name.startswith(".") else name


def _kind(stem: str) -> str:
    """How a photo of this name is named."""
    if re.fullmatch(r"\d+_\d+", stem):
        return "line and crc32"
    if re.fullmatch(r"\d{1,19}", stem):
        return "line" if _is_padded(stem) or int(stem) < _MOST_LINES else "crc32"
    digest = {32: "md5", 40: "sha1", 64: "sha256"}.get(len(stem)) if re.fullmatch(r"[0-9a-f]+", stem) else None
    return digest or "address"


def _is_padded(number: str) -> bool:
    return number.startswith("0") and len(number) > 1


def _digits(numbers: Sequence[str]) -> int:
    """The digits up to which numbers have zeros before them; 0 if they have none. Large numbers do not show it."""
    padded = Counter(len(number) for number in numbers if _is_padded(number)).most_common(1)
    digits, count = padded[0] if padded else (0, 0)
    return digits if count > sum(len(number) < digits for number in numbers) else 0


def _crc32(address: str) -> int:
    return zlib.crc32(address.encode())


def _digest(algorithm: str) -> Naming:
    def name(line: int, address: str, digits: int) -> str:
        return hashlib.new(algorithm, address.encode(), usedforsecurity=False).hexdigest()

    return Naming(f"named by the {algorithm} of their addresses", False, name)


NAMINGS = {
    "line": Naming("named by their lines, of which the first is 0", True, lambda line, _, digits: f"{line:0{digits}d}"),
    "crc32": Naming("named by the crc32 of their addresses", False, lambda _, address, __: str(_crc32(address))),
    "line and crc32": Naming(
        "named by their lines and the crc32 of their addresses",
        False,
        lambda line, address, _: f"{line}_{_crc32(address)}",
    ),
    **{algorithm: _digest(algorithm) for algorithm in ("md5", "sha1", "sha256")},
    "address": Naming(
        "named as in their addresses",
        False,
        lambda _, address, __: unquote(urlsplit(address).path).rpartition("/")[2],
    ),
}
