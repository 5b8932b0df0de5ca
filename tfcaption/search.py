"""Greedy search, batched, in the graph."""

import tensorflow as tf

from tfcaption.captioner import Captioner
from tfcaption.records import END, OOV, PAD, START

BANNED = (PAD, OOV, START)


def greedy_search(captioner: Captioner, features: tf.Tensor, *, max_tokens: int) -> tf.Tensor:
    """The most probable next token, again and again.

    <pad>, <oov> and <start> are banned here, never in the logits that reach a loss.

    Args:
        captioner: the model.
        features: (photos, 2048), as `Captioner.encode` gives them.
        max_tokens: captions that have not ended by then are cut.

    Returns:
        (photos, max_tokens) int32 without <start>; <pad> after <end>.
    """
    photos = tf.shape(features)[0]
    logits_mask = tf.reduce_sum(tf.one_hot(BANNED, captioner.decoder.logits.units, on_value=float("-inf")), axis=0)
    logits_mask = tf.where(tf.math.is_nan(logits_mask), 0.0, logits_mask)

    def advance(
        time: tf.Tensor, tokens: tf.Tensor, ended: tf.Tensor, state: tf.Tensor, written: tf.TensorArray
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.TensorArray]:
        logits, state = captioner.decoder.step(tokens, state)
        chosen = tf.argmax(logits + logits_mask, axis=-1, output_type=tf.int32)
        chosen = tf.where(ended, PAD, chosen)
        return time + 1, chosen, ended | (chosen == END), state, written.write(time, chosen)

    _, _, _, _, written = tf.while_loop(
        lambda time, tokens, ended, state, written: ~tf.reduce_all(ended),
        advance,
        (
            tf.constant(0),
            tf.fill((photos,), START),
            tf.fill((photos,), False),
            captioner.decoder.start(features),
            tf.TensorArray(tf.int32, size=max_tokens, element_shape=features.shape[:1]),
        ),
        maximum_iterations=max_tokens,
    )
    return tf.transpose(written.stack())
