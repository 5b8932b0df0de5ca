"""How a split is read: whether it is held in memory, and what its batches are."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class CachePolicy:
    """Whether a split is held in memory, still encoded."""

    cache: bool | Literal["auto"] = "auto"  # auto: where this host's share is within the limit
    limit_mb: int = 2048  # in units of 1,000,000 bytes

    def holds(self, size: int) -> bool:
        """Whether a share of so many bytes is held."""
        return size <= self.limit_mb * 1_000_000 if self.cache == "auto" else self.cache


NO_CACHE = CachePolicy(False)


@dataclass(frozen=True)
class BatchOptions:
    """Size, order and number of the batches of one host."""

    batch_size_photos: int  # photos in every batch, or as many captions as they have where a row is a caption
    captions: Literal["all", "one"] = "all"  # of each photo in an epoch; one: sampled anew each epoch
    shuffle_seed: int | None = None  # of the order of photos, another one each epoch; None: the order of the shards
    shuffle_buffer_photos: int = 2048  # encoded photos to shuffle among when streaming; in memory all are shuffled
    deterministic: bool = True  # equal seeds give equal batches; otherwise, when streaming, what is read first
    epochs: int = 1
    augment_seed: int | None = None  # of a random crop and mirroring of each photo, anew each epoch; None: none
