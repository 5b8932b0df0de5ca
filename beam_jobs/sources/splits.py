"""Names of splits, and the division of photos among splits by a hash of their names."""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from tfcaption.records.sharding import hash_share

# Fewer photos are divided exactly: the hash alone would give 1 of 40 photos to a split with a share of an eighth.
EXACT_BELOW = 2_000
# Names that data sets use. restval is the part of COCO's validation photos that Karpathy adds to the training split.
SPLIT_NAMES = {
    **{"train": "train", "training": "train", "restval": "train"},
    **{"dev": "dev", "development": "dev", "val": "dev", "valid": "dev", "validation": "dev"},
    **{"test": "test", "testing": "test"},
}
_OF_PHOTOS = ("set", "data", "images", "image", "imgs", "img", "photos", "photo", "captions")
_SPLIT_WORD = re.compile(f"({'|'.join(sorted(SPLIT_NAMES, key=len, reverse=True))})({'|'.join(_OF_PHOTOS)})?")
_OTHER_WORDS = {*_OF_PHOTOS, "pictures", "files", "split", "jpg", "coco", "mscoco", "flickr", "k"}


def splits_in(name: str) -> set[str]:
    """The splits that any words of a name say: {"dev"} for `captions_val2017`."""
    return {SPLIT_NAMES[match[1]] for word in _words(name) if (match := _SPLIT_WORD.fullmatch(word))}


@lru_cache  # all photos have names of a few folders, and captions those of a few splits
def named_split(name: str) -> str | None:
    """The split that a name stands for, if all its words say that: train for `Train images`, not for `training day`."""
    words = [word for word in _words(name) if word not in _OTHER_WORDS]
    splits = splits_in(name)
    return splits.pop() if len(splits) == 1 and all(map(_SPLIT_WORD.fullmatch, words)) else None


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


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
