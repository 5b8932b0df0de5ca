"""Hypotheses of a search, their attention, and length normalisation."""

from typing import NamedTuple

import tensorflow as tf

from tfcaption.models.ensemble import CaptionModel
from tfcaption.records.vocabulary import START

NEG_INF = float("-inf")
_BLOCK = 64  # values


class Hypotheses(NamedTuple):
    """The captions of a batch of photos, best first."""

    tokens: tf.Tensor  # (photos, beam, max_tokens) int32, without <start>; <pad> after <end> and where none exists
    scores: tf.Tensor  # (photos, beam) float32, see `length_normalized`; -inf where no hypothesis exists


def attention_weights(captioner: CaptionModel, features: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor | None:
    """Attention over the photo's regions at each token of a caption.

    Args:
        captioner: the model.
        features: (photos, ...), as `Captioner.encode` gives them.
        tokens: (photos, time) int, one caption of each photo, as in `Hypotheses`.

    Returns:
        (photos, time, regions) float32, regions in row-major order; None if the decoder has no attention.
    """
    start = tf.fill((tf.shape(tokens)[0], 1), START)
    attention = captioner.predict(features, tf.concat([start, tokens], 1)[:, None]).attention
    return None if attention is None else attention[:, 0]


def length_normalized(log_probs: tf.Tensor, lengths: tf.Tensor, length_alpha: float) -> tf.Tensor:
    """Scores of captions of different lengths: summed log-probability / length ** alpha (Wu et al. 2016,
    arXiv:1609.08144, without its constants).

    Args:
        log_probs: (...) float32, summed over the tokens of each caption.
        lengths: (...) int32, number of tokens with <end>.
        length_alpha: 0 gives the sum, which prefers short captions; 1 gives the mean.
    """
    return log_probs / tf.cast(tf.maximum(lengths, 1), log_probs.dtype) ** length_alpha


def in_blocks(values: tf.Tensor, fill: float) -> tf.Tensor:
    """(n, size) -> (n, blocks, values of a block), the last block filled up.

    A CPU reduces blocks several times as fast as it orders all values or lists their partial sums.
    """
    blocks = -(-values.shape[1] // _BLOCK)
    padded = tf.pad(values, [[0, 0], [0, blocks * _BLOCK - values.shape[1]]], constant_values=fill)
    return tf.reshape(padded, (-1, blocks, _BLOCK))
