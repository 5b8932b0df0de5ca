"""Every backbone of Keras: built, split, with random weights, with weights from a file, and from the network."""

import random
import urllib.error

import keras
import numpy as np
import pytest

from tests.support.encoders import drawn_photos
from tfcaption.backbones import random_weights
from tfcaption.backbones.building import building
from tfcaption.backbones.cutting import cuts, default_cut, split
from tfcaption.backbones.errors import EncoderError
from tfcaption.backbones.families import FAMILIES
from tfcaption.backbones.loading import load_backbone
from tfcaption.backbones.preprocessing import preprocess

# One of each kind that is built in few seconds; all others take minutes.
QUICK = ("resnet50v2", "mobilenetv3small", "efficientnetb0", "convnexttiny", "vgg16")
SLOW = [name for name in FAMILIES if name not in QUICK]


def loaded(name, image_size=32, weights="random"):
    return load_backbone(name, image_size=image_size, weights=weights, encoder_input=None)


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_family_builds_as_the_table_says_splits_to_the_bit_and_tells_photos_apart_with_random_weights(name):
    family = FAMILIES[name]
    size = max(48, family.smallest_size)
    backbone = loaded(name, size)
    assert (backbone.model.output.shape[-1], backbone.model.count_params()) == (family.channels, family.parameters)
    assert backbone.cut in cuts(backbone.model) and (backbone.name, backbone.trainable) == (name, True)
    pixels = preprocess(drawn_photos(8, size), backbone.input)
    maps = backbone.model(pixels, training=False).numpy()
    trunk, head = split(backbone.model, backbone.cut)
    np.testing.assert_array_equal(head(trunk(pixels, training=False), training=False), maps)
    pooled = maps.mean((1, 2))
    assert pooled.std(0).mean() > 0.1 * np.abs(pooled).mean()
    assert np.abs(maps).max() < 3e4  # half of what float16 holds


@pytest.mark.parametrize("name", ["convnexttiny", "inceptionv3", "vgg16"])
def test_no_family_takes_photos_smaller_than_the_table_says(name):
    family = FAMILIES[name]
    constructor = getattr(keras.applications, family.constructor)
    side = family.smallest_size - 1
    with pytest.raises(ValueError, match="size must be at least"):
        constructor(include_top=False, weights=None, input_shape=(side, side, 3))
    with pytest.raises(EncoderError, match=f"takes photos of {family.smallest_size} pixels or more"):
        loaded(name, side)


def test_the_default_cut_of_a_family_is_that_of_a_file():
    assert default_cut(loaded("resnet50", weights=None).model) == FAMILIES["resnet50"].cut == "conv5_block1_out"
    assert default_cut(loaded("mobilenetv2", weights=None).model) == FAMILIES["mobilenetv2"].cut


@pytest.mark.parametrize("name", [pytest.param("resnet50", marks=pytest.mark.slow), "mobilenetv3small"])
def test_random_weights_are_the_same_on_every_call_and_in_every_precision(name):
    found = []
    for policy in ("float32", "mixed_bfloat16"):
        random_weights.random_weights.cache_clear()
        with building(policy):
            found.append(loaded(name).model.get_weights())
    for first, again in zip(*found, strict=True):
        np.testing.assert_array_equal(first, again)


def test_building_leaves_pythons_random_state_as_it_was():
    random.seed(3)
    expected = random.random()
    random.seed(3)
    loaded("mobilenet", weights=None)
    assert random.random() == expected


@pytest.mark.parametrize("name", [pytest.param("convnexttiny", marks=pytest.mark.slow), "mobilenetv3small"])
def test_a_cut_has_the_same_name_whatever_was_built_before(name):
    names = [[layer.name for layer in loaded(name, weights=None).model.operations] for _ in range(2)]
    assert names[0] == names[1] and FAMILIES[name].cut in names[0]


def pixel_layers(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization)]


@pytest.mark.parametrize("name", ["efficientnetb0", pytest.param("efficientnetv2b0", marks=pytest.mark.slow)])
def test_pixels_are_normalized_in_float32_in_every_precision(name):
    photos = drawn_photos(4, 32)
    models = []
    for policy in ("float32", "mixed_bfloat16"):
        with building(policy):
            models.append(loaded(name, weights=None).model)
    assert [model.output.dtype for model in models] == ["float32", "bfloat16"]
    np.testing.assert_array_equal(*(keras.Model(m.input, pixel_layers(m)[-1].output)(photos) for m in models))


@pytest.fixture
def efficientnet_file(tmp_path):
    """Weights of EfficientNetB0(include_top=False), with pixel statistics of their own."""
    model = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    model.layers[2].set_weights([np.full(3, 0.4), np.full(3, 0.3), np.array(1)])
    model.save_weights(tmp_path / "file.weights.h5")
    return tmp_path / "file.weights.h5"


def test_efficientnet_is_that_of_imagenet_whatever_its_weights(efficientnet_file, monkeypatch):
    """Keras scales pixels once more where it loads `imagenet`, so a checkpoint of that model needs the layer, too."""
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: efficientnet_file)
    original = keras.applications.EfficientNetB0(include_top=False, weights="imagenet", input_shape=(32, 32, 3))
    photos = drawn_photos(2, 32).astype(np.float32)
    expected = original(photos, training=False)
    assert np.ptp(expected) > 0
    restored = loaded("efficientnetb0", weights=None).model
    restored.set_weights(original.get_weights())
    for model in (
        loaded("efficientnetb0", weights="imagenet").model,
        loaded("efficientnetb0", weights=str(efficientnet_file)).model,
        restored,
    ):
        np.testing.assert_array_equal(model(photos, training=False), expected)


def test_missing_or_wrong_weights_are_errors_of_one_line(tmp_path):
    with pytest.raises(EncoderError, match="nowhere.h5: no such file"):
        loaded("mobilenet", weights=str(tmp_path / "nowhere.h5"))
    wrong = tmp_path / "wrong.weights.h5"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(wrong)
    with pytest.raises(EncoderError, match="wrong.weights.h5: not weights of MobileNet") as caught:
        loaded("mobilenet", weights=str(wrong))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name, file",
    [
        ("resnet50", "resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"),
        pytest.param("efficientnetv2b0", "efficientnet_v2/efficientnetv2-b0_notop.h5", marks=pytest.mark.slow),
        ("mobilenet", "mobilenet_1_0_224_tf_no_top.h5"),
    ],
)
def test_weights_that_keras_cannot_download_are_an_error_that_names_the_file_and_where_keras_looks(
    name, file, monkeypatch, tmp_path
):
    fetched = []

    def no_network(url, *_):
        fetched.append(url)
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", no_network)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    with pytest.raises(EncoderError) as caught:
        loaded(name, 224, weights="imagenet")
    (url,) = fetched
    assert url.endswith(file)
    assert f"fetch {url} on another machine, then put it into {tmp_path}/models/ of this one" in str(caught.value)
