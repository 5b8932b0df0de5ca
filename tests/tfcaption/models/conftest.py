"""Models that this room's tests share."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import DECODERS, captioner


@pytest.fixture(scope="package")
def model():
    """A model that reads photos, which no test changes."""
    return captioner(dropout=0.4)


@pytest.fixture(params=DECODERS)
def any_model(request):
    """A model with each decoder, over four regions."""
    return captioner(encoder_weights=None, image_size=64, **DECODERS[request.param])


@pytest.fixture(scope="module")
def images():
    blocks = np.random.default_rng(4).integers(0, 256, (6, 4, 4, 3))
    return tf.constant(np.kron(blocks, np.ones((1, 8, 8, 1))).astype(np.uint8))
