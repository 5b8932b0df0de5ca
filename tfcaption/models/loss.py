"""Token sums: cross entropy and accuracy over the real target tokens; the attention penalty."""

from typing import NamedTuple

import tensorflow as tf

from tfcaption.records.vocabulary import PAD


class TokenSums(NamedTuple):
    """Sums over the real target tokens of a batch, float32 scalars; divide by `tokens` after adding up batches."""

    loss: tf.Tensor  # cross entropy, natural logarithm
    correct: tf.Tensor  # number of targets that are the most probable token
    tokens: tf.Tensor  # number of targets: words and <end>, not <pad>, not <start>


def attention_penalty(attention: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """The doubly stochastic regulariser of Xu et al. 2015 (arXiv:1502.03044, equation 14), summed over captions: it is
    zero where the attention to each region adds up to 1 over a caption.

    Args:
        attention: (captions, time, regions) float32. With a sentinel it sums to less than 1 over the regions, so that
            the penalty also keeps words from the sentinel.
        targets: (captions, time) int; padding is ignored.

    Returns:
        A float32 scalar.
    """
    real = tf.cast(targets != PAD, tf.float32)[..., None]
    per_region = tf.reduce_sum(attention * real, 1)  # (captions, regions)
    return tf.reduce_sum((1 - per_region) ** 2 * tf.reduce_max(real, 1))


def token_sums(
    logits: tf.Tensor, targets: tf.Tensor, label_smoothing: float = 0.0, weights: tf.Tensor | float = 1.0
) -> TokenSums:
    """Cross entropy and accuracy, summed over the real targets.

    The mask comes from the targets: <end> counts, <pad> does not, so the amount of padding changes nothing.

    Args:
        logits: (..., vocabulary) float32.
        targets: (...) int, the inputs shifted by one.
        label_smoothing: share of the target distribution that is uniform over the vocabulary (Szegedy et al. 2016,
            arXiv:1512.00567).
        weights: of each target in the loss, broadcast to (...).
    """
    real = tf.cast(targets != PAD, tf.float32)
    loss = _cross_entropy(logits, targets)
    if label_smoothing:
        uniform_loss = tf.reduce_logsumexp(logits, -1) - tf.reduce_mean(logits, -1)
        loss += label_smoothing * (uniform_loss - loss)
    correct = tf.cast(tf.argmax(logits, -1, targets.dtype) == targets, tf.float32)
    return TokenSums(tf.reduce_sum(loss * weights * real), tf.reduce_sum(correct * real), tf.reduce_sum(real))


@tf.custom_gradient
def _cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, object]:
    """-log softmax(logits) at the targets, (...), in half the time that TensorFlow's own kernel takes on a CPU."""
    rows = tf.reshape(logits, (-1, logits.shape[-1]))
    indices = tf.stack([tf.range(tf.size(targets)), tf.cast(tf.reshape(targets, (-1,)), tf.int32)], 1)
    shifted = rows - tf.reduce_max(rows, 1, keepdims=True)
    exponentials = tf.exp(shifted)
    total = tf.reduce_sum(exponentials, 1)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        upstream = tf.reshape(upstream, (-1,))
        softmax = exponentials * (upstream / total)[:, None]
        return tf.reshape(tf.tensor_scatter_nd_sub(softmax, indices, upstream), tf.shape(logits)), None

    return tf.reshape(tf.math.log(total) - tf.gather_nd(shifted, indices), tf.shape(targets)), gradient
