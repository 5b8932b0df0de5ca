"""What a caption layout must say of itself, and what a source lists."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple

from beam_jobs.errors import SourceError
from beam_jobs.sources.text_files import file_lines
from tfcaption.preprocessing import photos
from tfcaption.records.dataset_info import Rejection
from tfcaption.runtime.paths import files_below, is_local


class Location(NamedTuple):
    """Where the bytes of a photo lie: a file, or a part of one."""

    path: str  # any that Beam's filesystems know
    offset: int = 0  # bytes
    size: int | None = None  # bytes; None: to the file's end

    def __str__(self) -> str:
        return self.path if self.size is None else f"{self.path}, byte {self.offset}"


@dataclass(frozen=True)
class CaptionedPhoto:
    """One photo as a source lists it, before anything was read of it."""

    id: str
    location: Location
    captions: tuple[str, ...]  # raw
    split: str


@dataclass
class Listing:
    """All that a source holds: the photos to write, and what is left out already."""

    photos: list[CaptionedPhoto] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # for the user, e.g. how the splits were decided
    captions_in: int = 0
    source: str = ""  # name of the layout

    def reject(self, kind: str, name: str, reason: str, detail: str = "", *, captions: int = 0) -> None:
        """Leave out a photo (with so many captions) or a caption, by name and with the reason."""
        self.rejections.append(Rejection(kind=kind, id=name, reason=reason, detail=detail, captions=captions))

    @property
    def photos_in(self) -> int:
        """Photos to write and photos rejected (not those that split files leave out)."""
        return len(self.photos) + sum(rejection.kind == "photo" for rejection in self.rejections)


class CaptionLine(NamedTuple):
    """One caption as it stands in a file."""

    where: str  # FILE:LINE or the like, by which a rejection names it
    photo: str  # name of the photo's file
    caption: str
    split: str | None = None  # where the file says


class Columns(NamedTuple):
    """Names of the columns of a table, where the user gives them."""

    photo: str | None = None
    caption: str | None = None
    split: str | None = None


class Source(ABC):
    """One caption layout. Photos are found by their file names; see `photos` for where.

    An example, for files of lines `NAME CAPTION`:

        class Lines(Source):
            name = "lines"
            layout = "captions.lines, a photo's name and a caption a line"

            def files(self, captions):
                return sorted(captions.glob("*.lines")) if captions.is_dir() else []

            def read(self, files, listing, columns):
                for path in files:
                    for number, line in text_lines(path, listing):
                        photo, _, caption = line.partition(" ")
                        yield CaptionLine(f"{path.name}:{number}", photo, caption)

    and in the package's setup.py `entry_points={"tfcaption.sources": ["lines=my_package:Lines"]}`.
    """

    name: str
    layout: str  # for people: what it looks like
    split_files: ClassVar[Mapping[str, str]] = {}  # split -> name of the file beside the captions that lists its photos

    @abstractmethod
    def files(self, captions: Path) -> list[Path]:
        """The caption files of this layout that `captions` (a file or a folder) is or holds; none: another layout."""

    @abstractmethod
    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """The captions, in the files' order. Counts in `listing.captions_in` and rejects there what it cannot yield.

        Raises:
            SourceError: a file is not what its name says.
        """

    def photos(self, images: Path, captioned: Container[str]) -> dict[str, list[Location]]:
        """File name -> where photos of that name lie: anywhere below the folder `images`, unless a layout knows better.

        Args:
            images: as the user names it.
            captioned: names that have captions.

        Raises:
            SourceError: `images` cannot hold photos of this layout.
        """
        if not images.is_dir():
            raise SourceError(f"--images {images}: is a file; name the folder of the photos")
        return _photos_below(images, captioned)


def text_lines(path: Path, listing: Listing) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers, each counted as a caption; one that is not UTF-8 is rejected."""
    return decoded_lines(file_lines(path), path.name, listing)


def decoded_lines(lines: Iterable[tuple[int, bytes]], name: str, listing: Listing) -> Iterator[tuple[int, str]]:
    """`text_lines` of the file `name` that is open already."""
    for number, line in lines:
        listing.captions_in += 1
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError as error:
            detail = f"byte {error.start} of {line[:60]!r}"
            listing.reject("caption", f"{name}:{number}", "not UTF-8", detail)


def _photos_below(images: Path, captioned: Container[str]) -> dict[str, list[Location]]:
    """File name -> where it lies below `images`; links to folders are not followed, and pipes and devices are no files.

    Files that neither have a caption nor a photo's ending (readme.txt) are no photos, nor are the hidden files that
    archives made on a Mac carry beside each photo (__MACOSX/._NAME.jpg).
    """
    found: dict[str, list[Location]] = defaultdict(list)
    for path in files_below(images):
        is_photo = path.name in captioned or path.suffix.lower() in photos.SUFFIXES
        if is_photo and not path.name.startswith(".") and (not is_local(path) or path.is_file()):
            found[path.name].append(Location(str(path)))
    return found
