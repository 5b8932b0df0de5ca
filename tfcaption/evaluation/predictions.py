"""Captions and token sums of a split by one captioner: training selects by them, evaluation reports them."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfcaption.decoding.captioning import CaptionBatch, caption_features
from tfcaption.decoding.options import CaptionOptions
from tfcaption.input_pipeline.batches import make_batches
from tfcaption.input_pipeline.options import BatchOptions
from tfcaption.input_pipeline.parsing import Batch
from tfcaption.input_pipeline.read_errors import explain_read_errors
from tfcaption.input_pipeline.split import Split
from tfcaption.models.ensemble import CaptionModel
from tfcaption.models.loss import TokenSums
from tfcaption.preprocessing.tokenizer import Tokenizer
from tfcaption.records.captions import Hypothesis, WordAttention, hypotheses_of, word_attention
from tfcaption.records.tfrecord import RecordError
from tfcaption.records.vocabulary import Vocabulary


class SplitCaptions(NamedTuple):
    """A captioner's captions of a split, and its metrics on the references."""

    captions: dict[str, str]  # photo id -> best caption
    nbest: dict[str, tuple[Hypothesis, ...]]  # photo id -> up to `options.available` hypotheses, best first
    attention: dict[str, tuple[WordAttention, ...]]  # photo id -> of each word of the best caption; may be empty
    perplexity: float  # over all tokens of the references
    token_accuracy: float


def caption_split(
    captioner: CaptionModel,
    split: Split,
    vocabulary: Vocabulary,
    *,
    batch_size_photos: int,
    options: CaptionOptions,
    attention: bool = False,
    progress: Callable[[int], Any] = lambda done: None,
) -> SplitCaptions:
    """Caption every photo of a split once and compute perplexity and accuracy on its references; changes no weights.

    Args:
        captioner: the model.
        split: opened with `by_photo` or without a cache, so that an element of a batch is a photo, not a caption.
        vocabulary: of the captioner.
        batch_size_photos: photos per batch.
        options: of the search.
        attention: whether to return the attention, if the decoder has it.
        progress: called after each batch with the number of photos done.

    Raises:
        RecordError: a photo occurs twice, or a record is damaged.
    """
    tokenizer = Tokenizer(vocabulary)

    @tf.function(autograph=False, reduce_retracing=True)
    def caption_and_score(inputs: tf.Tensor, tokens: tf.Tensor) -> tuple[CaptionBatch, TokenSums]:
        features = captioner.encode(inputs, split.stage)
        captions = caption_features(
            captioner, features, tokenizer, options, max_tokens=split.lengths[-1], attention=attention
        )
        return captions, captioner.token_sums(features, tokens)

    nbest: dict[str, tuple[Hypothesis, ...]] = {}
    word_attentions: dict[str, tuple[WordAttention, ...]] = {}
    totals = np.zeros(3)
    for ids, batch in photo_batches(split, batch_size_photos):
        result, sums = caption_and_score(batch["inputs"], batch["tokens"])
        totals += [float(value) for value in sums]
        for photo_id, captions, scores in zip(
            ids, result.captions.numpy(), result.scores.numpy().tolist(), strict=True
        ):
            if photo_id:
                nbest[photo_id] = hypotheses_of(captions, scores)
        if result.attention is not None:
            for photo_id, batch_words, weights in zip(ids, result.words.numpy(), result.attention.numpy(), strict=True):
                if photo_id:
                    word_attentions[photo_id] = word_attention(batch_words, weights)
        progress(len(nbest))
    loss, correct, tokens = totals
    best = {photo_id: hypotheses[0].caption for photo_id, hypotheses in nbest.items()}
    return SplitCaptions(best, nbest, word_attentions, float(np.exp(loss / tokens)), correct / tokens)


def photo_batches(split: Split, batch_size_photos: int) -> Iterator[tuple[list[str], Batch]]:
    """Batches of a split, with the ids of their photos; an empty id is of a row that fills up the batch.

    Args:
        split: as for `caption_split`.
        batch_size_photos: photos per batch.

    Raises:
        RecordError: a photo occurs twice, or a record is damaged.
    """
    batch_size_photos = min(batch_size_photos, max(split.photos, 1))  # rows beyond them would be empty
    known: set[str] = set()
    with explain_read_errors(split):
        for batch in make_batches(split, BatchOptions(batch_size_photos)):
            ids = [photo_id.decode() for photo_id in batch["photo_id"].numpy()]
            for photo_id in filter(None, ids):
                if photo_id in known:
                    raise RecordError(
                        f"{photo_id}: appears twice in split {split.name}; verify the records with tfcaption.inspect"
                    )
                known.add(photo_id)
            if any(ids):
                yield ids, batch
