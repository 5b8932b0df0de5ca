"""What captions of a split are compared with: references, training captions, the constant caption."""

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tfcaption.metrics.bleu import ReferenceNgrams, corpus_bleu
from tfcaption.metrics.tokens import ngrams, score_tokens, tokenize
from tfcaption.records.dataset_info import load_dataset_info
from tfcaption.runtime.process import start_tensorflow
from tfcaption.runtime.progress import Progress


def constant_caption(references: Sequence[Sequence[str]]) -> str:
    """The training caption that scores best when given to every photo: what a model must beat.

    The twenty captions of at least median length whose n-grams (1 to 4) are on average the most common, scored by
    BLEU-4 on up to 200 photos.

    Args:
        references: the captions of each training photo, raw.
    """
    counts: Counter[tuple[str, ...]] = Counter()
    captions: dict[tuple[str, ...], str] = {}
    for photo in references:
        for caption in photo:
            tokens = tokenize(caption)
            captions.setdefault(tokens, caption)
            counts.update(ngrams(tokens))
    median = sorted(map(len, captions))[len(captions) // 2]

    def typicality(tokens: tuple[str, ...]) -> float:
        found = ngrams(tokens)
        return sum(math.log(counts[ngram]) for ngram in found) / max(len(found), 1)

    candidates = sorted((t for t in captions if len(t) >= median), key=lambda t: (-typicality(t), t))[:20]
    sample = [
        ReferenceNgrams.of([tokenize(caption) for caption in photo])
        for photo in references[:: max(1, len(references) // 200)]
    ]
    best = max(candidates, key=lambda tokens: corpus_bleu([tokens] * len(sample), sample)["bleu_4"])
    return captions[best]


@dataclasses.dataclass(frozen=True)
class References:
    """What captions of a split are held against."""

    references: dict[str, list[str]]  # photo id -> raw captions, in the order of the shards
    training: frozenset[tuple[str, ...]]  # score tokens of the training captions
    constant: str  # the constant caption

    def first(self, photos: int | None) -> "References":
        """The same of the split's first photos; of all, for None."""
        return dataclasses.replace(self, references=dict(itertools.islice(self.references.items(), photos)))


def load_references(records_path: str | Path, split: str) -> References:
    """Read a split's references and the training captions, and pick the constant caption: once for several runs.

    Raises:
        RecordError: there are no such records or split, or they are damaged.
    """
    info = load_dataset_info(records_path)
    info.split(split)
    start_tensorflow()
    from tfcaption.input_pipeline.split import open_split
    from tfcaption.records.reading import read_references

    opened = open_split(split, info, records_path, buckets=1, cache=False)
    train = open_split("train", info, records_path, buckets=1, cache=False)
    captions: list[list[str]] = []
    training: set[tuple[str, ...]] = set()
    with Progress(train.photos, unit="photos", label="reading training captions") as progress:
        for file in train.files:
            photos = read_references([file]).values()
            training.update(tuple(score_tokens(caption)) for photo in photos for caption in photo)
            captions.extend(photos)
            progress.update(len(captions))
    return References(read_references(opened.files), frozenset(training), constant_caption(captions))
