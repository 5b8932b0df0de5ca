"""ResNet50: preprocessing, stages, layers that train, weights."""

import keras
import numpy as np
import tensorflow as tf

from tests.support.models import captioner, new_encoder, shared_resnet50
from tfcaption.backbones import random_weights
from tfcaption.backbones.preprocessing import preprocess
from tfcaption.models.matrix_products import head_as_matrix_products


def test_preprocessing_is_that_of_keras(images):
    expected = keras.applications.resnet50.preprocess_input(images.numpy().astype(np.float32))
    np.testing.assert_array_equal(preprocess(images, "caffe"), expected)


def test_trunk_and_head_together_are_resnet50(images):
    split = shared_resnet50()
    resnet50 = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(32, 32, 3))
    for layer in (layer for layer in resnet50.layers if layer.weights):
        source = split.trunk if layer.name in {other.name for other in split.trunk.layers} else split.head
        layer.set_weights(source.get_layer(layer.name).get_weights())
    expected = resnet50(preprocess(images, "caffe"), training=False)
    np.testing.assert_allclose(split(images, end="map"), expected, rtol=1e-4, atol=1e-5)


def test_one_stage_leads_to_the_next(images):
    subject = new_encoder(finetuned=True)
    trunk = subject(images, end="trunk")
    maps = subject(trunk, start="trunk", end="map")
    assert [tuple(x.shape[1:]) for x in (images, trunk, maps)] == [
        subject.feature_shape(stage) for stage in ("photo", "trunk", "map")
    ]
    pooled = subject(maps, start="map")
    np.testing.assert_allclose(pooled, maps.numpy().mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(pooled, subject(images), rtol=1e-5)
    assert subject.feature_shape("pooled") == (2048,)


def test_the_head_as_matrix_products_equals_the_head_with_its_gradients():
    subject = new_encoder(96, finetuned=True)
    maps = tf.nn.relu(tf.random.stateless_normal((4, *subject.feature_shape("trunk")), [1, 2]))
    results = []
    _away_from_the_start(subject.head)
    products = [head_as_matrix_products(subject.head, trains=trains) for trains in (False, True)]
    for head in (lambda x: subject.head(x, training=False), *products):
        with tf.GradientTape() as tape:
            output = head(maps)
            loss = tf.reduce_mean(output**2)
        results.append([output, *tape.gradient(loss, subject.head.trainable_variables)])
    for a, *others in zip(*results, strict=True):
        for b in others:
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * float(tf.reduce_max(tf.abs(a))))


def _away_from_the_start(head):
    """Biases, factors and moments that are neither 0 nor 1."""
    generator = np.random.default_rng(0)
    for weight in head.weights:
        if len(weight.shape) == 1:
            weight.assign(generator.uniform(0.5, 1.5, weight.shape))


def test_the_fingerprint_of_a_stage_depends_on_the_weights_before_it_only():
    subject = new_encoder(finetuned=True)
    trunk, pooled = subject.fingerprint("trunk"), subject.fingerprint("pooled")
    bias = subject.head.get_layer("conv5_block3_3_conv").bias
    bias.assign(bias + 1e-3)
    assert subject.fingerprint("trunk") == trunk and subject.fingerprint("pooled") != pooled
    bias = subject.trunk.get_layer("conv1_conv").bias
    bias.assign(bias + 1e-3)
    assert subject.fingerprint("trunk") != trunk


def test_only_conv5_block2_and_conv5_block3_can_train():
    encoder = captioner("finetuned").encoder
    names = {variable.path.split("/")[-2] for variable in encoder.trainable_variables}
    assert {name[:12] for name in names} == {"conv5_block2", "conv5_block3"}
    with_weights = {layer.name for layer in encoder.head.layers if layer.weights}
    assert names == with_weights
    assert captioner("frozen").encoder.trainable_variables == []


def test_the_initial_weights_of_the_decoder_do_not_depend_on_the_encoder():
    first, second = (captioner(encoder_weights=weights).decoder.get_weights() for weights in ("random", None))
    other = captioner(encoder_weights=None, seed=1).decoder.get_weights()
    for one, same, different in zip(first, second, other, strict=True):
        np.testing.assert_array_equal(one, same)
        assert not one.any() or (one == 1).all() or not np.array_equal(one, different)


def test_random_weights_are_the_same_each_time_and_tell_photos_apart(images):
    first = shared_resnet50()(images).numpy()
    random_weights.random_weights.cache_clear()
    again = new_encoder()(images).numpy()
    np.testing.assert_array_equal(first, again)
    assert first.std(0).mean() > 0.1 * first.mean()


def test_random_weights_are_the_same_under_every_precision_policy():
    random_weights.random_weights.cache_clear()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        found = new_encoder().fingerprint("pooled")
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert found == shared_resnet50().fingerprint("pooled")  # which was built in float32


def test_real_weights_load(shared_data):
    path = shared_data / "data" / "resnet50" / "resnet50_imagenet_notop.weights.h5"
    photo = shared_data / "data" / "flickr8k" / "Flicker8k_Dataset" / "1000268201_693b08cb0e.jpg"
    image = tf.io.decode_jpeg(tf.io.read_file(str(photo)))[None]
    maps = new_encoder(224, str(path))(image, end="map")
    resnet50 = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(224, 224, 3))
    resnet50.load_weights(path)
    np.testing.assert_allclose(maps, resnet50(preprocess(image, "caffe"), training=False), rtol=1e-3, atol=1e-3)
