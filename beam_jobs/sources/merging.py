"""Several data sets that become one: their names, and what lies between them: photos of both, photos of neither."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from beam_jobs.errors import SourceError
from beam_jobs.sources.held_out import HELD_OUT_SPLITS, photo_number
from beam_jobs.sources.joining import JoinedPhoto
from beam_jobs.sources.parts import OwnPaths
from beam_jobs.sources.reader import DataSet
from beam_jobs.sources.splits import named_split
from beam_jobs.sources.text_files import normal_name
from tfcaption.records.dataset_info import Rejection
from tfcaption.runtime.paths import is_local


class Sighting(NamedTuple):
    """A photo in one of several data sets."""

    photo: str  # its id in the records
    split: str  # empty: none, or the photo is also seen by its number
    data_set: str  # its name
    unused: Rejection | None = None  # where no caption names it
    certain: bool = True  # False: its number may be that of another photo, unless another data set is certain


def named(data_sets: Sequence[DataSet]) -> list[DataSet]:
    """The data sets with the names by which they are told apart; a lone one has none.

    The name is that of the file or folder of its captions, with as many folders before it as make it unique. The ending
    of a file counts only where names differ by nothing else.

    Raises:
        SourceError: captions are given twice, are splits of one data set, or have a name that cannot be part of an id.
    """
    if len(data_sets) == 1:
        return [*data_sets]
    _refuse_splits([each.captions for each in data_sets])
    names = _unique_names([each.captions for each in data_sets])
    for name, data_set in zip(names, data_sets, strict=True):
        if not name or normal_name(name) != name:
            raise SourceError(f"--captions {data_set.captions}: ids would begin with {name!r}; rename it")
    files = [file for each in data_sets for file in each.files if not file.is_dir()]
    return [
        replace(each, name=name, files_of_others=tuple(file for file in files if file not in each.files))
        for name, each in zip(names, data_sets, strict=True)
    ]


def _refuse_splits(captions: Sequence[Path]) -> None:
    """Files of one folder whose names say splits are one data set; as several, all would be divided by a hash."""
    splits = {path: split for path in captions if path.is_file() and (split := named_split(path.stem))}
    if len(set(splits.values())) > 1 and len({path.parent for path in splits}) == 1:
        folder = next(iter(splits)).parent
        raise SourceError(
            f"--captions {' '.join(map(str, splits))}: are splits of one data set; name their folder, --captions "
            f"{folder}, so that their names say the splits"
        )


def _unique_names(captions: Sequence[Path]) -> list[str]:
    """The shortest ends of paths of which none begins with another one."""
    paths = [path.resolve() if is_local(path) else path for path in captions]
    full = [path.parts[1:] for path in paths]
    short = [(*path.parts[1:-1], path.stem if path.is_file() else path.name) for path in paths]
    for parts in (short, full):
        for depth in range(1, max(map(len, parts)) + 1):
            names = ["/".join(each[-depth:]) for each in parts]
            ordered = sorted(f"{name}/" for name in names)
            if not any(after.startswith(before) for before, after in pairwise(ordered)):
                return names
    raise SourceError(f"--captions {' '.join(map(str, captions))}: names the same captions twice")


def sightings(photo: JoinedPhoto, split: str, data_set: DataSet, own: OwnPaths) -> Iterator[tuple[str, Sighting]]:
    """What `compare` needs to know of a photo with captions: (what is the same in any data set, Sighting)."""
    name, (number, certain) = data_set.own_id(photo.id), photo_number(photo.id)
    yield _place(str(photo.location), own), Sighting(name, "" if certain else split, data_set.name)
    if number:
        yield number, Sighting(name, split, data_set.name, certain=certain)


def sighting_of_unused(rejection: Rejection, data_set: DataSet, own: OwnPaths) -> tuple[str, Sighting]:
    """What `compare` needs to know of a photo that no caption of its data set names, from its rejection."""
    rejection = data_set.own(rejection)
    return _place(rejection.detail, own), Sighting(rejection.id, "", data_set.name, rejection)


def _place(location: str, own: OwnPaths) -> str:
    return own(Path(location)) if is_local(location) else location


def compare(found: Iterable[Sighting]) -> tuple[tuple[str, str] | None, Rejection | None]:
    """Compare the data sets that have one photo.

    Args:
        found: all sightings of the photo.

    Returns:
        (id, where) of a photo in the training split that another data set holds out, and the rejection of a photo that
        no data set captions; None if it is not one.
    """
    found = sorted(found, key=lambda each: (each.photo, each.split))
    # The first of each data set: many photos of one may have the same number.
    trained = {each.data_set: each for each in reversed(found) if each.split == "train"}
    held_out = {each.data_set: each for each in reversed(found) if each.split in HELD_OUT_SPLITS}
    pairs = sorted(
        (ours, theirs) for name, ours in trained.items() for other, theirs in held_out.items() if name != other
    )
    overlap = None
    if pairs and any(each.certain for each in found):
        ours, theirs = pairs[0]
        overlap = ours.photo, f"{theirs.split} as {theirs.photo}"
    unused = [each.unused for each in found if each.unused is not None]
    return overlap, unused[0] if len(unused) == len(found) else None
