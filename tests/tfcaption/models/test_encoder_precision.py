"""Encoders whose later layers compute in bfloat16."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.encoders import drawn_photos
from tfcaption.backbones.errors import EncoderError
from tfcaption.backbones.loading import Backbone
from tfcaption.backbones.settings import EncoderSettings
from tfcaption.models.encoder import Encoder, open_encoder


def both_precisions(name):
    settings = EncoderSettings((name,), weights="random")
    return [open_encoder(settings, image_size=64, precision=precision) for precision in ("float32", "bfloat16")]


@pytest.fixture(scope="module")
def resnet50s():
    """ResNet50 in float32 and in bfloat16."""
    return both_precisions("resnet50")


@pytest.fixture(scope="module", params=["resnet50", "mobilenetv3small"])
def encoders(request):
    """The same encoder in float32 and in bfloat16."""
    if request.param == "resnet50":
        return request.getfixturevalue("resnet50s")
    return both_precisions(request.param)


def test_features_in_bfloat16_are_those_of_float32_but_for_rounding(encoders):
    photos = tf.constant(drawn_photos(4, 64))
    for stage in ("trunk", "map", "pooled"):
        exact, rounded = (encoder(photos, end=stage) for encoder in encoders)
        assert exact.dtype == rounded.dtype == tf.float32
        difference = np.abs(exact - rounded).mean() / np.abs(exact).mean()
        assert 1e-5 < difference < 0.05, stage  # 0: nothing was computed in bfloat16


def test_weights_stay_in_float32(encoders):
    exact, rounded = encoders
    assert {weight.dtype for weight in rounded.base.weights} == {"float32"}
    assert exact.fingerprint("pooled") == rounded.fingerprint("pooled")


def test_the_first_convolutions_compute_in_float32_and_all_after_them_in_bfloat16(resnet50s):
    _, encoder = resnet50s
    layers = [layer for layer in encoder.base.layers if isinstance(layer, keras.layers.Conv2D)]
    dtypes = [layer.compute_dtype for layer in layers]
    assert dtypes == ["float32"] * 19 + ["bfloat16"] * 34
    # What is fused must be computed there, too: of the operations, not of the layers.
    graph = tf.function(encoder).get_concrete_function(tf.TensorSpec((1, 64, 64, 3), tf.uint8)).graph
    types = [operation.outputs[0].dtype for operation in graph.get_operations() if operation.type == "Conv2D"]
    assert types.count(tf.bfloat16) == 34 and types.count(tf.float32) == 19


def test_a_saved_model_computes_as_it_was_saved():
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    saved = Backbone(model, "inside", "conv2d", False, "vit", None)
    with pytest.raises(EncoderError, match="vit: a SavedModel computes as it was saved, in float32"):
        Encoder([saved], finetuned=False, precision="bfloat16")
