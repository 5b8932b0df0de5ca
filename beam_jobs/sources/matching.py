"""Finds what names mean: the photos that captions name, and the captioned photos that a list names."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from tfcaption.records.folder_kinds import PHOTO_SUFFIXES
from tfcaption.records.photo_names import spelling

Key = Callable[[str], str | None]
_MOST_NAMED = 100  # of the paths that an ambiguous name may mean


@dataclass
class Matches:
    """Which path each name means; a name that means none is in neither dictionary."""

    path_of: dict[str, str] = field(default_factory=dict)  # no two names have one path
    ambiguous: dict[str, list[str]] = field(default_factory=dict)  # name -> paths, or one that other names mean, too

    @property
    def respelt(self) -> dict[str, str]:
        """The part of `path_of` whose file names are spelt in another way."""
        return {name: path for name, path in self.path_of.items() if file_name(name) != file_name(path)}


def match_names(names: Iterable[str], paths: Iterable[str]) -> Matches:
    """Find the path that each name means.

    The first of these rules that finds a path decides:

    1. the path is the name;
    2. it has as many of its last parts as possible in common with the name, at least the file name, in any `spelling`;
       of several such paths those that are spelt like the name, and of those the ones in all folders of the name
       (`train/0.jpg` is train/images/0.jpg, not val/images/0.jpg);
    3. the same where either the name or the path has no ending of a photo.

    A name is ambiguous if a rule finds several paths. A path that several names mean belongs to the one that has most
    in common with it; if that is not one, they are ambiguous.

    Args:
        names: with `/` between folders, as `normal_name` gives them.
        paths: likewise, of the files below a folder.
    """
    wanted, all_paths = set(names), set(paths)
    matches = Matches({name: name for name in wanted & all_paths})
    for key_of_name, key_of_path in _RULES:
        wanted -= matches.path_of.keys() | matches.ambiguous.keys()
        if not wanted:
            break
        _match(wanted, all_paths, key_of_name, key_of_path, matches)
    return matches


def file_name(path: str) -> str:
    """The last part of a path."""
    return path.rpartition("/")[2]


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Path -> its file name, or the path itself where several paths have that file name."""
    same: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        same[file_name(path)].append(path)
    return {path: name if len(found) == 1 else path for name, found in same.items() for path in found}


def _folders(path: str) -> set[str]:
    return {*path.split("/")[:-1]}


def suffixes(path: str) -> Iterator[str]:
    """A path, then without its first folder, without its first two folders, ... down to the file name."""
    while path:
        yield path
        path = path.partition("/")[2]


def _without_ending(name: str) -> str | None:
    """The spelling of a name with a photo's ending, without that ending; None for another name."""
    ending = PurePosixPath(name).suffix
    return spelling(name.removesuffix(ending)) if ending.lower() in PHOTO_SUFFIXES else None


def _with_no_ending(name: str) -> str | None:
    """The spelling of a name without a photo's ending; None for another name."""
    return None if PurePosixPath(name).suffix.lower() in PHOTO_SUFFIXES else spelling(name)


_RULES: tuple[tuple[Key, Key], ...] = (
    (spelling, spelling),
    (_with_no_ending, _without_ending),
    (_without_ending, _with_no_ending),
)


def _match(names: set[str], paths: set[str], key_of_name: Key, key_of_path: Key, matches: Matches) -> None:
    """Match the keys of names and of paths; a path that has its name already is not free."""
    keys = {name: key for name in names if (key := key_of_name(name))}
    wanted = {file_name(key) for key in keys.values()}
    with_key: dict[str, list[str]] = defaultdict(list)  # last parts of a path's key -> paths
    as_spelt: dict[str, list[str]] = defaultdict(list)  # last parts of a path -> paths
    for path in sorted(paths):
        if (key := key_of_path(path)) and file_name(key) in wanted:
            for ends, whole in ((with_key, key), (as_spelt, path)):
                for end in suffixes(whole):
                    ends[end].append(path)
    claims: dict[str, list[tuple[tuple[int, bool], str]]] = defaultdict(list)  # path -> names, and how near
    for name, key in keys.items():
        common = next((end for end in suffixes(key) if end in with_key), None)
        if common is None:
            continue
        parts = common.count("/") + 1
        same = as_spelt.get("/".join(name.split("/")[-parts:]), [])
        found = same or with_key[common]
        if 1 < len(found) <= _MOST_NAMED:
            found = [path for path in found if _folders(key) <= _folders(spelling(path))] or found
        if len(found) == 1:
            claims[found[0]].append(((parts, bool(same)), name))
        else:
            matches.ambiguous[name] = found[:_MOST_NAMED]
    taken = set(matches.path_of.values())
    for path in claims.keys() - taken:
        most = max(near for near, _ in claims[path])
        best = [name for near, name in claims[path] if near == most]
        if len(best) == 1:
            matches.path_of[best[0]] = path
        else:
            matches.ambiguous.update((name, [path]) for name in best)
