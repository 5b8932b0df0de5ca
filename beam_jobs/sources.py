"""Caption layouts -> photos with their captions and split, and what had to be left out, each with its reason.

What a layout must say of itself is in `Source`; the layouts are in `layouts.py`, and packages can add their own by the
entry point group `tfcaption.sources`.
"""

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from beam_jobs.paths import as_path
from beam_jobs.splits import read_split_files, split_by_hash
from beam_jobs.text_files import SourceError, file_lines, is_safe_name
from tfcaption.preprocessing import photos
from tfcaption.records.dataset_info import SPLITS, Rejection
from tfcaption.runtime.paths import files_below, is_local

DEFAULT_SHARES = {"train": 0.75, "dev": 0.125, "test": 0.125}
ENTRY_POINTS = "tfcaption.sources"
AUTO = "auto"


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


_USUAL = Columns()


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


def sources() -> dict[str, Source]:
    """All layouts by name, in the order in which `auto` tries them: the built-in ones, then those of other packages."""
    from beam_jobs.layouts import LAYOUTS

    found = {layout.name: layout() for layout in LAYOUTS}
    for entry in entry_points(group=ENTRY_POINTS):
        found.setdefault(entry.name, entry.load()())
    return found


def read_source(
    images: str | Path,
    captions: str | Path,
    *,
    source: str = AUTO,
    shares: Mapping[str, float] = DEFAULT_SHARES,
    seed: int = 0,
    columns: Columns = _USUAL,
) -> Listing:
    """Read a data set.

    Splits are those that the captions say, or that split files beside them list. Photos that no split file lists are
    divided, by a hash of their id, among the splits whose file is missing; where all are there, they are left out as
    the data set's authors did.

    Args:
        images: folder of the photos, or one above them (a layout that holds photos itself may take a file).
        captions: file or folder of the captions.
        source: name of the layout, or `auto`: the first one that finds its files.
        shares: how the splits without a file share the photos, train/dev/test.
        seed: of that hash.
        columns: of a table, where they have unusual names.

    Returns:
        The photos in the order of their ids, and the rejections.

    Raises:
        SourceError: something is missing, empty or of no known layout, or a photo is in two splits.
    """
    images, captions = as_path(images), as_path(captions)
    if not images.exists():
        raise SourceError(f"--images {images}: no such folder; it must hold the photos")
    layout, files = _find_layout(source, captions)
    listing = Listing(source=layout.name)
    texts, split_of = _read_captions(layout, files, listing, columns)
    folder = captions if captions.is_dir() else captions.parent
    listed = read_split_files(folder, layout.split_files)
    missing = [split for split in SPLITS if not (folder / layout.split_files.get(split, "none")).is_file()]
    if split_of:
        missing = []
    split_of |= listed
    found = layout.photos(images, texts.keys())
    for name in sorted(texts.keys() | split_of.keys() | found.keys()):
        places = found.get(name, [])
        if not texts.get(name):
            where = (
                f"listed in {layout.split_files[listed[name]]}" if name in listed else str(places[0] if places else "")
            )
            listing.reject("photo", name, "no captions", where)
        elif not places:
            listing.reject("photo", name, "missing photo", f"not found below {images}", captions=len(texts[name]))
        elif len(places) > 1:
            listing.reject("photo", name, "ambiguous photo", _some(places), captions=len(texts[name]))
        elif name not in split_of and not missing:
            listing.reject("unused", name, "in no split", captions=len(texts[name]))
        else:
            split = split_of.get(name) or split_by_hash(name, missing, shares, seed)
            listing.photos.append(CaptionedPhoto(name, places[0], tuple(texts[name]), split))
    more = ", ..." if len(files) > 3 else ""
    listing.notes.append(f"source: {layout.name} ({', '.join(path.name for path in files[:3])}{more})")
    listing.notes.append(_split_note(layout, missing, listing, split_of))
    return listing


def _some(places: list[Location]) -> str:
    more = f"; and {len(places) - 5:,} more" if len(places) > 5 else ""
    return "; ".join(map(str, sorted(places)[:5])) + more


def _find_layout(source: str, captions: Path) -> tuple[Source, list[Path]]:
    known = sources()
    if not captions.exists():
        raise SourceError(f"--captions {captions}: no such file or folder; it must hold the captions")
    if source != AUTO:
        if source not in known:
            raise SourceError(f"--source {source}: no such layout; there are {', '.join([AUTO, *known])}")
        files = known[source].files(captions)
        if not files:
            raise SourceError(f"--captions {captions}: nothing of the layout {source} there: {known[source].layout}")
        return known[source], files
    for layout in known.values():
        if files := layout.files(captions):
            return layout, files
    listed = "; ".join(f"{layout.name}: {layout.layout}" for layout in known.values())
    raise SourceError(f"--captions {captions}: holds no captions of a known layout ({listed})")


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


def _read_captions(
    layout: Source, files: list[Path], listing: Listing, columns: Columns
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Photo id -> raw captions, and photo id -> split where the captions say; bad lines are rejected."""
    texts: dict[str, list[str]] = defaultdict(list)
    split_of: dict[str, str] = {}
    for where, name, caption, split in layout.read(files, listing, columns):
        if not is_safe_name(name):
            listing.reject("caption", where, "unsafe name", f"{name[:80]!r} must be a plain file name")
            continue
        if problem := _caption_problem(caption):
            listing.reject("caption", where, problem, f"{name}: {caption!r:.80}")
            texts[name]  # the photo is known, though it may have no caption left
        else:
            texts[name].append(caption.strip())
        if split is not None and split_of.setdefault(name, split) != split:
            raise SourceError(f"{where}: {name} is in two splits, {split_of[name]} and {split}; remove one of them")
    if not listing.captions_in:
        raise SourceError(f"{files[0]}: is empty")
    return texts, split_of


def _caption_problem(caption: Any) -> str:
    """Why a caption cannot be used; empty if it can."""
    if not isinstance(caption, str):  # JSON holds numbers, null and lists, too
        return "not text"
    if not any(character.isalnum() for character in caption):
        return "empty caption"
    try:
        caption.encode()
    except UnicodeEncodeError:  # halves of characters, as JSON may spell them
        return "not UTF-8"
    return ""


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


def _split_note(layout: Source, missing: list[str], listing: Listing, split_of: Mapping[str, str]) -> str:
    if not missing:
        return f"splits: as {'the split files' if layout.split_files else 'the captions'} say"
    hashed = Counter(photo.split for photo in listing.photos if photo.id not in split_of)
    given = ", ".join(layout.split_files[split] for split in missing if split in layout.split_files)
    return f"splits: {f'no {given}; ' if given else ''}by a hash of the photo id: " + (
        ", ".join(f"{count:,} to {split}" for split, count in sorted(hashed.items())) or "no photo was left over"
    )
