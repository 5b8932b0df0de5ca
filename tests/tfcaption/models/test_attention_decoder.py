"""Attention: a distribution over regions, with the published scores."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import DECODERS, captioner, captions, features_of


@pytest.mark.parametrize("decoder", ["bahdanau", "luong", "transformer"])
def test_attention_is_a_distribution_over_regions_that_moves_with_them(decoder):
    model = captioner(encoder_weights=None, image_size=64, **DECODERS[decoder])
    tokens, features = tf.constant(captions()), features_of(model)
    logits, attention = model.predict(features, tokens)
    assert attention.shape == (6, 2, 6, 4) and attention.dtype == tf.float32
    np.testing.assert_allclose(tf.reduce_sum(attention, -1), 1, rtol=1e-5)
    reversed_logits, reversed_attention = model.predict(tf.reverse(features, [1, 2]), tokens)
    np.testing.assert_allclose(reversed_logits, logits, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(reversed_attention, tf.reverse(attention, [-1]), rtol=1e-3, atol=1e-5)
    assert float(tf.math.reduce_std(attention)) > 1e-3


@pytest.mark.parametrize("score", ["bahdanau", "luong"])
def test_attention_scores_are_the_published_ones(score):
    model = captioner(encoder_weights=None, image_size=64, **DECODERS[score])
    decoder = model.decoder
    keys, values, _ = (x.numpy() for x in decoder.start(features_of(model))[0])
    queries = np.random.default_rng(0).normal(size=(6, 3, 8)).astype(np.float32)
    expected = np.zeros((6, 3, 4))
    for n, q, r in np.ndindex(6, 3, 4):
        if score == "bahdanau":
            expected[n, q, r] = np.tanh(queries[n, q] + keys[n, r]) @ decoder.attention_scores.kernel.numpy()[:, 0]
        else:
            expected[n, q, r] = queries[n, q] @ keys[n, r] / np.sqrt(8)
    expected = np.exp(expected) / np.exp(expected).sum(-1, keepdims=True)
    attended, attention = decoder._attend(tf.constant(queries), tf.constant(keys), tf.constant(values))
    np.testing.assert_allclose(attention, expected, rtol=1e-4)
    np.testing.assert_allclose(attended, expected @ values, rtol=1e-3, atol=1e-4)
