"""Finds the features that others computed of the photos of some records: by files' names, or by a column of tables."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from beam_jobs.errors import SourceError
from beam_jobs.sources.feature_tables import TABLE_SUFFIX
from beam_jobs.sources.feature_values import ARRAY_SUFFIXES
from beam_jobs.sources.matching import file_name, match_names
from beam_jobs.sources.text_files import normal_name
from tfcaption.runtime.paths import entries_below, is_hidden


@dataclass
class FeatureMatches:
    """Which name the features of each photo have."""

    name_of: dict[str, str] = field(default_factory=dict)  # photo id -> name
    ambiguous: dict[str, list[str]] = field(default_factory=dict)  # photo id -> names, or one that other photos have
    missing: list[str] = field(default_factory=list)  # photo ids
    unused: list[str] = field(default_factory=list)  # names


def find_files(source: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """The files of features in a folder and below it, or a single file.

    Returns:
        The .npy and .npz files by their names below the folder, without these endings; and the Parquet files.

    Raises:
        SourceError: there are none, or files of both kinds.
    """
    if not source.exists():
        raise SourceError(f"--input {source}: no such file or folder")
    arrays: dict[str, list[Path]] = defaultdict(list)
    tables = []
    folder = source if source.is_dir() else source.parent
    paths = sorted(path for path, fault in entries_below(source) if not fault) if source.is_dir() else [source]
    for path in paths:
        suffix = path.suffix.lower()
        if is_hidden(path.relative_to(folder)):
            continue
        if suffix == TABLE_SUFFIX:
            tables.append(path)
        elif suffix in ARRAY_SUFFIXES and path != source:
            arrays[path.relative_to(folder).as_posix()[: -len(suffix)]].append(path)
    if bool(arrays) == bool(tables):
        found = (
            "both .npy or .npz and .parquet files; name the folder of one kind"
            if tables
            else ("no features; name a folder of .npy or .npz files, one for each photo, or .parquet files")
        )
        raise SourceError(f"--input {source}: {found}")
    return dict(arrays), tables


def match_photos(photos: Mapping[str, Sequence[str]], names: Iterable[str]) -> FeatureMatches:
    """Find the name that each photo's features have.

    It is the photo's name, as `match_names` compares names, with or without the ending of a photo; or one of its
    source ids, such as the number of a photo of COCO.

    Args:
        photos: photo id -> source ids.
        names: of files or rows.
    """
    normal = {key: name for name in names if (key := normal_name(name))}
    matches = match_names(photos, normal)
    result = FeatureMatches({photo: normal[name] for photo, name in matches.path_of.items()}, dict(matches.ambiguous))
    free = normal.keys() - set(matches.path_of.values())
    numbered: dict[str, list[str]] = defaultdict(list)
    for name in sorted(free):
        numbered[file_name(name)].append(name)
    claims: dict[str, list[str]] = defaultdict(list)
    for photo in sorted(photos.keys() - result.name_of.keys() - result.ambiguous.keys()):
        found = sorted({name for source_id in photos[photo] for name in numbered.get(source_id, ())})
        if not found:
            result.missing.append(photo)
        elif len(found) > 1:
            result.ambiguous[photo] = found
        else:
            claims[found[0]].append(photo)
    for name, claiming in claims.items():
        if len(claiming) == 1:
            result.name_of[claiming[0]] = normal[name]
        else:
            result.ambiguous.update({photo: [name] for photo in claiming})
    result.unused = sorted({*normal.values()} - set(result.name_of.values()))
    return result
