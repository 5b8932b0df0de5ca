"""The interface of a caption layout, and what its captions and photos are."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from beam_jobs.errors import SourceError
from beam_jobs.sources.splits import named_split
from beam_jobs.sources.text_files import WHOLE, Span, can_be_divided, count_lines, file_lines
from tfcaption.preprocessing.photos import MAX_BYTES, is_photo_content
from tfcaption.records.dataset_info import Rejection
from tfcaption.runtime.paths import entries_below, files_in, is_hidden


class Location(NamedTuple):
    """Where the bytes of a photo are: a file, or a part of one."""

    path: str  # any that Beam's filesystems know
    offset: int = 0  # bytes
    size: int | None = None  # bytes; None: to the end of the file

    def __str__(self) -> str:
        return self.path if self.size is None else f"{self.path}, byte {self.offset}"


@dataclass(frozen=True)
class CaptionedPhoto:
    """One photo of a listing; its file is not read yet."""

    id: str
    location: Location
    captions: tuple[str, ...]  # raw
    split: str
    source_ids: tuple[str, ...] = ()  # see `CaptionLine.source_id`


def _no_unpacking(name: str, photo: bytes) -> Location:
    raise NotImplementedError("only a job with an output folder can unpack photos")


@dataclass
class Listing:
    """What reading captions and looking for photos gives besides them."""

    rejections: list[Rejection] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # for the user
    counted_notes: Counter[str] = field(default_factory=Counter)  # that end with a number
    captions_in: int = 0  # accepted + rejected
    accounted: set[Path] = field(default_factory=set)  # files read as captions or lists of photos
    files: list[Path] = field(default_factory=list)  # caption files, as the user is told them
    unpack: Callable[[str, bytes], Location] = _no_unpacking  # copies a photo to where it can be read, each name once

    def reject(self, kind: str, name: str, reason: str, detail: str = "", *, captions: int = 0) -> None:
        """Add a rejection; see `Rejection` for the arguments."""
        self.rejections.append(Rejection(kind=kind, id=name, reason=reason, detail=detail, captions=captions))


class CaptionLine(NamedTuple):
    """One caption of a file."""

    where: str  # FILE:LINE or the like, the id of its rejection
    photo: str  # name or path of the photo's file
    caption: Any  # a text, or lists and objects that hold texts, see `captions_in`
    split: Any = None  # as the file names it; None: the file does not say
    source_id: str | None = None  # what results call the photo, if that is not its name: its number in COCO's `images`
    file: Path | None = None  # that holds the caption, if its name or folder may say a split
    column: str = "split"  # that says `split`; in one of another name, words that name no split are no fault
    key: str = ""  # unique in the data set, as the file says; of several captions of one key the first counts
    location: Location | None = None  # of the photo, where the file holds it, too; then `photo` says its content


class Columns(NamedTuple):
    """Names of a table's columns, where the user gives them."""

    photo: str | None = None
    caption: str | None = None
    split: str | None = None


class Source(ABC):
    """One caption layout. Photos are found by their names in the captions, see `match_names`.

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
    layout: str  # human-readable: how its files look
    every_photo_captioned: ClassVar[bool] = False  # True: a photo without captions is a fault; False: it is an extra
    # True: the captions hold addresses of photos, many of which can no longer be had, so missing ones fail no job.
    photos_were_downloaded: ClassVar[bool] = False
    divided_by_lines: ClassVar[bool] = True  # spans of files need `Span.lines_before`
    # True: `read` gives a photo by its path, and the id is the file name, or the path where that is not unique.
    # False: it gives the name that the captions have, and that is the id.
    names_are_paths: ClassVar[bool] = False
    text_endings: ClassVar[tuple[str, ...]] = ()  # of files that hold captions where a photo lies beside them
    split_files: ClassVar[Mapping[str, str]] = {}  # split -> name of the file beside the captions that lists its photos

    @abstractmethod
    def files(self, captions: Path) -> list[Path]:
        """The caption files of this layout in `captions`, a file or a folder; empty for another layout.

        A layout of very many small files gives the folder that holds them instead.
        """

    @abstractmethod
    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """The captions of some of these files, in their order. Workers read each file by itself.

        Adds every caption to `listing.captions_in`, and rejects there each caption that it cannot yield.

        Raises:
            SourceError: a file does not hold what its name says.
        """

    def for_photos(self, images: Path, files: Sequence[Path]) -> "Source":
        """The layout for photos below a folder: a copy of this one if their names say how captions name them.

        Raises:
            SourceError: they cannot be the photos of `files`.
        """
        return self

    def can_be_divided(self, file: Path) -> bool:
        """Whether several workers may share one of `files`, each calling `read_span` with another span."""
        return False

    def read_span(self, file: Path, span: Span, listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """The captions that begin in a span of one of `files`; see `read`."""
        return self.read([file], listing, columns)

    def lines_in(self, file: Path, span: Span) -> int | None:
        """How many lines begin in a span of a file, where `divided_by_lines`.

        None where a row has several lines. Then one worker reads the file.
        """
        return count_lines(file, span)

    def holds_photos(self, files: Sequence[Path]) -> bool:
        """Whether most bytes of some of `files` are those of photos, not of captions."""
        return False

    def photo_files(self, images: Path) -> list[Path]:
        """Files that hold photos themselves, each read by `photos`; empty where photos are files below `images`.

        Raises:
            SourceError: `images` cannot hold photos of this layout.
        """
        if not images.is_dir():
            raise SourceError(f"--images {images}: is a file; name the folder of the photos")
        return []

    def photos(self, file: Path, listing: Listing, *, captioned: bool) -> Iterator[tuple[str, Location]]:
        """What may be a photo in one of `photo_files`: path in it, with `/` between folders, and location.

        Args:
            file: one of `photo_files`.
            listing: gets the parts of the file that are not photos.
            captioned: the file is one of `files`, too, so `read` has named those parts.
        """
        return iter(())


class DividedSource(Source):
    """A layout whose files several workers may share: text in lines, unless `can_be_divided` says otherwise."""

    def read(self, files: list[Path], listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read`."""
        for path in files:
            yield from self.read_span(path, WHOLE, listing, columns)

    def can_be_divided(self, file: Path) -> bool:
        """See `Source.can_be_divided`."""
        return can_be_divided(file)

    @abstractmethod
    def read_span(self, file: Path, span: Span, listing: Listing, columns: Columns) -> Iterator[CaptionLine]:
        """See `Source.read_span`."""


def path_below(folder: Path, file: Path) -> str:
    """The path of a file below a folder, with `/` between folders; the file's name if `folder` is that file."""
    return file.relative_to(folder).as_posix().replace("\\", "/") if folder != file else file.name


def check_exists(images: Path, captions: Path) -> None:
    """Check that the paths of a data set exist.

    Raises:
        SourceError: one does not.
    """
    if not images.exists():
        raise SourceError(f"--images {images}: no such folder; name the folder of the photos")
    if not captions.exists():
        raise SourceError(f"--captions {captions}: no such file or folder; name the file or folder of the captions")


def text_lines(path: Path, listing: Listing, span: Span = WHOLE) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers; each counts as a caption, and one that is not UTF-8 is rejected."""
    return decoded_lines(file_lines(path, span), path.name, listing)


def decoded_lines(lines: Iterable[tuple[int, bytes]], name: str, listing: Listing) -> Iterator[tuple[int, str]]:
    """`text_lines` of a file that is open already, whose name is `name`."""
    for number, line in lines:
        listing.captions_in += 1
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError as error:
            detail = f"byte {error.start} of {line[:60]!r}"
            listing.reject("caption", f"{name}:{number}", "not UTF-8", detail)


def _all(_: Path) -> bool:
    return True


def visible_files(path: Path, accept: Callable[[Path], bool] = _all, *, below: bool = False) -> list[Path]:
    """The file `path`, or the sorted files in the folder `path` (`below`: in all folders below it), not hidden ones.

    Only accepted files count; the others, which may be all photos of a data set, are never in memory together.
    """
    if not path.is_dir():
        return [path] if accept(path) else []
    files = (file for file, problem in entries_below(path) if not problem) if below else files_in(path)
    return sorted(file for file in files if not is_hidden(file.relative_to(path)) and accept(file))


def caption_files(captions: Path, accept: Callable[[Path], bool]) -> list[Path]:
    """The files that a layout accepts in the folder of the captions, or else in folders of splits below it (`train/`).

    A file named `metadata` counts in any folder below: it lies beside its photos.
    """

    def beside_photos(path: Path) -> bool:
        return bool(named_split(path.parent.name) or path.stem == "metadata") and accept(path)

    return visible_files(captions, accept) or visible_files(captions, beside_photos, below=True)


def holds_photo(path: Path) -> bool:
    """True for a file whose content is a photo, whatever its name."""
    with suppress(OSError), path.open("rb") as stream:
        return is_photo_content(stream.read(MAX_BYTES))
    return False
