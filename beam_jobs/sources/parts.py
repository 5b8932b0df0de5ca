"""What workers read of a data set, part by part: captions, files below its folders, members of tars, lists."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from beam_jobs.errors import SourceError
from beam_jobs.execution.counting import Distinct
from beam_jobs.execution.paths import as_path
from beam_jobs.execution.rejections import RejectionCounts
from beam_jobs.sources.base import CaptionLine, Listing, Source, path_below
from beam_jobs.sources.items import Caption, FoundFile, FoundPhoto, Item, ListedName, Order, ReadFile
from beam_jobs.sources.official_splits import SplitList, possible_lists
from beam_jobs.sources.reader import DataSet
from beam_jobs.sources.splits import named_split
from beam_jobs.sources.text_files import UNSAFE_NAME, WHOLE, Span, file_lines, is_absolute, listed_name, normal_name
from beam_jobs.sources.unpacked_photos import UnpackedPhotos
from tfcaption.records.dataset_info import Rejection
from tfcaption.runtime.errors import TfcaptionError
from tfcaption.runtime.paths import entries_below, is_hidden, is_local

LINES_TO_TRY = 200  # of a file that may be a list
BYTES_AT_ONCE = 64_000_000  # of a file of captions, where several workers can share it


class Part(NamedTuple):
    """What one worker reads."""

    number: int  # parts of captions come first, in the order of the files
    # "captions", "files" below a folder, "members" of a file with photos, "list" of photos, or "others": the captions
    # of another data set
    read: str
    path: Path
    split: str = ""  # of a list
    captioned: bool = False  # a file with photos, whose captions another part reads
    span: Span = WHOLE  # of a file of captions; see `exact_spans`
    data_set: int = 0  # index of its data set, of several that become one
    first: bool = False  # of its data set


@dataclass
class ReadFacts:
    """What is known of a data set when all its parts are read; adds up in little memory."""

    captions: int = 0  # accepted + rejected; of a line with several, the line
    rejected: RejectionCounts = field(default_factory=RejectionCounts)
    notes: dict[str, tuple[int, int]] = field(default_factory=dict)  # note -> first part that has it, its number or 0
    shown_files: Distinct = field(default_factory=Distinct)  # that hold captions, of a folder of very many
    files: set[Path] = field(default_factory=set)  # whose names may say the splits of their captions
    unknown_splits: dict[str, tuple[Order, str]] = field(default_factory=dict)  # column -> first that names no split
    column: tuple[Order, str] = ((-1, 0), "")  # the last that named a split
    lists: dict[int, tuple[SplitList, str]] = field(default_factory=dict)  # part -> list, and its first faulty line

    def merge(self, other: "ReadFacts") -> None:
        """Add those of other parts."""
        self.captions += other.captions
        self.rejected.merge(other.rejected)
        for note, (first, number) in other.notes.items():
            own_first, own_number = self.notes.get(note, (first, 0))
            self.notes[note] = min(first, own_first), own_number + number
        self.shown_files.update(other.shown_files.first)
        self.files |= other.files
        for column, unknown in other.unknown_splits.items():
            self.unknown_splits[column] = min(unknown, self.unknown_splits.get(column, unknown))
        self.column = max(self.column, other.column)
        self.lists |= other.lists


def parts_of(*data_sets: DataSet) -> list[Part]:
    """All parts of a data set, or of several that become one.

    Raises:
        SourceError: `images` cannot hold photos of its layout.
    """
    found = [
        part._replace(data_set=index, first=not place)
        for index, data_set in enumerate(data_sets)
        for place, part in enumerate(_parts_of_one(data_set))
    ]
    return [part._replace(number=number) for number, part in enumerate(found)]


def _parts_of_one(data_set: DataSet) -> list[Part]:
    images, captions, own = data_set.images, data_set.captions, OwnPaths()
    found = [Part(0, "captions", file, span=span) for file in data_set.files for span in _spans(file, data_set.layout)]
    if not data_set.photos_as_named:
        read = set(map(own, data_set.files))
        members = data_set.layout.photo_files(images)
        found += [Part(0, "members", file, captioned=own(file) in read) for file in members]
        found += [Part(0, "files", root) for root in dict.fromkeys((images, captions)) if root.is_dir()]
    official = {data_set.folder / name: split for split, name in data_set.layout.split_files.items()}
    lists = {path: split for path, split in official.items() if path.is_file()}
    lists = lists or possible_lists(data_set.folder, data_set.files)
    found += [Part(0, "list", path, split) for path, split in lists.items()]
    return found + [Part(0, "others", path) for path in data_set.files_of_others]


def _spans(file: Path, layout: Source) -> list[Span]:
    """The spans by which workers share a file of captions."""
    size = file.stat().st_size if not file.is_dir() else 0
    if size <= BYTES_AT_ONCE or not layout.can_be_divided(file):
        return [WHOLE]
    starts = range(0, size, BYTES_AT_ONCE)
    return [Span(start, start + BYTES_AT_ONCE if start != starts[-1] else None) for start in starts]


def is_span_of_lines(part: Part, data_set: DataSet) -> bool:
    """Whether the numbers of a part's lines depend on the lines of other parts."""
    return part.span != WHOLE and data_set.layout.divided_by_lines


def exact_spans(parts: Iterable[Part], counts: Mapping[int, int | None]) -> dict[int, Span]:
    """Part -> its span, where it is known how many lines are before it.

    A file of which one span cannot be read by itself is read with its first span; its others become empty.

    Args:
        parts: the spans of lines.
        counts: part -> `Source.lines_in` of its span.
    """
    spans = dict[int, Span]()
    for _, group in groupby(sorted(parts), key=lambda part: (part.data_set, part.path)):
        before, of_file = 0, [*group]
        divided = all(counts[part.number] is not None for part in of_file)
        for number, span in ((part.number, part.span) for part in of_file):
            if divided:
                spans[number] = span._replace(lines_before=before)
                before += counts[number] or 0
            else:
                spans[number] = span._replace(end=span.start) if span.start else WHOLE
    return spans


def read_part(part: Part, data_set: DataSet) -> Iterator[tuple[str, Item] | Rejection | ReadFacts]:
    """Read a part of a data set.

    Yields:
        (name whose group the item belongs to, item); rejections; at last the facts.

    Raises:
        SourceError: a file does not hold what its name says, or cannot be read.
    """
    facts = ReadFacts()
    try:
        for found in _READERS[part.read](part, data_set, facts):
            if isinstance(found, Rejection):
                facts.rejected.add(found)
            yield found
    except OSError as error:
        if isinstance(error, TfcaptionError):
            raise
        raise SourceError(f"{part.path}: cannot be read: {error}") from error
    yield facts


Found = Iterator[tuple[str, Item] | Rejection]


def _read_captions(part: Part, data_set: DataSet, facts: ReadFacts) -> Found:
    layout, own = data_set.layout, OwnPaths()
    starts = _starts(data_set)
    listing = Listing()
    yield part.path.name, ReadFile(own(part.path))
    with UnpackedPhotos(data_set.output or "", f"{part.number:05d}") as unpacked:
        if data_set.output is not None:
            listing.unpack = unpacked.add
        for number, line in enumerate(layout.read_span(part.path, part.span, listing, data_set.columns)):
            yield from _reported(listing, own)
            order = (part.number, number)
            name = _normal_name(line, data_set, starts)
            if not name:
                detail = f"{line.photo[:80]!r} {UNSAFE_NAME}"
                yield Rejection(kind="caption", id=line.where, reason="unsafe name", detail=detail)
                continue
            if line.file is not None:
                facts.files.add(line.file)
            if line.split not in (None, ""):
                if named_split(str(line.split)) is not None:
                    facts.column = (order, line.column)
                elif line.column not in facts.unknown_splits:
                    facts.unknown_splits[line.column] = (order, f"{line.where}: {line.column} {line.split!r:.80}")
            if line.location is not None:
                yield name, FoundPhoto(name, line.location, by_content=True)
                line = line._replace(location=None)
            yield name, Caption(order, name, line)
    yield from _reported(listing, own)
    facts.captions += listing.captions_in
    facts.notes = {note: (part.number, number) for note, number in listing.counted_notes.items()}
    facts.notes |= dict.fromkeys(listing.notes, (part.number, 0))
    facts.shown_files.update(listing.files)


def _reported(listing: Listing, own: "OwnPaths") -> Found:
    """What the reader of a file has reported since the last call."""
    for path in listing.accounted:
        yield path.name, ReadFile(own(path))
    yield from listing.rejections
    listing.accounted.clear()
    listing.rejections.clear()


def _starts(data_set: DataSet) -> tuple[str, ...]:
    """Beginnings of absolute names that lie below the folders of photos and captions."""
    return tuple(f"{each}/" for at in (data_set.images, data_set.folder) for each in (at, at.absolute()))


def _normal_name(line: CaptionLine, data_set: DataSet, starts: tuple[str, ...]) -> str:
    """A photo's name as its id has it; empty if it is unsafe.

    A path that the reader made, and an absolute one below the folder of photos or captions, is taken from there.
    """
    name = line.photo
    if data_set.layout.names_are_paths or is_absolute(name):
        name = next((name.removeprefix(start) for start in starts if name.startswith(start)), name)
    elif line.file is not None and str(line.file.parent) != starts[-2].removesuffix("/"):
        name = f"{path_below(data_set.folder, line.file.parent)}/{name}"  # names in a table are those of its folder
    return normal_name(name)


def _read_files(part: Part, data_set: DataSet, facts: ReadFacts) -> Found:
    root, own, below_images = part.path, OwnPaths(), part.path == data_set.images
    output = None if data_set.output is None else own(as_path(data_set.output) / "x").removesuffix("x")
    for path, problem in entries_below(root):
        own_path = own(path)
        if not (output and own_path.startswith(output)):
            relative = path.relative_to(root)
            below = relative.as_posix().replace("\\", "/")
            yield below, FoundFile(below, str(path), own_path, problem, below_images, is_hidden(relative))


def _read_members(part: Part, data_set: DataSet, facts: ReadFacts) -> Found:
    own, listing = OwnPaths(), Listing()
    below = path_below(data_set.images, part.path)
    yield part.path.name, ReadFile(own(part.path))
    for path, location in data_set.layout.photos(part.path, listing, captioned=part.captioned):
        yield path, FoundPhoto(f"{below}/{path}", location)
    yield from listing.rejections
    facts.captions += listing.captions_in


def _read_list(part: Part, data_set: DataSet, facts: ReadFacts) -> Found:
    tried, fault = set[str](), ""
    yield part.path.name, ReadFile(OwnPaths()(part.path), part.number)
    for order, (number, line) in enumerate(file_lines(part.path)):
        where, name = f"{part.path}, line {number}", normal_name(line.decode(errors="replace").strip())
        if order < LINES_TO_TRY:
            tried.add(name)
        try:
            name = listed_name(where, line)
        except SourceError as error:
            fault = fault or str(error)
        if name:
            yield name, ListedName(part.number, order, name, where)
    facts.lists[part.number] = SplitList(part.path, part.split, len(tried)), fault


def _read_others(part: Part, data_set: DataSet, facts: ReadFacts) -> Found:
    yield part.path.name, ReadFile(OwnPaths()(part.path))


_READERS: dict[str, Callable[[Part, DataSet, ReadFacts], Found]] = {
    "captions": _read_captions,
    "files": _read_files,
    "members": _read_members,
    "list": _read_list,
    "others": _read_others,
}


class OwnPaths:
    """Paths without links of folders, so that a file has one whatever way leads to it."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}  # path -> the same without links

    def __call__(self, path: Path) -> str:
        """The path of a file without links of its folders."""
        text = str(path)
        if not is_local(text):
            return text
        folder, name = os.path.split(text)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return f"{self._folders[folder]}/{name}"
