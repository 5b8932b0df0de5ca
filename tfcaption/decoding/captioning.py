"""Captions of a batch of photos as strings, with scores and attention: the graph function of evaluation, export and
captioning."""

from typing import NamedTuple

import tensorflow as tf

from tfcaption.decoding.beam_search import SearchOptions, beam_search
from tfcaption.decoding.hypotheses import attention_weights
from tfcaption.models.ensemble import CaptionModel
from tfcaption.preprocessing.tokenizer import Vocabulary


class CaptionBatch(NamedTuple):
    """The captions of a batch of photos, best first, and the attention of the best one."""

    captions: tf.Tensor  # (photos, beam) string
    scores: tf.Tensor  # (photos, beam) float32, length-normalised; -inf where no hypothesis exists
    words: tf.Tensor | None = None  # (photos, time) string, of the best caption; empty after its end
    attention: tf.Tensor | None = None  # (photos, time, regions) float32, of each word; regions in row-major order


def caption_features(
    captioner: CaptionModel,
    features: tf.Tensor,
    vocabulary: Vocabulary,
    options: SearchOptions,
    *,
    attention: bool = True,
) -> CaptionBatch:
    """Search for captions and decode them; for use in a `tf.function`.

    Args:
        captioner: the model.
        features: (photos, ...), as `Captioner.encode` gives them.
        vocabulary: of the model.
        options: of the search.
        attention: whether to compute words and attention. Without it, or if the decoder has no attention, both are
            None.
    """
    hypotheses = beam_search(captioner, features, options)
    captions = vocabulary.decode(hypotheses.tokens)
    best = hypotheses.tokens[:, 0]
    weights = attention_weights(captioner, features, best) if attention else None
    if weights is None:
        return CaptionBatch(captions, hypotheses.scores)
    return CaptionBatch(captions, hypotheses.scores, vocabulary.decode_each(best), weights)
