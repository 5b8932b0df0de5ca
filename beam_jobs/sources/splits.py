"""The split of a photo: by a name in the captions, by split files, or by a hash of the photo's name."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from beam_jobs.errors import SourceError
from beam_jobs.sources.text_files import photo_names
from tfcaption.records.sharding import hash_share

# Fewer photos are divided exactly: the hash alone would give 1 of 40 photos to a split with a share of an eighth.
EXACT_BELOW = 2_000
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
    if not is_split_name(name):
        raise SourceError(f"{where}: split {name!r:.80}; known are {', '.join(SPLIT_NAMES)}")
    return SPLIT_NAMES[str(name).lower()]


def is_split_name(name: Any) -> bool:
    """Whether data sets call a split so."""
    return str(name).lower() in SPLIT_NAMES


def splits_of_files(files: Sequence[Path]) -> dict[Path, str]:
    """File -> the split that its name says (`train.csv`, `captions_val.csv`), if each of several files says one."""
    splits: dict[Path, str] = {}
    for path in files:
        said = {SPLIT_NAMES[word] for word in re.split(r"[^a-z]+", path.stem.lower()) if word in SPLIT_NAMES}
        if len(said) == 1:
            splits[path] = said.pop()
    return splits if len(files) > 1 and len(splits) == len(files) else {}


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


def divide(names: Collection[str], splits: Sequence[str], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """The split of each of some photos, by a hash of its name; their order does not matter.

    From `EXACT_BELOW` photos on each photo's split depends on its own name alone. Fewer photos are divided exactly by
    the rank of their hashes, so the split of a photo also depends on the others, and every split with a share gets a
    photo if there are enough.

    Args:
        names: of the photos.
        splits: those that get photos; may be empty only where there are no photos.
        shares: share of each split; where they are all 0, the first of `splits` gets all photos.
        seed: of the hash.
    """
    if len(names) >= EXACT_BELOW:
        return {name: split_by_hash(name, splits, shares, seed) for name in names}
    ranked = iter(sorted(names, key=lambda name: (hash_share(name, seed=seed), name)))
    sizes = _exact_sizes(len(names), [shares[split] for split in splits])
    return {next(ranked): split for split, size in zip(splits, sizes, strict=True) for _ in range(size)}


def _exact_sizes(total: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to `shares` whose sum is `total`; at least 1 for each share if that is possible."""
    if not any(shares):
        return [total, *(0 for _ in shares[1:])] if shares else []
    exact = [total * share / sum(shares) for share in shares]
    least = int(total >= sum(share > 0 for share in shares))
    sizes = [max(int(size), least) if size else 0 for size in exact]
    while missing := total - sum(sizes):
        step = 1 if missing > 0 else -1
        # The split that is furthest from its share; none loses its only photo.
        open_to_change = [i for i, size in enumerate(sizes) if shares[i] and (step > 0 or size > least)]
        sizes[max(open_to_change, key=lambda i: step * (exact[i] - sizes[i]))] += step
    return sizes


def split_by_hash(name: str, splits: Sequence[str], shares: Mapping[str, float], seed: int) -> str:
    """One of `splits`, each in proportion to its share, from the name alone."""
    total = sum(shares[split] for split in splits)
    if not total:
        return splits[0]
    position, bound = hash_share(name, seed=seed) * total, 0.0
    for split in splits:
        bound += shares[split]
        if position < bound:
            return split
    return next(split for split in reversed(splits) if shares[split])
