"""The splits that a data set itself names: in its captions, in lists of photos, by names of files, by folders.

What a data set says of one photo is its `Evidence`. Photos with equal evidence are counted together, so that the rules
need little memory, however many photos there are.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from beam_jobs.errors import SourceError
from beam_jobs.execution.counting import Distinct, Some, some_of
from beam_jobs.sources.base import path_below
from beam_jobs.sources.splits import EXACT_BELOW, named_split, splits_in
from tfcaption.records.dataset_info import SPLITS

BY_HASH = "--shares TRAIN DEV TEST divides all photos by a hash"
BY_COLUMN = "--columns PHOTO CAPTION SPLIT names the column of a table that decides"
_LIST_ENDINGS = (".txt", ".lst", ".csv")
_CAPTION_ENDINGS = (*_LIST_ENDINGS, ".tsv", ".json", ".jsonl", ".tar")


class SplitList(NamedTuple):
    """A file that lists the photos of a split, or may do so."""

    path: Path
    split: str
    tried: int  # different names among its first lines


class Evidence(NamedTuple):
    """What a data set says about the split of a photo."""

    split: str | None = None  # by the captions
    lists: frozenset[int] = frozenset()  # parts of the lists that name the photo
    files: frozenset[str] = (
        frozenset()
    )  # splits that names of the files with its captions say; "" for one that says none
    # Folders of the photo below --images and in its name that are named after a split; None: the photo was not found.
    folders: frozenset[str] | None = None


@dataclass
class Alike:
    """The photos with one evidence."""

    photos: Some = field(default_factory=Some)  # (order, id)
    ids: Some = field(default_factory=Some)
    folders: Distinct = field(default_factory=Distinct)  # paths
    usable: int = 0  # photos that are not rejected
    usable_ids: set[str] | None = field(default_factory=set)  # None: too many to divide them exactly

    def merge(self, other: "Alike") -> None:
        """Add other photos."""
        self.photos.merge(other.photos)
        self.ids.merge(other.ids)
        self.folders.update(other.folders.first)
        self.usable += other.usable
        few = self.usable < EXACT_BELOW and self.usable_ids is not None and other.usable_ids is not None
        self.usable_ids = {*(self.usable_ids or ()), *(other.usable_ids or ())} if few else None

    def use(self, photo_id: str) -> None:
        """Count a photo that is not rejected."""
        self.usable += 1
        if self.usable_ids is not None:
            self.usable_ids.add(photo_id)
            if self.usable >= EXACT_BELOW:
                self.usable_ids = None


@dataclass
class ListFacts:
    """What is known of the names in a file that may list photos."""

    known: int = 0  # different names among its first lines that mean photos
    names_photos: bool = False  # one of these is the name of a photo's file
    faults: Some = field(default_factory=Some)  # (list, line), what is wrong with it

    def merge(self, other: "ListFacts") -> None:
        """Add other names."""
        self.known += other.known
        self.names_photos |= other.names_photos
        self.faults.merge(other.faults)


@dataclass
class SplitFacts:
    """All evidence of a data set."""

    alike: dict[Evidence, Alike] = field(default_factory=dict)
    lists: dict[int, ListFacts] = field(default_factory=dict)
    in_two_lists: dict[tuple[int, int], Some] = field(default_factory=dict)  # ((list, line), what is wrong)
    in_two_files: Some = field(default_factory=Some)  # (order, what is wrong)

    def merge(self, other: "SplitFacts") -> None:
        """Add the evidence of other photos."""
        for evidence, alike in other.alike.items():
            self.alike.setdefault(evidence, Alike()).merge(alike)
        for part, facts in other.lists.items():
            self.lists.setdefault(part, ListFacts()).merge(facts)
        for pair, found in other.in_two_lists.items():
            self.in_two_lists.setdefault(pair, Some()).merge(found)
        self.in_two_files.merge(other.in_two_files)


@dataclass(frozen=True)
class OfficialSplits:
    """The splits that a data set names."""

    split_of: Mapping[Evidence, str]
    unlisted: tuple[str, ...]  # splits among which a hash divides the other photos; empty: those are unused
    said_by: str  # for people; empty: nothing names a split


NO_SPLITS = OfficialSplits({}, SPLITS, "")


def official_splits(
    facts: SplitFacts,
    lists: Mapping[int, SplitList],
    files: Collection[Path],
    captions: Path,
    *,
    column: str = "",
    column_decides: bool = False,
) -> OfficialSplits:
    """The split for each evidence: by the captions, lists and names of files, or else by folders.

    Args:
        facts: of all photos with captions.
        lists: part -> list, see `accepted_lists`.
        files: that hold captions, where their names may say a split.
        captions: file or folder of the captions, as the user gives it.
        column: what says the split in the captions, for people.
        column_decides: the user named that column, so the names of files do not count.

    Raises:
        SourceError: two of these contradict each other, or names speak of splits and leave those of some photos open.
    """
    files = sorted(files)
    of_file = {} if column_decides else splits_of_files(files, captions)
    examples = _examples((path_below(captions, file), split) for file, split in of_file.items())

    def by_list(evidence: Evidence) -> str | None:
        return next((lists[part].split for part in sorted(evidence.lists) if part in lists), None)

    said: list[tuple[str, Callable[[Evidence], str | None]]] = [
        (f"`{column}` in the captions", lambda evidence: evidence.split),
        (f"the lists {some_of([each.path.name for _, each in sorted(lists.items())])}", by_list),
    ]
    if len(of_file) == len(files):
        if facts.in_two_files:
            raise SourceError(facts.in_two_files.first[0][1])
        said.append((f"names of files ({examples})", lambda evidence: next(iter(evidence.files), None)))
    said = [(source, split_by) for source, split_by in said if any(map(split_by, facts.alike))]
    decided = [evidence for evidence in facts.alike if any(split_by(evidence) for _, split_by in said)]
    open_to_all = facts.alike.keys() - set(decided)
    if len(of_file) < len(files) and any(evidence.files - {""} for evidence in open_to_all):
        others = some_of([path_below(captions, file) for file in files if file not in of_file])
        raise SourceError(
            f"{captions}: some files are named after splits ({examples}), but not {others}; rename or remove it, or "
            f"{BY_COLUMN}, or {BY_HASH}"
        )
    if said:
        only_lists = [split_by for _, split_by in said] == [by_list]
        listed = {each.split for each in lists.values()}
        unlisted = tuple(split for split in SPLITS if split not in listed) if only_lists else ()
        return OfficialSplits(_agreed(facts, said), unlisted, " and ".join(source for source, _ in said))
    _check_neighbours(files, captions)
    return _by_folder(facts)


def possible_lists(folder: Path, captions: Collection[Path]) -> dict[Path, str]:
    """Text files in a folder whose names say one split, and which may list its photos: file -> split.

    Args:
        folder: of the captions.
        captions: files that are no lists.
    """
    found = {}
    for path in sorted(folder.iterdir()):
        splits = splits_in(path.stem)
        if len(splits) == 1 and path.suffix.lower() in _LIST_ENDINGS and path not in captions and path.is_file():
            found[path] = splits.pop()
    return found


def accepted_lists(
    lists: Mapping[int, tuple[SplitList, str]], facts: SplitFacts, *, official: bool
) -> dict[int, SplitList]:
    """The lists of photos among the files that may be some: those of which most names mean photos.

    Args:
        lists: part -> file, and the first fault in it.
        facts: of all photos with captions.
        official: the layout says that all of them are.

    Raises:
        SourceError: a line is not a photo's name, or a photo is in two splits.
    """
    accepted, faults = {}, Some()
    for part, (each, fault) in lists.items():
        known = facts.lists.get(part, ListFacts())
        if official or known.known > each.tried / 2 or known.names_photos:
            accepted[part] = each
            if fault:
                faults.add(((part, -1), fault))
            faults.merge(known.faults)
    for pair, found in facts.in_two_lists.items():
        if accepted.keys() >= set(pair):
            faults.merge(found)
    if faults:
        raise SourceError(faults.first[0][1])
    return accepted


def _agreed(facts: SplitFacts, said: list[tuple[str, Callable[[Evidence], str | None]]]) -> dict[Evidence, str]:
    """Evidence -> split, from several sources."""
    first = said[0][0]
    agreed: dict[Evidence, str] = {}
    contradictions = []
    for evidence, alike in facts.alike.items():
        for number, (source, split_by) in enumerate(said):
            split = split_by(evidence)
            if split and agreed.setdefault(evidence, split) != split:
                order, name = alike.photos.first[0]
                text = f"{name} is in two splits: {agreed[evidence]} by {first}, {split} by {source}"
                contradictions.append((number, order, text))
    if contradictions:
        raise SourceError(f"{min(contradictions)[-1]}; correct one, or {BY_COLUMN}, or {BY_HASH}")
    return agreed


def splits_of_files(files: Collection[Path], captions: Path) -> dict[Path, str]:
    """File -> the split that its name says, or else its folder below `captions`; what all files share says nothing."""
    if not files:
        return {}
    folders = {file: frozenset(path_below(captions, file).split("/")[:-1]) for file in files}
    shared = set.intersection(*(splits_in(file.stem) for file in files))
    said_by_all = frozenset.intersection(*folders.values())
    said = {}
    for file in files:
        of_name = splits_in(file.stem) - shared
        split = of_name.pop() if len(of_name) == 1 else _split_of_folders(folders[file] - said_by_all)
        if split:
            said[file] = split
    return said


def _split_of_folders(folders: Iterable[str]) -> str:
    """The split that some folders say; empty if it is not one."""
    splits = {split for folder in folders if (split := named_split(folder))}
    return splits.pop() if len(splits) == 1 else ""


def _by_folder(facts: SplitFacts) -> OfficialSplits:
    """Each photo's split by the folders that hold it, if those of all photos say one and they are several splits."""
    found = {evidence: alike for evidence, alike in facts.alike.items() if evidence.folders is not None}
    folders = [evidence.folders for evidence in found if evidence.folders is not None]
    shared = frozenset.intersection(*folders) if folders else frozenset()
    said = {evidence: _split_of_folders((evidence.folders or frozenset()) - shared) for evidence in found}
    if not any(said.values()):
        return NO_SPLITS
    named, others = Distinct(), Some()
    for evidence, alike in found.items():
        if said[evidence]:
            named.update((folder, said[evidence]) for folder in alike.folders.first)
        else:
            others.merge(alike.ids)
    examples = _examples(named.first)
    if others:
        raise SourceError(
            f"--images: folders are named after splits ({examples}), but other photos are in none of them "
            f"({others.count:,}: {others.names()}); move them, or {BY_COLUMN}, or {BY_HASH}"
        )
    if len({*said.values()}) == 1:
        return NO_SPLITS
    return OfficialSplits(said, (), f"folders ({examples})")


def _check_neighbours(files: Collection[Path], captions: Path) -> None:
    """Check that captions of one split do not lie beside files of others whose captions are not read.

    Raises:
        SourceError: they do.
    """
    splits = set().union(*(splits_in(file.stem) for file in files))
    if len(splits) != 1 or not captions.is_dir():
        return
    others = [
        path.name
        for path in sorted(captions.iterdir())
        if path not in files and path.suffix.lower() in _CAPTION_ENDINGS and len(splits_in(path.stem) - splits) == 1
    ]
    if others:
        raise SourceError(
            f"{captions}: only {some_of(sorted(file.name for file in files))} holds captions, but {some_of(others)} is "
            f"named after another split; name the file with the captions as --captions, or add --shares TRAIN DEV TEST"
        )


def _examples(said: Iterable[tuple[str, str]]) -> str:
    return some_of([f"{name} is {split}" for name, split in said], most=6)
