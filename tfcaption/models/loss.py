"""Token sums: cross entropy and accuracy over real target tokens; the penalty on attention."""

from typing import NamedTuple

import tensorflow as tf

from tfcaption.records.vocabulary import PAD


class TokenSums(NamedTuple):
    """Sums over the real target tokens of a batch, float32 scalars; means are formed over a whole split or batch."""

    loss: tf.Tensor  # cross entropy, natural logarithm
    correct: tf.Tensor  # the most probable token is the right one
    tokens: tf.Tensor  # how many: words and <end>, no <pad>, no <start>


def attention_penalty(attention: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """How far captions are from looking at all regions alike, summed: the doubly stochastic regulariser of Xu et al.
    2015 (arXiv:1502.03044, equation 14), a scalar.

    Args:
        attention: (rows, time, regions) float32.
        targets: (rows, time) int; padding does not count.
    """
    real = tf.cast(targets != PAD, tf.float32)[..., None]
    looked = tf.reduce_sum(attention * real, 1)
    return tf.reduce_sum((1 - looked) ** 2 * tf.reduce_max(real, 1))


def token_sums(
    logits: tf.Tensor, targets: tf.Tensor, label_smoothing: float = 0.0, weights: tf.Tensor | float = 1.0
) -> TokenSums:
    """Cross entropy and accuracy summed over the real targets.

    The mask comes from the targets: <end> counts, <pad> does not, however much of it there is.

    Args:
        logits: (..., vocabulary) float32.
        targets: (...) int, the inputs shifted by one.
        label_smoothing: share of the target that is spread evenly over the vocabulary (Szegedy et al. 2016,
            arXiv:1512.00567).
        weights: of each target in the loss, broadcast to (...).
    """
    real = tf.cast(targets != PAD, tf.float32)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    if label_smoothing:
        even = tf.reduce_logsumexp(logits, -1) - tf.reduce_mean(logits, -1)
        loss += label_smoothing * (even - loss)
    correct = tf.cast(tf.argmax(logits, -1, targets.dtype) == targets, tf.float32)
    return TokenSums(tf.reduce_sum(loss * weights * real), tf.reduce_sum(correct * real), tf.reduce_sum(real))
