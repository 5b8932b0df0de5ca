"""Captions and token sums of a split by one captioner: training selects by them, evaluation reports them."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfcaption.decoding.beam_search import beam_search
from tfcaption.decoding.hypotheses import attention_weights
from tfcaption.input_pipeline.batches import make_batches
from tfcaption.input_pipeline.parsing import Batch
from tfcaption.input_pipeline.read_errors import explain_read_errors
from tfcaption.input_pipeline.split import Split
from tfcaption.models.ensemble import CaptionModel
from tfcaption.preprocessing.tokenizer import Vocabulary
from tfcaption.records.captions import Hypothesis, WordAttention, word_attention
from tfcaption.records.tfrecord import RecordError


class SplitCaptions(NamedTuple):
    """What a captioner says of a split."""

    captions: dict[str, str]  # by photo id: the best one
    nbest: dict[str, list[Hypothesis]]  # by photo id: as many as the beam is wide, best first
    looked: dict[str, tuple[WordAttention, ...]]  # by photo id: for each word of the best one; empty without attention
    perplexity: float  # over all tokens of the split
    token_accuracy: float


def caption_split(
    captioner: CaptionModel,
    split: Split,
    words: list[str],
    *,
    batch_size_photos: int,
    beam: int = 1,
    attention: bool = False,
    progress: Callable[[int], Any] = lambda done: None,
) -> SplitCaptions:
    """Caption every photo of a split once and judge its references; no weight changes.

    Args:
        captioner: the model.
        split: as `input_pipeline.open_split` gives it, a row a photo.
        words: the vocabulary.
        batch_size_photos: photos at a time.
        beam: of the search; 1 is greedy.
        attention: also say where it looked, if its decoder has attention.
        progress: is told how many photos are done.

    Raises:
        RecordError: a photo comes twice, or a record is damaged.
    """
    vocabulary = Vocabulary(words)

    @tf.function(autograph=False, reduce_retracing=True)
    def caption_and_judge(inputs: tf.Tensor, tokens: tf.Tensor) -> tuple[Any, ...]:
        features = captioner.encode(inputs, split.stage)
        found = beam_search(captioner, features, max_tokens=split.lengths[-1], beam=beam)
        best = found.tokens[:, 0]
        weights = attention_weights(captioner, features, best) if attention else None
        looked = () if weights is None else (vocabulary.decode_each(best), weights)
        return vocabulary.decode(found.tokens), found.scores, looked, captioner.token_sums(features, tokens)

    nbest: dict[str, list[Hypothesis]] = {}
    looked: dict[str, tuple[WordAttention, ...]] = {}
    sums = np.zeros(3)
    for batch in _batches(split, batch_size_photos):
        photos = batch["photo_id"].numpy()
        if not any(photos):
            continue
        captions, scores, batch_looked, batch_sums = caption_and_judge(batch["inputs"], batch["tokens"])
        sums += [float(value) for value in batch_sums]
        for photo, row, row_scores in zip(photos, captions.numpy(), scores.numpy().tolist(), strict=True):
            if photo:  # not a row that fills up the batch
                if photo.decode() in nbest:
                    raise RecordError(f"{photo.decode()}: twice in split {split.name}")
                nbest[photo.decode()] = [
                    Hypothesis(caption.decode(), score)
                    for caption, score in zip(row, row_scores, strict=True)
                    if score > float("-inf")
                ]
        if batch_looked:
            rows = zip(photos, *(part.numpy() for part in batch_looked), strict=True)
            looked |= {photo.decode(): word_attention(words, weights) for photo, words, weights in rows if photo}
        progress(len(nbest))
    loss, correct, tokens = sums
    best = {photo: found[0].caption for photo, found in nbest.items()}
    return SplitCaptions(best, nbest, looked, float(np.exp(loss / tokens)), correct / tokens)


def _batches(split: Split, batch_size_photos: int) -> Iterator[Batch]:
    with explain_read_errors(split):
        yield from make_batches(split, batch_size_photos=batch_size_photos)
