"""Dropout, GELU, logits, and weights that are cast once."""

import math
from contextlib import nullcontext

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import WORDS, captioner
from tfcaption.backbones.building import building
from tfcaption.models.decoder import StepCaptions
from tfcaption.models.layers import cast_once, dropout, gelu


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


def test_gelu_and_its_gradient_are_those_of_the_normal_distribution():
    x = np.linspace(-6, 6, 401)
    below = np.array([0.5 * math.erfc(-each / math.sqrt(2)) for each in x])
    density = np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)
    for dtype, rounding in (("float32", 1e-6), ("bfloat16", 2**-8)):
        values = tf.cast(x, dtype)
        with tf.GradientTape() as tape:
            tape.watch(values)
            activated = gelu(values)
        gradient = tape.gradient(activated, values)
        assert activated.dtype == gradient.dtype == dtype
        np.testing.assert_allclose(tf.cast(activated, "float64"), x * below, rtol=2 * rounding, atol=rounding)
        np.testing.assert_allclose(tf.cast(gradient, "float64"), below + x * density, rtol=2 * rounding, atol=rounding)


@pytest.mark.parametrize("decoder", ["gru", "attention", "transformer"])
def test_a_step_with_weights_cast_once_gives_the_same_logits_and_casts_none_again(decoder):
    with building("mixed_bfloat16"):
        model = captioner(decoder=decoder, encoder_weights=None)
    features = tf.random.stateless_normal((2, 7, 7, 2048), [1, 2])
    memory, state = model.decoder.start(features if decoder != "gru" else tf.reduce_mean(features, (1, 2)))
    captions, tokens = StepCaptions(2, 1), tf.constant([4, 5])

    def step(context):
        def logits():
            with context, tf.name_scope("inside"):
                return model.decoder.step(tokens, state, memory, captions)[0]

        return tf.function(logits, autograph=False)

    cast = step(cast_once(model.decoder.parts))
    np.testing.assert_array_equal(cast(), step(nullcontext())())
    operations = cast.get_concrete_function().graph.get_operations()
    sizes = {tuple(weight.shape) for weight in model.decoder.weights if weight.shape.rank == 2}
    inside = [each for each in operations if each.type == "Cast" and each.name.startswith("inside")]
    assert not [each for each in inside if tuple(each.outputs[0].shape) in sizes]
