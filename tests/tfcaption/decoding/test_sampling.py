"""Sampling: frequencies, top-p, temperature."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import WORDS
from tests.tfcaption.decoding.test_beam_search import FEATURES, forced_total, log_probabilities
from tfcaption.decoding.beam_search import beam_search
from tfcaption.decoding.hypotheses import LENGTH_ALPHA, length_normalized
from tfcaption.decoding.sampling import sample
from tfcaption.records.vocabulary import OOV, PAD, START


def test_sampling_draws_as_often_as_the_probabilities_say_and_the_same_for_the_same_seed(model):
    features = tf.repeat(FEATURES[:1], 4000, axis=0)
    first = sample(model, features, max_tokens=1, seed=tf.constant([1, 2])).tokens.numpy()[:, 0, 0]
    again = sample(model, features, max_tokens=1, seed=tf.constant([1, 2])).tokens.numpy()[:, 0, 0]
    other = sample(model, features, max_tokens=1, seed=tf.constant([1, 3])).tokens.numpy()[:, 0, 0]
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    for temperature in (1.0, 3.0):
        drawn = sample(model, features, max_tokens=1, seed=tf.constant([1, 2]), temperature=temperature).tokens
        p = log_probabilities(model, 0, []) / temperature
        p[[PAD, OOV, START]] = -np.inf
        p = np.exp(p - p.max()) / np.exp(p - p.max()).sum()
        shares = np.bincount(drawn.numpy().ravel(), minlength=WORDS) / 4000
        np.testing.assert_allclose(shares, p, atol=0.03)


def test_a_nucleus_holds_the_fewest_words_that_reach_its_probability(model):
    features = tf.repeat(FEATURES[:1], 2000, axis=0)
    p = log_probabilities(model, 0, [])
    p[[PAD, OOV, START]] = -np.inf
    p = np.exp(p) / np.exp(p).sum()
    order = np.argsort(-p)
    fewest = order[: np.searchsorted(np.cumsum(p[order]), 0.9) + 1]
    drawn = sample(model, features, max_tokens=1, seed=tf.constant([1, 2]), top_p=0.9, temperature=1.0).tokens
    assert set(drawn.numpy().ravel().tolist()) <= set(fewest.tolist())
    assert len(fewest) < WORDS - 3


def test_a_low_temperature_draws_the_greedy_caption_and_its_score_is_the_captioners(model):
    drawn = sample(model, FEATURES, max_tokens=8, seed=tf.constant([1, 2]), temperature=1e-4)
    np.testing.assert_array_equal(drawn.tokens, beam_search(model, FEATURES, max_tokens=8).tokens)
    for photo in range(6):
        total, length = forced_total(model, photo, drawn.tokens[photo, 0].numpy())
        expected = float(length_normalized(tf.constant(total), tf.constant(length), LENGTH_ALPHA))
        assert float(drawn.scores[photo, 0]) == pytest.approx(expected, rel=1e-4)
