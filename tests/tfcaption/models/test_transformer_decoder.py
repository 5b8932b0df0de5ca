"""A transformer block is the published one."""

import math

import numpy as np
import tensorflow as tf

from tests.support.models import DECODERS, captioner, captions
from tfcaption.models.token_layout import PaddedTokens


def test_a_block_of_the_transformer_is_the_published_one():
    """Every head and position by itself, in NumPy: pre-norm, scaled dot products of words so far, then of regions, a
    feed-forward of four times the units."""
    block = captioner(encoder_weights=None, image_size=64, **DECODERS["transformer"]).decoder.blocks[0]
    rng = np.random.default_rng(0)
    for weight in block.weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    rows = PaddedTokens(tf.constant(captions()[:3, 0]))
    values = rng.normal(size=(*rows.inputs.shape, 16)).astype(np.float32)
    regions = rng.normal(size=(3, 4, 16)).astype(np.float32)

    def normalized(layer, x):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + layer.epsilon)
        return x * layer.gamma.numpy() + layer.beta.numpy()

    def dense(layer, x):
        return x @ layer.kernel.numpy() + layer.bias.numpy()

    def looked(query, keys, values):
        said = np.zeros(16)
        for head in (slice(0, 8), slice(8, 16)):
            scores = np.exp(keys[:, head] @ query[head] / np.sqrt(8))
            said[head] = scores / scores.sum() @ values[:, head]
        return said

    expected = values.copy()
    for row in range(3):
        queries, keys, words = np.split(dense(block.self_inputs, normalized(block.before_self, values[row])), 3, -1)
        region_keys, seen = np.split(dense(block.regions, regions[row]), 2, -1)
        for time in range(len(queries)):
            value = expected[row, time]
            value += dense(block.self_outputs, looked(queries[time], keys[: time + 1], words[: time + 1]))
            query = dense(block.queries, normalized(block.before_seen, value))
            value += dense(block.seen_outputs, looked(query, region_keys, seen))
            wide = dense(block.wide, normalized(block.before_wide, value))
            value += dense(block.narrow, wide * 0.5 * (1 + np.vectorize(math.erf)(wide / np.sqrt(2))))
    found, _ = block.teacher_forced(tf.constant(values), rows, block.see(tf.constant(regions)), None)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
