"""Joins captions, photos and lists by the names of photos, one group of names at a time."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeVar

from beam_jobs.errors import SourceError
from beam_jobs.execution.counting import Some
from beam_jobs.execution.paths import as_path
from beam_jobs.execution.rejections import NOT_DOWNLOADED, RejectionCounts
from beam_jobs.sources.accounting import unread_reason
from beam_jobs.sources.base import Location, holds_photo
from beam_jobs.sources.caption_values import caption_problem, captions_in
from beam_jobs.sources.items import Caption, FoundFile, FoundPhoto, Item, ListedName, Order, ReadFile
from beam_jobs.sources.matching import Matches, file_name, match_names, short_names
from beam_jobs.sources.official_splits import Alike, Evidence, ListFacts, SplitFacts, SplitList, splits_of_files
from beam_jobs.sources.parts import LINES_TO_TRY, ReadFacts
from beam_jobs.sources.reader import DataSet
from beam_jobs.sources.splits import named_split
from tfcaption.preprocessing.photos import is_photo_name
from tfcaption.records.dataset_info import Rejection
from tfcaption.records.photo_names import spelling

MOST_CAPTIONS = 10_000  # of one photo


class JoinedPhoto(NamedTuple):
    """A photo with captions that is not read yet, and what says its split."""

    id: str
    location: Location
    captions: tuple[str, ...]  # raw
    source_ids: tuple[str, ...]
    evidence: Evidence


class UncaptionedPhoto(NamedTuple):
    """A photo that was found or listed, and that no caption names."""

    name: str
    detail: str
    lists: frozenset[int]  # parts of the lists that name it


class UnreadList(NamedTuple):
    """A file that may list photos: named as one that nothing uses, unless it is a list."""

    part: int
    rejection: Rejection


@dataclass
class JoinFacts:
    """What is known of a data set when all groups are joined; adds up in little memory."""

    captions: int = 0  # more (or fewer) than the lines of `ReadFacts.captions`
    rejected: RejectionCounts = field(default_factory=RejectionCounts)
    repeated: Some = field(default_factory=Some)  # (order, where) of captions that an earlier file holds
    respelt: Some = field(default_factory=Some)  # (name, message)
    other_endings: Some = field(default_factory=Some)  # (name, message) of missing photos
    in_two_splits: Some = field(default_factory=Some)  # (order, message) of captions
    splits: SplitFacts = field(default_factory=SplitFacts)

    def merge(self, other: "JoinFacts") -> None:
        """Add those of other groups."""
        self.captions += other.captions
        self.rejected.merge(other.rejected)
        self.repeated.merge(other.repeated)
        self.respelt.merge(other.respelt)
        self.other_endings.merge(other.other_endings)
        self.in_two_splits.merge(other.in_two_splits)
        self.splits.merge(other.splits)


@dataclass
class JoinContext:
    """What all groups have in common."""

    data_set: DataSet
    split_of_file: Mapping[Path, str]  # see `splits_of_files`; empty where a column decides
    lists: Mapping[int, SplitList]  # files that may be lists

    @classmethod
    def of(cls, data_set: DataSet, read: ReadFacts) -> "JoinContext":
        """What is known when all parts of a data set are read."""
        files = {} if data_set.columns.split else splits_of_files(read.files, data_set.captions)
        return cls(data_set, files, {part: each for part, (each, _) in read.lists.items()})


@dataclass
class _Named:
    """A photo that captions name."""

    order: Order
    captions: list[str] = field(default_factory=list)
    in_other_files: frozenset[str] = frozenset()  # captions of the files before the one that is being read
    source_ids: dict[str, None] = field(default_factory=dict)
    split: str | None = None
    files: set[Path] = field(default_factory=set)
    path: str | None = None  # where the photo was found
    locations: list[Location] = field(default_factory=list)


Kind = TypeVar("Kind", bound=Item)
Joined = JoinedPhoto | UncaptionedPhoto | UnreadList | Rejection


class Group:
    """The items of one group of names, added one at a time."""

    def __init__(self) -> None:
        self._items: dict[type, list[Item]] = defaultdict(list)
        self._captions: Counter[str] = Counter()  # of each name

    def add(self, item: Item) -> None:
        """Add an item.

        Raises:
            SourceError: a photo has too many captions.
        """
        self._items[type(item)].append(item)
        if isinstance(item, Caption):
            self._captions[item.photo] += 1
            if self._captions[item.photo] > MOST_CAPTIONS:
                raise SourceError(
                    f"{item.line.where}: {item.photo} has more than {MOST_CAPTIONS:,} captions; does the first of "
                    "--columns name the photos? Or remove some"
                )

    def join(self, context: JoinContext, facts: JoinFacts) -> Iterator[Joined]:
        """Match the names of the group.

        Args:
            context: what all groups have in common.
            facts: of all groups; those of this one are added.
        """
        for found in self._join(context, facts):
            if isinstance(found, Rejection):
                facts.rejected.add(found)
            yield found

    def _join(self, context: JoinContext, facts: JoinFacts) -> Iterator[Joined]:
        data_set = context.data_set
        named: dict[str, _Named] = {}
        captions = self._all(Caption)
        if captions:
            yield from _read(sorted(captions, key=lambda item: item.order), named, data_set, facts)
        if data_set.photos_as_named:
            matches = Matches({name: name for name in named})
            inside = self._locations(named, data_set)  # of files of captions
            locations_of = {name: inside.get(name) or [Location(str(data_set.images / name))] for name in named}
        else:
            locations_of = self._locations(named, data_set)
            matches = match_names(named, locations_of)
        photos = _by_id(data_set, named, matches, locations_of)
        lists_of, unknown_of = self._listed(photos, context, facts)
        uncaptioned = {*locations_of} - {*matches.path_of.values(), *chain(*matches.ambiguous.values())}
        yield from _usable(photos, lists_of, context, facts)
        unused = short_names(uncaptioned)
        for path, name in unused.items():
            yield UncaptionedPhoto(name, str(locations_of[path][0]), unknown_of.get(name, frozenset()))
        if data_set.layout.split_files:
            for name, parts in unknown_of.items():
                yield UncaptionedPhoto(name, "", parts)
        for name, path in matches.path_of.items():
            if file_name(name) != file_name(path):
                facts.respelt.add((name, f"{name} is {file_name(path)}"))
        _note_other_endings(photos, unused.values(), data_set, facts)
        yield from self._unread({each.path for found in locations_of.values() for each in found}, data_set)

    def _all(self, kind: type[Kind]) -> list[Kind]:
        return self._items[kind]  # type: ignore[return-value]

    def _locations(self, named: Mapping[str, _Named], data_set: DataSet) -> dict[str, list[Location]]:
        """Path below the folder of photos -> locations of that photo, usually one.

        A file without the ending of a photo is one if captions name it, or if they name it with such an ending and its
        content is a photo.
        """
        locations: dict[str, list[Location]] = defaultdict(list)
        captioned = {file_name(name) for name in named}
        for member in self._all(FoundPhoto):
            if member.by_content and member.path in locations:
                locations[member.path] = [min(*locations[member.path], member.location)]
            elif member.by_content or is_photo_name(member.path, captioned):
                locations[member.path].append(member.location)
        if data_set.photos_in_files:
            return {path: sorted(found) for path, found in locations.items()}
        without_ending = {spelling(name.rpartition(".")[0]) for name in captioned if is_photo_name(name)}
        for file in self._all(FoundFile):
            if file.may_be_photo:
                name = file_name(file.path)
                if is_photo_name(name, captioned) or (
                    spelling(name) in without_ending and holds_photo(as_path(file.file))
                ):
                    locations[file.path].append(Location(file.file))
        return dict(locations)

    def _listed(
        self, photos: Mapping[str, _Named], context: JoinContext, facts: JoinFacts
    ) -> tuple[dict[str, frozenset[int]], dict[str, frozenset[int]]]:
        """Photo id -> the lists that name it; listed name of no photo with captions -> the lists that have it."""
        listed: dict[int, dict[str, ListedName]] = defaultdict(dict)
        for item in sorted(self._all(ListedName), key=lambda item: (item.part, item.order)):
            listed[item.part][item.name] = item
        known, unknown = defaultdict[str, set[int]](set), defaultdict[str, set[int]](set)
        first_of: dict[str, list[ListedName]] = defaultdict(list)  # photo id, or name -> where each list has it
        for part, items in listed.items():
            found = facts.splits.lists.setdefault(part, ListFacts())
            tried = match_names([name for name, item in items.items() if item.order < LINES_TO_TRY], photos).path_of
            found.known += len(tried)
            found.names_photos |= any(map(is_photo_name, tried))
            matches = match_names(items, photos)
            for name, item in items.items():
                at = (part, item.order)
                if name in matches.ambiguous:
                    text = f"{item.where}: {name} may be several photos; write their paths below the folder"
                    found.faults.add((at, text))
                    continue
                photo = matches.path_of.get(name, name)
                (known if name in matches.path_of else unknown)[photo].add(part)
                for before in first_of[photo]:
                    if context.lists[before.part].split != context.lists[part].split:
                        text = f"{item.where}: {name} is in two splits, see {before.where}; remove one of them"
                        facts.splits.in_two_lists.setdefault((before.part, part), Some()).add((at, text))
                first_of[photo].append(item)
        return tuple({name: frozenset(parts) for name, parts in each.items()} for each in (known, unknown))  # type: ignore[return-value]

    def _unread(self, photos: set[str], data_set: DataSet) -> Iterator[Joined]:
        """The files of the group that are neither captions nor photos."""
        files = self._all(FoundFile)
        read = {item.own: item.list for item in self._all(ReadFile)}
        seen = {file.own for file in files if file.file in photos}
        for file in sorted(files, key=lambda file: (not file.below_images, file.path)):
            is_read = file.own in read and read[file.own] is None
            if file.own not in seen and not is_read:
                seen.add(file.own)
                reason, _, detail = unread_reason(file, data_set.layout.text_endings).partition(": ")
                rejection = Rejection(kind="file", id=file.path, reason=reason, detail=detail)
                part = read.get(file.own)
                yield rejection if part is None else UnreadList(part, rejection)


def _read(
    captions: Iterable[Caption], named: dict[str, _Named], data_set: DataSet, facts: JoinFacts
) -> Iterator[Rejection]:
    """Add captions in their order to the photos that they name; bad ones are rejected."""
    where_of: dict[str, str] = {}  # key -> where it is first
    for order, name, line in captions:
        if line.key and line.key in where_of:
            detail = f"{line.key} is also in line {where_of[line.key].rpartition(':')[2]}"
            yield Rejection(kind="caption", id=line.where, reason="duplicate id", detail=detail)
            continue
        where_of[line.key] = line.where
        photo = named.setdefault(name, _Named(order))  # known now, even if it has no good caption
        if line.source_id is not None:
            photo.source_ids[line.source_id] = None
        if line.file is not None and line.file not in photo.files:
            photo.files.add(line.file)
            photo.in_other_files = frozenset(photo.captions)
        values = captions_in(line.caption)
        facts.captions += len(values) - 1
        for caption in values:
            if problem := caption_problem(caption):
                yield Rejection(kind="caption", id=line.where, reason=problem, detail=f"{name}: {caption!r:.80}")
            elif caption.strip() in photo.in_other_files:
                facts.repeated.add((order, line.where))
                facts.captions -= 1
            else:
                photo.captions.append(caption.strip())
        split = None if line.split in (None, "") else named_split(str(line.split))
        if split and photo.split not in (None, split) and data_set.shares is None:
            text = f"{line.where}: {name} is in two splits, {photo.split} and {split}; remove one of them"
            facts.in_two_splits.add((order, text))
        photo.split = split or photo.split


def _by_id(
    data_set: DataSet, named: Mapping[str, _Named], matches: Matches, locations_of: Mapping[str, list[Location]]
) -> dict[str, _Named]:
    """Photo id -> photo with its locations, from the photos by name."""
    id_of = short_names(named) if data_set.layout.names_are_paths else {}
    for name, photo in named.items():
        path = matches.path_of.get(name)
        paths = [path] if path is not None else matches.ambiguous.get(name, [])
        photo.locations = [location for path in paths for location in locations_of[path]]
        if path is not None:
            photo.path = "/".join(dict.fromkeys([*path.split("/")[:-1], *name.split("/")[:-1]]))
    return {id_of.get(name, name): photo for name, photo in named.items()}


def _usable(
    photos: Mapping[str, _Named], lists_of: Mapping[str, frozenset[int]], context: JoinContext, facts: JoinFacts
) -> Iterator[JoinedPhoto | Rejection]:
    """The photos that can be used, and rejections of the others; counts the evidence of all."""
    ambiguous = Counter(photo.locations[0] for photo in photos.values() if photo.locations)
    for name, photo in photos.items():
        folders = None if photo.path is None else frozenset(filter(named_split, photo.path.split("/")))
        splits = {file: context.split_of_file.get(file, "") for file in sorted(photo.files)}
        evidence = Evidence(photo.split, lists_of.get(name, frozenset()), frozenset(splits.values()), folders)
        alike = facts.splits.alike.setdefault(evidence, Alike())
        alike.photos.add((photo.order, name))
        alike.ids.add(name)
        if photo.path is not None:
            alike.folders.update([photo.path])
        if len({*splits.values()}) > 1:
            files = {split: file.name for file, split in splits.items()}
            text = f"{name} is in two splits, see {' and '.join(files.values())}; remove one of them"
            facts.splits.in_two_files.add((photo.order, text))
        reason, detail = _problem(photo, ambiguous, context.data_set)
        if reason:
            captions = len(photo.captions)
            yield Rejection(kind="photo", id=name, reason=reason, detail=detail, captions=captions)
        else:
            alike.use(name)
            yield JoinedPhoto(name, photo.locations[0], tuple(photo.captions), tuple(photo.source_ids), evidence)


def _problem(photo: _Named, ambiguous: Mapping[Location, int], data_set: DataSet) -> tuple[str, str]:
    """Why a photo cannot be used, and the detail; empty if it can."""
    if not photo.captions:
        return "no captions", str(photo.locations[0]) if photo.locations else ""
    if not photo.locations:
        reason = NOT_DOWNLOADED if data_set.layout.photos_were_downloaded else "missing photo"
        return reason, f"not found below {data_set.images}"
    if len(photo.locations) > 1:
        more = f"; and {len(photo.locations) - 5:,} more" if len(photo.locations) > 5 else ""
        return "ambiguous photo", "; ".join(map(str, sorted(photo.locations)[:5])) + more
    if ambiguous[photo.locations[0]] > 1:
        return "ambiguous photo", f"{photo.locations[0]}, of which there are other names"
    return "", ""


def _note_other_endings(
    photos: Mapping[str, _Named], unused: Iterable[str], data_set: DataSet, facts: JoinFacts
) -> None:
    """Note the missing photos that may be photos of another ending which no caption names."""
    if not data_set.layout.every_photo_captioned:
        unused_of = {_stem(name): name for name in sorted(unused)}
        for name, photo in photos.items():
            if photo.captions and not photo.locations and _stem(name) in unused_of:
                facts.other_endings.add((name, f"{name} is {unused_of[_stem(name)]}"))


def _stem(name: str) -> str:
    """The spelling of a photo's file name without its ending."""
    return spelling(Path(name).stem)
