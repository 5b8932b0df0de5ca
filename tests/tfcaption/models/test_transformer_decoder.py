"""A transformer block against its equations."""

import math

import numpy as np
import tensorflow as tf

from tests.support.models import DECODERS, captioner, captions
from tfcaption.models.token_layout import PaddedTokens


def test_a_block_of_the_transformer_is_the_published_one():
    """Each head and position by itself, in NumPy: pre-norm, scaled dot-product attention to the words so far, then to
    the regions, an MLP of four times the units."""
    block = captioner(encoder_weights=None, image_size=64, **DECODERS["transformer"]).decoder.blocks[0]
    rng = np.random.default_rng(0)
    for weight in block.weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    tokens = PaddedTokens(tf.constant(captions()[:3, 0]))
    hidden = rng.normal(size=(*tokens.inputs.shape, 16)).astype(np.float32)
    regions = rng.normal(size=(3, 4, 16)).astype(np.float32)

    def normalized(layer, x):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + layer.epsilon)
        return x * layer.gamma.numpy() + layer.beta.numpy()

    def dense(layer, x):
        return x @ layer.kernel.numpy() + layer.bias.numpy()

    def attended(query, keys, values):
        result = np.zeros(16)
        for head in (slice(0, 8), slice(8, 16)):
            scores = np.exp(keys[:, head] @ query[head] / np.sqrt(8))
            result[head] = scores / scores.sum() @ values[:, head]
        return result

    expected = hidden.copy()
    for caption in range(3):
        qkv = dense(block.self_attention_qkv, normalized(block.self_attention_norm, hidden[caption]))
        queries, keys, values = np.split(qkv, 3, -1)
        region_keys, region_values = np.split(dense(block.cross_attention_kv, regions[caption]), 2, -1)
        for time in range(len(queries)):
            value = expected[caption, time]
            value += dense(block.self_attention_output, attended(queries[time], keys[: time + 1], values[: time + 1]))
            query = dense(block.cross_attention_query, normalized(block.cross_attention_norm, value))
            value += dense(block.cross_attention_output, attended(query, region_keys, region_values))
            up = dense(block.mlp_up, normalized(block.mlp_norm, value))
            value += dense(block.mlp_down, up * 0.5 * (1 + np.vectorize(math.erf)(up / np.sqrt(2))))
    region_keys_values = block.region_keys_values(tf.constant(regions))
    result, _ = block.teacher_forced(tf.constant(hidden), tokens, region_keys_values, None)
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-3)
