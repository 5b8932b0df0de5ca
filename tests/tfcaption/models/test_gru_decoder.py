"""The GRU against its equations."""

import numpy as np
import tensorflow as tf

from tests.support.models import captioner


def test_the_gru_is_the_published_one():
    """Cho et al. 2014 with the reset gate after the matrix product, in NumPy."""
    decoder = captioner().decoder
    kernel, recurrent, (bias, recurrent_bias) = (w.numpy() for w in decoder.gru.cell.weights)
    generator = np.random.default_rng(0)
    x, h = generator.normal(size=(3, 6)), generator.normal(size=(3, 16))
    xz, xr, xh = np.split(x @ kernel + bias, 3, axis=1)
    hz, hr, hh = np.split(h @ recurrent + recurrent_bias, 3, axis=1)
    z, r = 1 / (1 + np.exp(-xz - hz)), 1 / (1 + np.exp(-xr - hr))
    expected = z * h + (1 - z) * np.tanh(xh + r * hh)
    x, h = tf.constant(x, tf.float32), tf.constant(h, tf.float32)
    np.testing.assert_allclose(decoder.gru.cell(x, [h])[0], expected, rtol=1e-4, atol=1e-5)
