"""BatchNorm folded into convolutions: the same outputs and gradients as Keras' own layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.encoders import drawn_photos
from tfcaption.backbones.settings import EncoderSettings
from tfcaption.models.encoder import open_encoder
from tfcaption.models.folded_norms import fold_norms

layers = keras.layers


@pytest.fixture
def double_precision():
    """Rounding in float32 turns some ReLU on and off, which is a visible part of a gradient."""
    keras.mixed_precision.set_dtype_policy("float64")
    yield
    keras.mixed_precision.set_dtype_policy("float32")


def output_and_gradients(function, inputs, variables):
    with tf.GradientTape() as tape:
        output = function(inputs)
        loss = tf.reduce_mean(output**2)
    return [output, *tape.gradient(loss, variables)]


def with_other_weights(model):
    """Weights of which none is a layer's initial zero or one."""
    generator = np.random.default_rng(5)
    model.set_weights([generator.uniform(0.5, 1.5, weight.shape) for weight in model.get_weights()])
    return model


@pytest.mark.parametrize(
    ("encoder", "cut", "size"),
    [("resnet50", "conv3_block1_out", 64), pytest.param("efficientnetv2b0", None, 64, marks=pytest.mark.slow)],
)
def test_gradients_of_a_deep_head_are_those_of_keras(encoder, cut, size, double_precision):
    settings = EncoderSettings((encoder,), weights="random", finetune_from=cut)
    subject = open_encoder(settings, image_size=size, finetuned=True)
    trunk = subject(tf.constant(drawn_photos(3, size)), end="trunk")
    assert trunk.dtype == tf.float64
    weights = [variable.value for variable in subject.head.trainable_variables]
    found = output_and_gradients(lambda maps: subject(maps, start="trunk", end="map"), trunk, weights)
    expected = output_and_gradients(lambda maps: subject.head(maps, training=False), trunk, weights)
    assert len(found) == 1 + len(subject.head.trainable_variables) > 20
    for one, other in zip(found, expected, strict=True):
        one, other = np.asarray(one), np.asarray(other)
        assert np.linalg.norm(one - other) <= 1e-6 * np.linalg.norm(other) + 1e-12


def test_norms_fold_into_convolutions_of_every_kind():
    inputs = keras.Input((9, 9, 4))
    maps = layers.BatchNormalization()(layers.Conv2D(6, 3, 2, padding="same", use_bias=False)(inputs))
    maps = layers.BatchNormalization(scale=False)(layers.DepthwiseConv2D(3, depth_multiplier=2)(maps))
    maps = layers.BatchNormalization(center=False)(layers.Conv2D(8, 3, padding="same", dilation_rate=2)(maps))
    maps = layers.BatchNormalization(epsilon=0.1)(layers.Conv2D(8, 1, groups=4)(layers.ReLU()(maps)))
    model = with_other_weights(keras.Model(inputs, maps))
    photos = tf.random.stateless_normal((2, 9, 9, 4), [1, 2])
    folded = fold_norms(model)
    np.testing.assert_allclose(folded(photos), model(photos, training=False), rtol=1e-4)
    operations = {node.op for node in tf.function(folded).get_concrete_function(photos).graph.as_graph_def().node}
    assert not [name for name in operations if "BatchNorm" in name] and "DepthwiseConv2dNative" in operations


def test_norms_that_are_not_alone_behind_a_plain_convolution_stay():
    inputs = keras.Input((5, 5, 4))
    maps = layers.BatchNormalization()(inputs)
    twice = layers.Conv2D(4, 1)(maps)
    maps = layers.Add()([layers.BatchNormalization()(twice), twice])
    maps = layers.BatchNormalization()(layers.Conv2D(4, 1, activation="relu")(maps))
    shared = layers.Conv2D(4, 3, padding="same")
    maps = layers.BatchNormalization()(shared(shared(maps)))
    model = with_other_weights(keras.Model(inputs, layers.Dropout(0.5)(maps)))
    photos = tf.random.stateless_normal((2, 5, 5, 4), [1, 2])
    expected = model(photos, training=False)
    np.testing.assert_array_equal(fold_norms(model)(photos), expected)
    once = with_other_weights(keras.Model(model.inputs, layers.BatchNormalization()(layers.Conv2D(2, 1)(model.output))))
    np.testing.assert_allclose(fold_norms(once)(photos), once(photos, training=False), rtol=1e-4)


def test_a_layer_beside_folded_ones_runs_in_inference_mode():
    inputs = keras.Input((5, 5, 4))
    maps = layers.BatchNormalization()(layers.Conv2D(4, 1)(inputs))
    model = with_other_weights(keras.Model(inputs, layers.BatchNormalization()(layers.Dropout(0.5)(maps))))
    photos = tf.random.stateless_normal((2, 5, 5, 4), [1, 2])
    before = model.get_weights()
    np.testing.assert_allclose(fold_norms(model)(photos), model(photos, training=False), rtol=1e-4)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_gradient_of_a_shift_is_not_summed_in_bfloat16():
    """`bias_add` would do so on a CPU."""
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        inputs = keras.Input((32, 32, 2))
        model = keras.Model(inputs, layers.BatchNormalization()(layers.Conv2D(2, 1)(inputs)))
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    photos = tf.ones((8, 32, 32, 2))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.cast(fold_norms(model)(photos), tf.float32))
    gradient = tape.gradient(loss, model.layers[-1].beta.value)
    np.testing.assert_allclose(gradient, [8 * 32 * 32] * 2, rtol=0.01)
