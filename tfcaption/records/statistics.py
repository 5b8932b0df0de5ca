"""Statistics of shards, and `dataset.json` built from them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tfcaption.records.dataset_info import SPLITS, DatasetInfo, RecordSettings, ShardInfo, SplitInfo
from tfcaption.records.vocabulary import OOV, word_index


@dataclass
class Statistics:
    """Statistics of photos and their captions, added up in `dataset.json`; their size does not grow with the photos."""

    shards: list[ShardInfo] = field(default_factory=list)  # that hold the photos
    lengths: Counter[int] = field(default_factory=Counter)  # tokens of a caption -> number of captions
    longest: Counter[int] = field(default_factory=Counter)  # tokens of a photo's longest caption -> number of photos
    words: int = 0
    oov_words: int = 0
    truncated: int = 0
    captions_per_photo: int = 0

    def add(self, token_ids: Sequence[list[int]], cut: Sequence[bool]) -> None:
        """Count the captions of one photo.

        Args:
            token_ids: of each caption, from <start> to <end>.
            cut: whether each caption was longer.
        """
        self.captions_per_photo = max(self.captions_per_photo, len(token_ids))
        self.longest[max(map(len, token_ids))] += 1
        self.truncated += sum(cut)
        for ids in token_ids:
            self.lengths[len(ids)] += 1
            self.words += len(ids) - 2
            self.oov_words += ids.count(OOV)

    def merge(self, other: "Statistics") -> None:
        """Add those of other photos."""
        self.shards += other.shards
        self.lengths += other.lengths
        self.longest += other.longest
        self.words += other.words
        self.oov_words += other.oov_words
        self.truncated += other.truncated
        self.captions_per_photo = max(self.captions_per_photo, other.captions_per_photo)


@dataclass(frozen=True)
class VocabularyCounts:
    """The tokens of a vocabulary by their ids, and how often each occurs in the training split."""

    words: list[str]
    counts: list[int]  # of <oov>: all words outside the vocabulary
    pieces: Mapping[str, Sequence[int]] | None = None  # tokens of each word of the data set; None: words are tokens

    @property
    def index(self) -> Mapping[str, Sequence[int]]:
        """Word -> its tokens, for `encode_words`."""
        return word_index(self.words) if self.pieces is None else self.pieces

    @classmethod
    def of(cls, words: list[str], word_counts: Mapping[str, int]) -> "VocabularyCounts":
        """The counts of a vocabulary, from those of every word of the training split."""
        counts = [word_counts.get(word, 0) for word in words]
        counts[OOV] = 0
        counts[OOV] = sum(word_counts.values()) - sum(counts)
        return cls(words, counts)

    @classmethod
    def of_pieces(
        cls, words: list[str], word_counts: Mapping[str, int], pieces: Mapping[str, Sequence[int]]
    ) -> "VocabularyCounts":
        """The counts of a vocabulary of pieces.

        Args:
            words: the vocabulary.
            word_counts: of every word of the training split.
            pieces: tokens of every word of the data set.
        """
        counts = [0] * len(words)
        for word, count in word_counts.items():
            for token in pieces[word]:
                counts[token] += count
        return cls(words, counts, pieces)


@dataclass(frozen=True)
class Totals:
    """Photos and captions that a job read, written and rejected ones together."""

    photos: int
    captions: int


def build_dataset_info(
    splits: Mapping[str, Statistics],
    reasons: Mapping[str, Mapping[str, int]],
    settings: RecordSettings,
    vocabulary: VocabularyCounts,
    totals: Totals,
    duplicates: Iterable[Mapping[str, str]] = (),
) -> DatasetInfo:
    """The description of a data set.

    Args:
        splits: statistics of each split.
        reasons: kind -> reason -> number of rejections.
        settings: options of `build_records`.
        vocabulary: words and their counts.
        totals: photos and captions, written and rejected.
        duplicates: groups of photos with identical files in more than one split, as photo id -> split, in any order.
    """
    described = {split: _describe(splits[split]) for split in SPLITS if split in splits}
    return DatasetInfo(
        settings=settings,
        splits=described,
        vocabulary_size=len(vocabulary.words),
        max_length=max((max(split.caption_lengths, default=0) for split in described.values()), default=0),
        captions_per_photo=max((split.captions_per_photo for split in splits.values()), default=0),
        photos_in=totals.photos,
        captions_in=totals.captions,
        rejected_photos=_sorted(reasons, "photo"),
        rejected_captions=_sorted(reasons, "caption"),
        unused_photos=_sorted(reasons, "unused"),
        unused_files=_sorted(reasons, "file"),
        word_counts=vocabulary.counts,
        duplicates=sorted((dict(sorted(group.items())) for group in duplicates), key=list),
    )


def _sorted(reasons: Mapping[str, Mapping[str, int]], kind: str) -> dict[str, int]:
    return dict(sorted(reasons.get(kind, {}).items()))


def _describe(split: Statistics) -> SplitInfo:
    return SplitInfo(
        photos=sum(shard.records for shard in split.shards),
        captions=sum(split.lengths.values()),
        tokens=sum(length * count for length, count in split.lengths.items()),
        oov_rate=split.oov_words / max(split.words, 1),
        truncated_captions=split.truncated,
        caption_lengths=dict(sorted(split.lengths.items())),
        longest_caption_lengths=dict(sorted(split.longest.items())),
        shards=sorted(split.shards, key=lambda shard: shard.name),
    )
