"""Models are built in a precision and from a seed, and leave both as they were."""

import random

import keras
import numpy as np
import pytest

from tfcaption.backbones.building import building


def test_layers_have_the_precision_and_the_seed_of_the_block_and_later_ones_those_of_the_process():
    def kernel(**options):
        with building(**options):
            layer = keras.layers.Dense(3)
            layer.build((None, 4))
            return layer.kernel.numpy()

    random.seed(5)
    state = random.getstate()
    with building("mixed_bfloat16", seed=1):
        assert keras.layers.Dense(3)(np.ones((1, 4), np.float32)).dtype == "bfloat16"
    np.testing.assert_array_equal(kernel(seed=1), kernel(seed=1))
    assert (kernel(seed=1) != kernel(seed=2)).any()
    assert random.getstate() == state
    with pytest.raises(ZeroDivisionError), building("mixed_bfloat16"):
        1 / 0  # noqa: B018
    assert random.getstate() == state
    assert keras.layers.Dense(3)(np.ones((1, 4), np.float32)).dtype == "float32"
