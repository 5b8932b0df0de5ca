"""Which names may mean the same photo: those of one group, so that each group is matched by itself, on any worker."""

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path

from beam_jobs.sources.matching import file_name
from tfcaption.records.photo_names import spelling
from tfcaption.runtime.paths import entries_below

_ENDING = re.compile(r"\.[a-z][a-z0-9_]{0,9}$")  # that of a photo among them; not the number in `12.5mm`
# Captions of one bucket fit a worker's memory, and TensorFlow tokenizes them in one call: of text some 20,000, so that
# two workers share those of Flickr8k.
BYTES_OF_TEXT, BYTES_WITH_PHOTOS = 2_000_000, 64_000_000
MOST_BUCKETS = 65_536
MANY_FILES, BUCKETS_OF_FOLDERS = 50_000, 256


@lru_cache  # captions of one photo come together
def group_key(name: str) -> str:
    """Equal for all names and paths that `match_names` may match: the spelling of the file name without endings."""
    key = spelling(file_name(spelling(name)))
    while shorter := _ENDING.search(key):
        key = spelling(key[: shorter.start()])
    return key


@lru_cache
def bucket_of(key: str, buckets: int) -> int:
    """The bucket of a group, by its `group_key`; equal on every machine."""
    data = key.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") % buckets


def bucket_count(files: Sequence[Path], *, with_photos: bool) -> int:
    """How many buckets the captions in some files need; a folder of very many small files is not counted to its end.

    Args:
        files: that hold captions, or one folder of them.
        with_photos: they hold photos, too.
    """
    if files[0].is_dir():
        few = sum(1 for _ in islice(entries_below(files[0]), MANY_FILES)) < MANY_FILES
        return 1 if few else BUCKETS_OF_FOLDERS
    needed = sum(file.stat().st_size for file in files) / (BYTES_WITH_PHOTOS if with_photos else BYTES_OF_TEXT)
    return min(int(needed) + 1, MOST_BUCKETS)
