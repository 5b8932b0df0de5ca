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


@pytest.mark.parametrize("score", ["bahdanau", "luong"])
def test_the_sentinel_competes_with_the_regions_as_a_word_by_word_computation_says(score):
    model = captioner(encoder_weights=None, image_size=64, attention_sentinel=True, **DECODERS[score])
    decoder, tokens, features = model.decoder, captions(), features_of(model)
    (keys, values, _), (state, _) = decoder.start(features)
    embedded = decoder.embedding(tokens[:, 1, :-1])
    hidden = decoder.attention_gru(embedded, initial_state=state)
    queries = decoder.attention_queries(hidden).numpy()
    attended, attention = decoder._attend(
        tf.constant(queries), keys, values, sentinel=decoder._sentinel(embedded, hidden, None)
    )
    gate_kernel, gate_bias = (weight.numpy() for weight in decoder.sentinel_gate.weights)
    key_kernel, key_bias = (weight.numpy() for weight in decoder.sentinel_keys.weights)
    for photo, time in np.ndindex(6, tokens.shape[2] - 1):
        word, said = embedded[photo, time].numpy(), hidden[photo, time].numpy()
        gate = 1 / (1 + np.exp(-(np.concatenate([word, said]) @ gate_kernel + gate_bias)))
        sentinel = gate * said
        choices = np.vstack([keys[photo], sentinel @ key_kernel + key_bias])  # the regions, then the sentinel
        if score == "bahdanau":
            scores = np.tanh(queries[photo, time] + choices) @ decoder.attention_scores.kernel.numpy()[:, 0]
        else:
            scores = choices @ queries[photo, time] / np.sqrt(8)
        weights = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(attention[photo, time], weights[:-1], rtol=1e-3, atol=1e-6)
        expected = weights @ np.vstack([values[photo], sentinel])
        np.testing.assert_allclose(attended[photo, time], expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(model.predict(features, tf.constant(tokens)).attention[:, 1], attention)


def test_attention_to_the_regions_and_to_the_sentinel_sums_to_one_and_either_can_take_all():
    model = captioner(encoder_weights=None, image_size=64, **DECODERS["sentinel"])
    features, tokens = features_of(model), tf.constant(captions())
    decoder = model.decoder
    # Values of one make what a word attends to the sum of its attention, that to the sentinel included.
    units = decoder.region_projection.units
    keys, one = tf.random.stateless_normal((6, 4, 8), [0, 1]), tf.ones((6, 4, units))
    sentinel = tf.random.stateless_normal((6, 3, 8), [2, 3]), tf.ones((6, 3, units))
    attended, attention = decoder._attend(tf.zeros((6, 3, 8)), keys, one, sentinel=sentinel)
    np.testing.assert_allclose(attended, 1, rtol=1e-5)
    assert np.all(tf.reduce_sum(attention, -1) < 0.99) and np.all(tf.reduce_sum(attention, -1) > 0.3)
    for bias, expected in ((9.0, 0.0), (-9.0, 1.0)):
        decoder.attention_scores.kernel.assign(tf.ones((8, 1)) * 9)
        decoder.sentinel_keys.bias.assign(tf.fill(8, bias))
        np.testing.assert_allclose(tf.reduce_sum(model.predict(features, tokens).attention, -1), expected, atol=1e-3)


def test_a_word_of_a_photo_without_regions_takes_the_sentinel_alone():
    model = captioner(encoder_weights=None, image_size=64, **DECODERS["sentinel"])
    model.decoder.masked = True
    features = tf.concat([features_of(model)[:5], tf.zeros((1, 2, 2, 2048))], 0)
    attention = tf.reduce_sum(model.predict(features, tf.constant(captions())).attention, -1)
    assert np.all(attention[5] == 0) and np.all(attention[:5] > 0)


def test_the_other_layers_start_as_those_of_a_decoder_without_a_sentinel():
    without, with_it = (
        {weight.path: weight.numpy() for weight in captioner(encoder_weights=None, **DECODERS[name]).decoder.weights}
        for name in ("bahdanau", "sentinel")
    )
    added = {path.split("/", 1)[1] for path in with_it.keys() - without.keys()}
    assert added == {f"sentinel_{layer}/{weight}" for layer in ("gate", "keys") for weight in ("kernel", "bias")}
    for path, weight in without.items():
        np.testing.assert_array_equal(with_it[path], weight)


def test_the_gradients_of_the_sentinel_are_those_of_finite_differences():
    model = captioner(encoder_weights=None, image_size=64, dropout=0.3, attention_penalty=0.5, **DECODERS["sentinel"])
    features, tokens, seed = features_of(model), tf.constant(captions()), tf.constant([3, 4])
    weights = [*model.decoder.sentinel_gate.weights, *model.decoder.sentinel_keys.weights]

    def loss():
        return model.token_sums(features, tokens, dropout_seed=seed).loss

    with tf.GradientTape() as tape:
        found = loss()
    gradients = tape.gradient(found, [weight.value for weight in weights])
    for weight, gradient in zip(weights, gradients, strict=True):
        direction = gradient / tf.norm(gradient)
        before, step = weight.numpy(), 0.02
        losses = []
        for side in (1, -1):
            weight.assign(before + side * step * direction)
            losses.append(float(loss()))
        weight.assign(before)
        assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(float(tf.norm(gradient)), rel=0.02, abs=1e-3)
        assert float(tf.norm(gradient)) > 1e-3
