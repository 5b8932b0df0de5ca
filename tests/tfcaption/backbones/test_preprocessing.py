"""Each input convention is the function that Keras has for it."""

import inspect

import keras
import numpy as np
import pytest

from tfcaption.backbones.families import FAMILIES
from tfcaption.backbones.preprocessing import PREPROCESSING, preprocess

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_has_the_preprocessing_of_keras(name):
    family = FAMILIES[name]
    module = inspect.getmodule(getattr(keras.applications, family.constructor))
    expected = module.preprocess_input(PIXELS.astype(np.float32))
    exact = family.input in ("caffe", "inside")
    np.testing.assert_allclose(preprocess(PIXELS, family.input), expected, rtol=0 if exact else 1e-5, atol=1e-6)


def test_the_text_of_each_convention_gives_its_numbers():
    red = np.array([[[[255, 0, 0]]]], np.uint8)
    expected = {
        "caffe": (-103.939, -116.779, 255 - 123.68),
        "tf": (1, -1, -1),
        "torch": ((1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225),
        "0..255": (255, 0, 0),
        "inside": (255, 0, 0),
    }
    assert expected.keys() == PREPROCESSING.keys()
    for convention, values in expected.items():
        np.testing.assert_allclose(preprocess(red, convention)[0, 0, 0], values, rtol=1e-5)
