"""Captions and token sums of a split, by one captioner: what training selects by and evaluation reports."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfcaption import input_pipeline, records, search, text, tfrecord
from tfcaption.captioner import Captioner
from tfcaption.input_pipeline import Split
from tfcaption.tfrecord import RecordError


class SplitCaptions(NamedTuple):
    """What a captioner says of a split."""

    captions: dict[str, str]  # by photo id
    perplexity: float  # over all tokens of the split
    token_accuracy: float


def caption_split(
    captioner: Captioner,
    split: Split,
    words: list[str],
    *,
    batch_size_photos: int,
    progress: Callable[[int], Any] = lambda done: None,
) -> SplitCaptions:
    """Caption every photo of a split once, greedily, and judge its references; no weight changes.

    Args:
        captioner: the model.
        split: as `input_pipeline.open_split` gives it, a row a photo.
        words: the vocabulary.
        batch_size_photos: photos at a time.
        progress: is told how many photos are done.

    Raises:
        RecordError: a photo comes twice.
    """
    vocabulary = text.Vocabulary(words)

    @tf.function(autograph=False, reduce_retracing=True)
    def caption_and_judge(inputs: tf.Tensor, tokens: tf.Tensor) -> tuple[tf.Tensor, Any]:
        features = captioner.encode(inputs, split.stage)
        found = search.greedy_search(captioner, features, max_tokens=split.lengths[-1])
        return vocabulary.decode(found), captioner.token_sums(features, tokens)

    spoken: dict[str, str] = {}
    sums = np.zeros(3)
    for batch in input_pipeline.batches(split, batch_size_photos=batch_size_photos):
        photos = batch["photo_id"].numpy()
        if not any(photos):
            continue
        captions, batch_sums = caption_and_judge(batch["inputs"], batch["tokens"])
        sums += [float(value) for value in batch_sums]
        for photo, caption in zip(photos, captions.numpy(), strict=True):
            if photo:  # not a row that fills up the batch
                if photo.decode() in spoken:
                    raise RecordError(f"{photo.decode()}: twice in split {split.name}")
                spoken[photo.decode()] = caption.decode()
        progress(len(spoken))
    loss, correct, tokens = sums
    return SplitCaptions(spoken, float(np.exp(loss / tokens)), correct / tokens)


def read_references(split: Split) -> dict[str, list[str]]:
    """Photo id -> raw captions of a split, straight from its shards."""
    references: dict[str, list[str]] = {}
    for file in split.files:
        with Path(file).open("rb") as stream:
            for serialized in tfrecord.read_frames(stream, file):
                photo, captions = records.captions_of(serialized)
                references[photo] = captions
    return references
