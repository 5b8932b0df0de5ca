"""Statistics of shards, and `dataset.json` built from them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tfcaption.records.dataset_info import SPLITS, DatasetInfo, RecordSettings, Rejection, ShardInfo, SplitInfo
from tfcaption.records.vocabulary import OOV


@dataclass
class ShardStatistics:
    """What one shard adds to `dataset.json`."""

    split: str
    info: ShardInfo
    lengths: Counter[int] = field(default_factory=Counter)  # tokens of a caption -> captions
    longest: Counter[int] = field(default_factory=Counter)  # tokens of a photo's longest caption -> photos
    words: int = 0
    oov_words: int = 0
    truncated: int = 0
    captions_per_photo: int = 0
    digests: dict[str, bytes] = field(default_factory=dict)  # photo id -> hash of its file

    def add(self, words: Sequence[Sequence[str]], token_ids: Sequence[list[int]]) -> None:
        """Count one photo's captions."""
        self.captions_per_photo = max(self.captions_per_photo, len(token_ids))
        self.longest[max(map(len, token_ids))] += 1
        for spoken, ids in zip(words, token_ids, strict=True):
            self.lengths[len(ids)] += 1
            self.words += len(ids) - 2
            self.oov_words += ids.count(OOV)
            self.truncated += len(spoken) > len(ids) - 2


def build_dataset_info(
    shards: Sequence[ShardStatistics],
    rejections: Sequence[Rejection],
    *,
    settings: RecordSettings,
    words: Sequence[str],
    word_counts: list[int],
    photos_in: int,
    captions_in: int,
    duplicates: Sequence[dict[str, str]] = (),
) -> DatasetInfo:
    """The description of a data set.

    Args:
        shards: all of them, in any order.
        rejections: what was not written.
        settings: of `build_records`.
        words: the vocabulary.
        word_counts: as `occurrences` gives them.
        photos_in: written + rejected.
        captions_in: written + rejected, and those of rejected photos.
        duplicates: photos whose files are the same in several splits, as far as is known.
    """
    splits = {split: _describe(split, shards) for split in SPLITS}
    splits = {split: info for split, info in splits.items() if info.shards}
    reasons = {
        kind: dict(sorted(Counter(r.reason for r in rejections if r.kind == kind).items()))
        for kind in ("photo", "caption", "unused")
    }
    return DatasetInfo(
        settings=settings,
        splits=splits,
        vocabulary_size=len(words),
        max_length=max((max(split.caption_lengths, default=0) for split in splits.values()), default=0),
        captions_per_photo=max((shard.captions_per_photo for shard in shards), default=0),
        photos_in=photos_in,
        captions_in=captions_in,
        rejected_photos=reasons["photo"],
        rejected_captions=reasons["caption"],
        unused_photos=reasons["unused"],
        word_counts=word_counts,
        duplicates=list(duplicates),
    )


def occurrences(words: Sequence[str], counts: Mapping[str, int]) -> list[int]:
    """How often each word of a vocabulary occurs in the training split, by token id; for <oov> all other words.

    Args:
        words: the vocabulary.
        counts: of every word of the training split.
    """
    found = [counts.get(word, 0) for word in words]
    found[OOV] = sum(counts.values()) - sum(found)
    return found


def _describe(split: str, shards: Iterable[ShardStatistics]) -> SplitInfo:
    mine = sorted((shard for shard in shards if shard.split == split), key=lambda shard: shard.info.name)
    lengths = sum((shard.lengths for shard in mine), Counter())
    longest = sum((shard.longest for shard in mine), Counter())
    words = sum(shard.words for shard in mine)
    return SplitInfo(
        photos=sum(shard.info.records for shard in mine),
        captions=sum(lengths.values()),
        tokens=sum(length * count for length, count in lengths.items()),
        oov_rate=sum(shard.oov_words for shard in mine) / max(words, 1),
        truncated_captions=sum(shard.truncated for shard in mine),
        caption_lengths=dict(sorted(lengths.items())),
        longest_caption_lengths=dict(sorted(longest.items())),
        shards=[shard.info for shard in mine],
    )
