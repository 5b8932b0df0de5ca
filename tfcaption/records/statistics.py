"""Statistics of shards, and `dataset.json` built from them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tfcaption.records.dataset_info import SPLITS, DatasetInfo, RecordSettings, Rejection, ShardInfo, SplitInfo
from tfcaption.records.vocabulary import OOV


@dataclass
class ShardStatistics:
    """Statistics of one shard, added up in `dataset.json`."""

    split: str
    info: ShardInfo
    lengths: Counter[int] = field(default_factory=Counter)  # tokens of a caption -> number of captions
    longest: Counter[int] = field(default_factory=Counter)  # tokens of a photo's longest caption -> number of photos
    words: int = 0
    oov_words: int = 0
    truncated: int = 0
    captions_per_photo: int = 0
    digests: dict[str, bytes] = field(default_factory=dict)  # photo id -> hash of its file

    def add(self, captions: Sequence[Sequence[str]], token_ids: Sequence[list[int]]) -> None:
        """Count the captions of one photo.

        Args:
            captions: the words of each caption.
            token_ids: the token ids of each caption, from <start> to <end>.
        """
        self.captions_per_photo = max(self.captions_per_photo, len(token_ids))
        self.longest[max(map(len, token_ids))] += 1
        for words, ids in zip(captions, token_ids, strict=True):
            self.lengths[len(ids)] += 1
            self.words += len(ids) - 2
            self.oov_words += ids.count(OOV)
            self.truncated += len(words) > len(ids) - 2


@dataclass(frozen=True)
class VocabularyCounts:
    """The words of a vocabulary by token id, and how often each occurs in the training split."""

    words: list[str]
    counts: list[int]  # of <oov>: all words outside the vocabulary

    @classmethod
    def of(cls, words: list[str], word_counts: Mapping[str, int]) -> "VocabularyCounts":
        """The counts of a vocabulary, from those of every word of the training split."""
        counts = [word_counts.get(word, 0) for word in words]
        counts[OOV] = sum(word_counts.values()) - sum(counts)
        return cls(words, counts)


@dataclass(frozen=True)
class Totals:
    """Photos and captions that a job read, written and rejected ones together."""

    photos: int
    captions: int


def build_dataset_info(
    shards: Sequence[ShardStatistics],
    rejections: Sequence[Rejection],
    settings: RecordSettings,
    vocabulary: VocabularyCounts,
    totals: Totals,
) -> DatasetInfo:
    """The description of a data set.

    Args:
        shards: statistics of all shards, in any order.
        rejections: photos and captions that were not written.
        settings: options of `build_records`.
        vocabulary: words and their counts.
        totals: photos and captions, written and rejected.
    """
    splits = {split: _describe(split, shards) for split in SPLITS}
    splits = {split: info for split, info in splits.items() if info.shards}
    reasons = {
        kind: dict(sorted(Counter(r.reason for r in rejections if r.kind == kind).items()))
        for kind in ("photo", "caption", "unused", "file")
    }
    return DatasetInfo(
        settings=settings,
        splits=splits,
        vocabulary_size=len(vocabulary.words),
        max_length=max((max(split.caption_lengths, default=0) for split in splits.values()), default=0),
        captions_per_photo=max((shard.captions_per_photo for shard in shards), default=0),
        photos_in=totals.photos,
        captions_in=totals.captions,
        rejected_photos=reasons["photo"],
        rejected_captions=reasons["caption"],
        unused_photos=reasons["unused"],
        unused_files=reasons["file"],
        word_counts=vocabulary.counts,
        duplicates=_duplicates(shards),
    )


def _duplicates(shards: Iterable[ShardStatistics]) -> list[dict[str, str]]:
    """Photos with identical files in more than one split, as photo id -> split, in the order of their ids."""
    splits_by_digest: dict[bytes, dict[str, str]] = defaultdict(dict)
    for shard in shards:
        for photo, digest in shard.digests.items():
            splits_by_digest[digest][photo] = shard.split
    duplicates = (found for found in splits_by_digest.values() if len(set(found.values())) > 1)
    return sorted((dict(sorted(found.items())) for found in duplicates), key=list)


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
