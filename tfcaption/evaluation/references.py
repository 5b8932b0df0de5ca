"""Reads the references of a split, the training captions, and the constant caption: what captions are compared with.

Imports no TensorFlow.
"""

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tfcaption.metrics.bleu import ReferenceNgrams, corpus_bleu
from tfcaption.metrics.score_tokenizers import TREEBANK, ScoreTokenizer, Tokenize, tokenizer_for
from tfcaption.metrics.tokens import ngrams
from tfcaption.records.dataset_info import DATASET_FILE, DatasetInfo, load_dataset_info
from tfcaption.records.examples import ids_of
from tfcaption.records.reading import check_shards, read_records, read_references
from tfcaption.runtime.progress import Progress

_CANDIDATES = 20
_SAMPLED_PHOTOS = 200


@dataclasses.dataclass(frozen=True)
class References:
    """The references of a split, and the training captions."""

    by_photo: dict[str, list[str]]  # photo id -> raw captions, in the order of the shards
    training_captions: frozenset[tuple[str, ...]]  # as score tokens
    constant_caption: str
    tokenizer: ScoreTokenizer = TREEBANK  # of all scores against them

    def first(self, photos: int | None) -> "References":
        """References of the split's first photos; of all photos for None."""
        return dataclasses.replace(self, by_photo=dict(itertools.islice(self.by_photo.items(), photos)))


def load_references(records: Path, split: str, tokenizer: str | None = None) -> References:
    """Read the references of a split and the training captions, and choose the constant caption.

    Evaluations of several runs on the same records share one result.

    Args:
        records: the records folder.
        split: train, dev or test.
        tokenizer: name of the score tokenizer; None: the one for the language of the records.

    Raises:
        RecordError: the records or the split do not exist, or are damaged.
        UsageError: there is no such tokenizer.
    """
    info = load_dataset_info(records)
    chosen = tokenizer_for(info.settings.tokenizer, tokenizer)
    split_files, training_files = _shard_files(records, info, split), _shard_files(records, info, "train")
    photos: list[list[str]] = []
    training: set[tuple[str, ...]] = set()
    with Progress(info.split("train").photos, unit="photos", label="reading training captions") as progress:
        for file in training_files:
            of_shard = read_references([file]).values()
            training.update(chosen.tokenize(caption) for captions in of_shard for caption in captions)
            photos.extend(of_shard)
            progress.update(len(photos))
    constant = choose_constant_caption(photos, chosen.tokenize)
    return References(read_references(split_files), frozenset(training), constant, chosen)


def load_training_references(records: Path, tokenize: Tokenize) -> dict[str, list[tuple[str, ...]]]:
    """Training photo id -> the score tokens of its captions.

    Raises:
        RecordError: the records do not exist, or are damaged.
    """
    files = _shard_files(records, load_dataset_info(records), "train")
    return {photo: list(map(tokenize, captions)) for photo, captions in read_references(files).items()}


def load_source_ids(records: Path) -> dict[str, dict[str, list[str]]]:
    """Split -> photo id -> source ids, of all photos of the records; see `records.examples.ids_of`.

    Raises:
        RecordError: the records do not exist, or are damaged.
    """
    info = load_dataset_info(records)
    splits = [split for split, found in info.splits.items() if found.photos]
    return {split: dict(map(ids_of, read_records(_shard_files(records, info, split)))) for split in splits}


def _shard_files(records: Path, info: DatasetInfo, split: str) -> list[str]:
    shards = info.split(split, records).shards
    check_shards(records, shards, description=DATASET_FILE, job="build_records")
    return [str(records / shard.name) for shard in shards if shard.records]


def choose_constant_caption(photos: Sequence[Sequence[str]], tokenize: Tokenize) -> str:
    """The training caption that scores best when every photo gets it: the baseline of a captioner.

    Candidates are the 20 captions of at least median length whose n-grams (1 to 4) are the most common on average. The
    best of them has the highest BLEU-4 on up to 200 photos.

    Args:
        photos: the raw captions of each training photo.
        tokenize: divides captions into score tokens.
    """
    counts: Counter[tuple[str, ...]] = Counter()
    captions: dict[tuple[str, ...], str] = {}
    for photo in photos:
        for caption in photo:
            tokens = tokenize(caption)
            captions.setdefault(tokens, caption)
            counts.update(ngrams(tokens))
    median = sorted(map(len, captions))[len(captions) // 2]

    def mean_log_count(tokens: tuple[str, ...]) -> float:
        found = ngrams(tokens)
        return sum(math.log(counts[ngram]) for ngram in found) / max(len(found), 1)

    long_enough = (tokens for tokens in captions if len(tokens) >= median)
    candidates = sorted(long_enough, key=lambda tokens: (-mean_log_count(tokens), tokens))[:_CANDIDATES]
    sample = [
        ReferenceNgrams.of([tokenize(caption) for caption in photo])
        for photo in photos[:: max(1, len(photos) // _SAMPLED_PHOTOS)]
    ]
    best = max(candidates, key=lambda tokens: corpus_bleu([tokens] * len(sample), sample)["bleu_4"])
    return captions[best]
