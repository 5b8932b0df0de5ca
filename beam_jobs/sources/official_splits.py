"""The splits that a data set itself names: in its captions, in lists of photos, by names of files, by folders."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from beam_jobs.errors import SourceError
from beam_jobs.execution.rejections import some_of
from beam_jobs.sources.base import path_below
from beam_jobs.sources.matching import match_names
from beam_jobs.sources.splits import named_split, splits_in
from beam_jobs.sources.text_files import file_lines, normal_name, photo_names
from tfcaption.preprocessing.photos import is_photo_name
from tfcaption.records.dataset_info import SPLITS

BY_HASH = "--shares TRAIN DEV TEST divides all photos by a hash"
BY_COLUMN = "--columns PHOTO CAPTION SPLIT names the column of a table that decides"
_LIST_ENDINGS = (".txt", ".lst", ".csv")
_CAPTION_ENDINGS = (*_LIST_ENDINGS, ".tsv", ".json", ".jsonl", ".tar")
_LINES_TO_TRY = 200  # of a file that may be a list


@dataclass
class Evidence:
    """What a data set says about the split of one photo."""

    split: str | None = None  # by the captions
    files: set[Path] = field(default_factory=set)  # that hold the captions, where their names may say a split
    folder: str | None = None  # of the photo below --images and in its name; None: the photo was not found


@dataclass
class SplitLists:
    """Files that list the photos of a split."""

    files: dict[Path, str] = field(default_factory=dict)  # -> split
    split_of: dict[str, str] = field(default_factory=dict)  # photo id -> split
    without_captions: dict[str, Path] = field(default_factory=dict)  # listed name of no photo with captions -> file


@dataclass
class OfficialSplits:
    """The splits that a data set names."""

    split_of: dict[str, str]  # photo id -> split
    unlisted: list[str]  # splits among which a hash divides the other photos; empty: those are unused
    said_by: str  # for people; empty: nothing names a split


def official_splits(
    photos: Mapping[str, Evidence], lists: SplitLists, captions: Path, *, column: str = "", column_decides: bool = False
) -> OfficialSplits:
    """The split of each photo: by the captions, lists and names of files, or else by folders.

    Args:
        photos: id -> evidence, of all photos with captions.
        lists: see `read_split_lists`.
        captions: file or folder of the captions, as the user gives it.
        column: what says the split in the captions, for people.
        column_decides: the user named that column, so the names of files do not count.

    Raises:
        SourceError: two of these contradict each other, or names speak of splits and leave those of some photos open.
    """
    files = sorted({file for photo in photos.values() for file in photo.files})
    of_file = {} if column_decides else _splits_of_files(files, captions)
    said = [(f"`{column}` in the captions", {name: photo.split for name, photo in photos.items() if photo.split})]
    said.append((f"the lists {some_of([path.name for path in lists.files])}", lists.split_of))
    examples = _examples((path_below(captions, file), split) for file, split in of_file.items())
    if len(of_file) == len(files):
        said.append((f"names of files ({examples})", _by_file(photos, of_file)))
    said = [(source, split_of) for source, split_of in said if split_of]
    open_photos = photos.keys() - {name for _, split_of in said for name in split_of}
    if len(of_file) < len(files) and any(photos[name].files & of_file.keys() for name in open_photos):
        others = some_of([path_below(captions, file) for file in files if file not in of_file])
        raise SourceError(
            f"{captions}: some files are named after splits ({examples}), but not {others}; rename or remove it, or "
            f"{BY_COLUMN}, or {BY_HASH}"
        )
    if said:
        unlisted = _without_list(lists) if [split_of for _, split_of in said] == [lists.split_of] else []
        return OfficialSplits(_agreed(said), unlisted, " and ".join(source for source, _ in said))
    _check_neighbours(files, captions)
    return _by_folder(photos)


def read_split_lists(
    folder: Path, official: Mapping[str, str], photos: Collection[str], captions: Collection[Path]
) -> SplitLists:
    """Read the files in a folder that list the photos of a split.

    Args:
        folder: of the captions.
        official: split -> name of the file that lists its photos, by the layout. If none of them exists, any text file
            whose name says a split (`train.txt`, `Flickr_8k.testImages.txt`) and whose lines name photos with captions
            is a list.
        photos: ids of the photos with captions.
        captions: files that are no lists.

    Raises:
        SourceError: a line is not a photo's name, or a photo is in two splits.
    """
    lists = SplitLists({folder / name: split for split, name in official.items() if (folder / name).is_file()})
    if not lists.files:
        lists.files = _possible_lists(folder, photos, captions)
    where_of: dict[str, str] = {}
    for path, split in lists.files.items():
        where_in_list = {name: where for where, name in photo_names(path)}
        matches = match_names(where_in_list, photos)
        for name, where in where_in_list.items():
            if name in matches.ambiguous:
                raise SourceError(f"{where}: {name} may be several photos; write their paths below the folder")
            photo = matches.path_of.get(name, name)
            if lists.split_of.setdefault(photo, split) != split:
                raise SourceError(f"{where}: {name} is in two splits, see {where_of[photo]}; remove one of them")
            where_of[photo] = where
            if name not in matches.path_of:
                lists.without_captions[name] = path
    for name in lists.without_captions:
        del lists.split_of[name]
    return lists


def _possible_lists(folder: Path, photos: Collection[str], captions: Collection[Path]) -> dict[Path, str]:
    found = {}
    for path in sorted(folder.iterdir()):
        splits = splits_in(path.stem)
        if len(splits) == 1 and path.suffix.lower() in _LIST_ENDINGS and path not in captions and path.is_file():
            names = set()
            for number, (_, line) in enumerate(file_lines(path)):
                if number == _LINES_TO_TRY:
                    break
                names.add(normal_name(line.decode(errors="replace").strip()))
            known = match_names(names, photos).path_of
            if len(known) > len(names) / 2 or any(map(is_photo_name, known)):
                found[path] = splits.pop()
    return found


def _without_list(lists: SplitLists) -> list[str]:
    return [split for split in SPLITS if split not in lists.files.values()]


def _agreed(said: list[tuple[str, dict[str, str]]]) -> dict[str, str]:
    """Photo id -> split, from several sources."""
    (first, all_splits), *others = said
    all_splits = dict(all_splits)
    for source, split_of in others:
        for name, split in split_of.items():
            if all_splits.setdefault(name, split) != split:
                raise SourceError(
                    f"{name} is in two splits: {all_splits[name]} by {first}, {split} by {source}; correct one, "
                    f"or {BY_COLUMN}, or {BY_HASH}"
                )
    return all_splits


def _splits_of_files(files: Collection[Path], captions: Path) -> dict[Path, str]:
    """File -> the split that its name says, or else its folder below `captions`; what all files share says nothing."""
    if not files:
        return {}
    folders = {file: frozenset(path_below(captions, file).split("/")[:-1]) for file in files}
    shared = set.intersection(*(splits_in(file.stem) for file in files))
    of_folder = _splits_of_folders(folders.values())
    said = {}
    for file in files:
        of_name = splits_in(file.stem) - shared
        split = of_name.pop() if len(of_name) == 1 else of_folder[folders[file]]
        if split:
            said[file] = split
    return said


def _splits_of_folders(paths: Collection[frozenset[str]]) -> dict[frozenset[str], str]:
    """Folders of a path -> the split that they say, or ""; folders that all paths share say nothing."""
    shared = frozenset.intersection(*paths) if paths else frozenset()
    found = {}
    for folders in set(paths):
        splits = {split for folder in folders - shared if (split := named_split(folder))}
        found[folders] = splits.pop() if len(splits) == 1 else ""
    return found


def _by_file(photos: Mapping[str, Evidence], of_file: Mapping[Path, str]) -> dict[str, str]:
    split_of: dict[str, str] = {}
    for name, photo in photos.items():
        splits = {of_file[file]: file.name for file in sorted(photo.files)}
        if len(splits) > 1:
            raise SourceError(f"{name} is in two splits, see {' and '.join(splits.values())}; remove one of them")
        if splits:
            (split_of[name],) = splits
    return split_of


def _by_folder(photos: Mapping[str, Evidence]) -> OfficialSplits:
    """Each photo's split by the folders that hold it, if those of all photos say one and they are several splits."""
    folder_of = {name: photo.folder for name, photo in photos.items() if photo.folder is not None}
    folders = {folder: frozenset(folder.split("/")) for folder in folder_of.values()}
    said = _splits_of_folders([*folders.values()])
    named = {folder: said[parts] for folder, parts in sorted(folders.items()) if said[parts]}
    if not named:
        return OfficialSplits({}, [*SPLITS], "")
    examples = _examples(named.items())
    if others := [name for name, folder in folder_of.items() if folder not in named]:
        raise SourceError(
            f"--images: folders are named after splits ({examples}), but other photos are in none of them "
            f"({len(others):,}: {some_of(sorted(others))}); move them, or {BY_COLUMN}, or {BY_HASH}"
        )
    if len({*named.values()}) == 1:
        return OfficialSplits({}, [*SPLITS], "")
    return OfficialSplits({name: named[folder] for name, folder in folder_of.items()}, [], f"folders ({examples})")


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
