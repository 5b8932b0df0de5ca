"""Encoders in .keras files: their map of regions, their pixels, their size and their precision."""

import keras
import numpy as np
import pytest

from tests.support.encoders import drawn_photos
from tfcaption.backbones.building import building
from tfcaption.backbones.errors import EncoderError
from tfcaption.backbones.loading import file_digest, load_backbone
from tfcaption.backbones.preprocessing import preprocess


def loaded(path, image_size=32, encoder_input=None):
    return load_backbone(str(path), image_size=image_size, weights=None, encoder_input=encoder_input)


def layers(rescaling=True, side=32):
    """A small encoder with its classifier."""
    return [
        keras.Input((side, side, 3)),
        *([keras.layers.Rescaling(1 / 128, -1, name="rescaling")] if rescaling else []),
        keras.layers.Conv2D(8, 3, strides=4, name="stem_conv"),
        keras.layers.BatchNormalization(name="stem_bn"),
        keras.layers.Conv2D(16, 2, activation="relu", name="top_conv"),
        keras.layers.GlobalAveragePooling2D(keepdims=True),
        keras.layers.Conv2D(10, 1),
        keras.layers.Flatten(),
        keras.layers.Dense(5, activation="softmax"),
    ]


@pytest.fixture
def sequential(tmp_path):
    """A file of that encoder, and the function from photos to its last map."""
    model = keras.Sequential(layers())
    model.save(tmp_path / "small.keras")
    return tmp_path / "small.keras", keras.Model(model.inputs, model.get_layer("top_conv").output)


def test_the_map_is_the_last_layer_with_regions_below_any_classifier(sequential):
    path, expected = sequential
    backbone = loaded(path)
    photos = drawn_photos(2, 32)
    maps = backbone.model(preprocess(photos, backbone.input), training=False)
    np.testing.assert_array_equal(maps, expected(photos, training=False))
    assert (backbone.input, backbone.cut, backbone.trainable) == ("inside", "stem_bn", True)
    assert (backbone.name, backbone.file_sha256) == ("small.keras", file_digest(path))


def test_a_file_of_any_size_is_built_for_the_size_of_the_photos(tmp_path):
    model = keras.Sequential(layers(side=None))
    model.save(tmp_path / "any.keras")
    assert [loaded(tmp_path / "any.keras", size).model.output.shape for size in (32, 64)] == [
        (None, 7, 7, 16),
        (None, 15, 15, 16),
    ]


def test_tokens_are_a_map(tmp_path):
    inputs = keras.Input((32, 32, 3))
    patches = keras.layers.Conv2D(12, 8, strides=8, name="patches")(keras.layers.Rescaling(1 / 255)(inputs))
    tokens = keras.layers.Reshape((16, 12), name="tokens")(patches)
    attended = keras.layers.MultiHeadAttention(2, 6, name="attention")(tokens, tokens)
    tokens = keras.layers.LayerNormalization(name="block1_norm")(tokens + attended)
    pooled = keras.layers.GlobalAveragePooling1D()(tokens)
    keras.Model(inputs, pooled).save(tmp_path / "vit.keras")
    with building("mixed_bfloat16"):
        backbone = loaded(tmp_path / "vit.keras")
    assert (backbone.model.output.shape, backbone.model.output.dtype) == ((None, 16, 12), "bfloat16")
    photos = drawn_photos(2, 32)
    expected = keras.Model(inputs, tokens)(photos)
    np.testing.assert_allclose(
        np.asarray(backbone.model(preprocess(photos, "inside")), np.float32), expected, rtol=0.05, atol=0.05
    )


def test_a_layer_inside_a_layer_has_the_precision_too_and_pixels_keep_float32(tmp_path):
    inner = keras.Sequential([keras.layers.Rescaling(1 / 255, name="scale"), keras.layers.Conv2D(4, 3, name="conv")])
    keras.Sequential([keras.Input((32, 32, 3)), inner]).save(tmp_path / "nested.keras")
    with building("mixed_bfloat16"):
        model = loaded(tmp_path / "nested.keras").model
    nested = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    assert {layer.name: layer.dtype_policy.name for layer in nested.layers} == {
        "scale": "float32",
        "conv": "mixed_bfloat16",
    }


def test_statistics_that_a_file_has_learnt_are_read_in_each_call(tmp_path):
    normalization = keras.layers.Normalization(axis=-1)
    normalization.adapt(drawn_photos(8, 32).astype(np.float32))
    model = keras.Sequential([keras.Input((32, 32, 3)), normalization, keras.layers.Conv2D(4, 3)])
    model.save(tmp_path / "adapted.keras")
    backbone = loaded(tmp_path / "adapted.keras")
    photos = drawn_photos(2, 32).astype(np.float32)
    np.testing.assert_array_equal(backbone.model(photos), model(photos))
    backbone.model.layers[1].adapt_mean.assign(np.zeros(3))  # as a restored checkpoint does
    assert np.abs(backbone.model(photos) - model(photos)).max() > 0.1


def test_a_file_without_normalization_needs_its_input_convention(tmp_path):
    model = keras.Sequential(layers(rescaling=False))
    model.save(tmp_path / "plain.keras")
    with pytest.raises(EncoderError, match="--encoder_input .*model.encoder_input.* caffe: BGR .* torch: ") as caught:
        loaded(tmp_path / "plain.keras")
    assert "\n" not in str(caught.value)
    assert loaded(tmp_path / "plain.keras", encoder_input="torch").input == "torch"


def test_a_stated_convention_counts_more_than_a_layer(sequential):
    assert loaded(sequential[0], encoder_input="tf").input == "tf"


@keras.saving.register_keras_serializable("tests")
class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs


def dense(side):
    return keras.Sequential([keras.Input((side,)), keras.layers.Dense(3)])


@pytest.mark.parametrize(
    "model, message",
    [
        (lambda: keras.Sequential(layers(side=48)), "takes photos of 48 x 48 pixels, .* 32 x 32; .*--image_size 48"),
        (lambda: dense(7), r"takes inputs of \(7\) instead of photos"),
        (
            lambda: keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Rescaling(1), keras.layers.Flatten()]),
            "has no weights below its last map of regions, ",
        ),
        (
            lambda: keras.Model([a := keras.Input((32, 32, 3)), b := keras.Input((32, 32, 3))], a + b),
            "has 2 inputs and 1 outputs",
        ),
    ],
)
def test_a_file_that_is_no_encoder_of_these_photos_is_an_error_of_one_line(model, message, tmp_path):
    model().save(tmp_path / "file.keras")
    with pytest.raises(EncoderError, match=f"^{tmp_path}/file.keras: .*{message}") as caught:
        loaded(tmp_path / "file.keras")
    assert "\n" not in str(caught.value)


def test_layers_of_ones_own_and_code_in_a_file_are_an_error_with_the_cure(tmp_path):
    keras.Sequential([keras.Input((32, 32, 3)), Doubled(), keras.layers.Conv2D(4, 3)]).save(tmp_path / "own.keras")
    keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Lambda(lambda x: x / 255)]).save(tmp_path / "code.keras")
    (tmp_path / "text.keras").write_text("no zip")
    del keras.saving.get_custom_objects()["tests>Doubled"]
    for name in ("own", "code", "text"):
        with pytest.raises(EncoderError, match=f"{name}.keras: Keras cannot load it: .*SavedModel") as caught:
            loaded(tmp_path / f"{name}.keras")
        assert "\n" not in str(caught.value)
