"""Where models can be split, against graphs whose answer is plain to see."""

import keras
import numpy as np
import pytest

from tfcaption.backbones.cutting import cuts, default_cut, only_paths, split
from tfcaption.backbones.errors import EncoderError


def residual():
    """Three convolutions, of which the second has a shortcut beside it."""
    inputs = keras.Input((8, 8, 3))
    first = keras.layers.ReLU(name="block1_relu")(
        keras.layers.Conv2D(4, 3, padding="same", name="block1_conv")(
            keras.layers.Rescaling(1 / 255, name="rescaling")(inputs)
        )
    )
    branch = keras.layers.Conv2D(4, 3, padding="same", name="block2_conv")(first)
    second = keras.layers.Add(name="block2_add")([first, branch])
    return keras.Model(inputs, keras.layers.Conv2D(64, 3, name="block3_conv")(second))


def test_cuts_are_the_last_single_tensors_of_each_block_after_the_first_weights():
    assert cuts(residual()) == ["block1_relu", "block2_add", "block3_conv"]
    assert list(only_paths(residual())) == ["rescaling", "block1_conv", "block1_relu", "block2_add", "block3_conv"]


@pytest.mark.parametrize("layer", ["rescaling", "block1_conv", "block1_relu", "block2_add", "block3_conv"])
def test_trunk_then_head_is_the_model_to_the_bit_and_has_its_weights(layer):
    model = residual()
    pixels = np.random.default_rng(0).normal(size=(2, 8, 8, 3))
    trunk, head = split(model, layer)
    np.testing.assert_array_equal(head(trunk(pixels)), model(pixels))
    assert {id(weight) for part in (trunk, head) for weight in part.weights} == {id(weight) for weight in model.weights}


def test_a_layer_beside_others_and_an_unknown_one_are_errors_that_name_the_nearest():
    with pytest.raises(EncoderError, match="^block2_conv: .* nearest that can: block1_relu or block2_add$"):
        split(residual(), "block2_conv")
    with pytest.raises(EncoderError, match="^block2_sum: no such layer; did you mean block2_add"):
        split(residual(), "block2_sum")
    with pytest.raises(EncoderError, match="^top: no such layer; `tfcaption encoders ENCODER --layers` lists all"):
        split(residual(), "top")


def test_a_layer_that_is_called_twice_is_no_cut():
    shared, inputs = keras.layers.Conv2D(3, 1, name="shared"), keras.Input((4, 4, 3))
    last = keras.layers.Conv2D(5, 1, name="last")
    assert cuts(keras.Model(inputs, last(shared(shared(inputs))))) == ["last"]


def test_the_default_cut_is_the_last_with_three_tenths_of_the_weights_beyond_it():
    model = residual()  # 112, 148 and 2,368 weights
    assert default_cut(model) == "block2_add"
    even = keras.Sequential([keras.Input((4, 4, 3)), *(keras.layers.Conv2D(3, 1, name=f"conv{i}") for i in range(10))])
    assert default_cut(keras.Model(even.inputs[0], even.outputs[0])) == "conv6"


def test_the_cuts_of_an_encoder_with_real_weights_are_those_listed_beside_it(shared_data):
    folder = shared_data / "data" / "encoders"
    rows = [line for line in (folder / "README.md").read_text().splitlines() if line.startswith("| `")]
    expected = {}  # | `block4a_project_bn`, `block4b_add` to `block4d_add` | 14, 14, 88 |
    for names, shape in (row.strip("| ").split(" | ") for row in rows):
        for part in names.split(", "):
            first, _, last = part.replace("`", "").partition(" to ")
            letters = range(ord(first[6]), ord(last[6]) + 1) if last else ()
            for name in [f"{first[:6]}{chr(letter)}{first[7:]}" for letter in letters] or [first]:
                expected[name] = tuple(map(int, shape.split(", ")))
    model = keras.models.load_model(folder / "efficientnet_lite2.keras", compile=False)
    assert {name: only_paths(model)[name].shape[1:] for name in cuts(model)} == expected
    photo = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3)).astype(np.float32)
    whole = model(photo, training=False)
    for name in cuts(model):
        trunk, head = split(model, name)
        np.testing.assert_array_equal(head(trunk(photo, training=False), training=False), whole)
