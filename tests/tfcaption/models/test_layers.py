"""Dropout and logits."""

import numpy as np
import tensorflow as tf

from tests.support.models import WORDS, captioner
from tfcaption.backbones.building import building
from tfcaption.models.layers import dropout


def test_the_logits_have_the_gradients_of_a_dense_layer(model):
    hidden = tf.random.stateless_normal((3, 5, 12), [1, 2])
    weights = model.decoder.logits.trainable_variables
    upstream = tf.random.stateless_normal((3, 5, WORDS), [3, 4])
    results = []
    for layer in (model.decoder.logits, lambda x: tf.einsum("abi,io->abo", x, weights[0].value) + weights[1].value):
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            logits = layer(hidden)
        results.append([logits, *tape.gradient(logits, [hidden, *weights], upstream)])
    for ours, expected in zip(*results, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_the_gradient_of_the_logits_is_computed_in_the_precision_of_their_inputs():
    """1 + 2 ** -10 is no bfloat16, which has 8 significant bits, and is rounded to 1."""
    with building("mixed_bfloat16"):
        logits = captioner(encoder_weights=None).decoder.logits
    for dtype, rounded in (("bfloat16", 1.0), ("float32", 1 + 2**-10)):
        hidden = tf.ones((4, logits.kernel.shape[0]), dtype)
        with tf.GradientTape() as tape:
            outputs = logits(hidden)
        upstream = tf.fill(outputs.shape, 1 + 2**-10)
        assert outputs.dtype == tf.float32
        assert np.unique(tape.gradient(outputs, logits.kernel.value, upstream)).tolist() == [4 * rounded]


def test_dropout_depends_on_its_seed_alone():
    ones = tf.ones((200, 50))
    seed, other = tf.constant([1, 2]), tf.constant([1, 3])
    first = dropout(ones, 0.25, seed, 0)
    assert np.array_equal(first, dropout(ones, 0.25, seed, 0))
    assert not np.array_equal(first, dropout(ones, 0.25, other, 0))
    assert not np.array_equal(first, dropout(ones, 0.25, seed, 1))
    assert abs(float(tf.reduce_mean(tf.cast(first == 0, tf.float32))) - 0.25) < 0.02
    assert abs(float(tf.reduce_mean(first)) - 1) < 0.03
    assert dropout(ones, 0.25, None, 0) is ones
