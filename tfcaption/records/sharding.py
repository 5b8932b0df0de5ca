"""Shard names, and the shard, order and split of a photo by seeded hashes of its id."""

import hashlib
import re

SHARD_PATTERN = re.compile(
    r"(?P<split>[a-z]+)(\.view(?P<view>[1-9]\d*))?-(?P<index>\d{5})-of-(?P<count>\d{5})\.(tfrecord|jsonl)"
)


def shard_name(split: str, index: int, count: int, *, suffix: str = "tfrecord") -> str:
    """`train-00000-of-00008.tfrecord`."""
    return f"{split}-{index:05d}-of-{count:05d}.{suffix}"


def view_name(shard: str, view: int) -> str:
    """`train.view1-00000-of-00008.tfrecord`, the first augmented view of the photos of a shard; of view 0 the shard.

    Patterns such as `train-*.tfrecord` find each photo once, as it is.
    """
    split, dash, rest = shard.partition("-")
    return f"{split}.view{view}{dash}{rest}" if view else shard


def is_shard_name(name: str) -> bool:
    """Whether `shard_name` or `view_name` gives such a name."""
    return SHARD_PATTERN.fullmatch(name) is not None


def sidecar_name(shard: str) -> str:
    """`train-00000-of-00008.json`, which says how a shard was made until the records are complete."""
    return f"{shard.rpartition('.')[0]}.json"


def is_sidecar_name(name: str) -> bool:
    """Whether `sidecar_name` gives such a name."""
    return name.endswith(".json") and is_shard_name(f"{name}l")


def automatic_shard_count(photos: int) -> int:
    """The smallest power of two with at most 512 photos per shard (about 10 MB at 224 pixels), at most 65,536.

    Such shards are small enough to spread evenly over processes, and large enough for long sequential reads.
    """
    count = 1
    while count * 512 < photos and count < 65_536:
        count *= 2
    return count


def _digest(seed: int, purpose: str, photo_id: str) -> int:
    text = f"{seed}/{purpose}/{photo_id}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def shard_index(photo_id: str, *, shards: int, seed: int) -> int:
    """The shard of a photo: a hash of its id, equal on every machine."""
    return _digest(seed, "shard", photo_id) % shards


def order_key(photo_id: str, *, seed: int) -> tuple[int, str]:
    """Sort key of a photo within its shard: a seeded hash, so that shards are stored shuffled."""
    return _digest(seed, "order", photo_id), photo_id


def hash_share(photo_id: str, *, seed: int) -> float:
    """A number in [0, 1) from the photo's id and the seed alone; decides its split where no split file does."""
    return _digest(seed, "split", photo_id) / 2**64
