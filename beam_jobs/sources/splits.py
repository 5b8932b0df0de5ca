"""The split of a photo: by a name in the captions, by split files, or by a hash of the photo's name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from beam_jobs.errors import SourceError
from beam_jobs.sources.text_files import photo_names
from tfcaption.records.sharding import hash_share

# Names that data sets use. restval is the part of COCO's validation photos that Karpathy adds to the training split.
SPLIT_NAMES = {
    **{"train": "train", "training": "train", "restval": "train"},
    **{"dev": "dev", "val": "dev", "valid": "dev", "validation": "dev"},
    "test": "test",
}


def known_split(name: Any, where: str) -> str:
    """The split that a data set calls `name`.

    Args:
        name: as a file gives it.
        where: file and position of the name, for the message.

    Raises:
        SourceError: the name is not a known one.
    """
    if str(name).lower() not in SPLIT_NAMES:
        raise SourceError(f"{where}: split {name!r:.80}; known are {', '.join(SPLIT_NAMES)}")
    return SPLIT_NAMES[str(name).lower()]


def read_split_files(folder: Path, files: Mapping[str, str]) -> dict[str, str]:
    """Photo id -> split, from those split files that exist.

    Args:
        folder: their folder.
        files: split -> name of the file that lists its photos.

    Raises:
        SourceError: a line is not a photo's name, or a photo is in two splits.
    """
    split_of: dict[str, str] = {}
    where_of: dict[str, str] = {}
    for split, file_name in files.items():
        path = folder / file_name
        if not path.is_file():
            continue
        for where, name in photo_names(path):
            if split_of.setdefault(name, split) != split:
                raise SourceError(f"{where}: {name} is in two splits, see {where_of[name]}; remove one of them")
            where_of[name] = where
    return split_of


def split_by_hash(name: str, splits: Sequence[str], shares: Mapping[str, float], seed: int) -> str:
    """One of `splits`, each in proportion to its share."""
    total = sum(shares[split] for split in splits)
    if not total:
        return splits[0]
    position, bound = hash_share(name, seed=seed) * total, 0.0
    for split in splits:
        bound += shares[split]
        if position < bound:
            return split
    return next(split for split in reversed(splits) if shares[split])
