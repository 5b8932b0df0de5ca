"""Sampling: frequencies, top-p, temperature."""

import numpy as np
import tensorflow as tf

from tests.support.models import WORDS
from tests.tfcaption.decoding.test_beam_search import FEATURES, forced_totals, log_probabilities, search
from tfcaption.decoding import sampling
from tfcaption.decoding.options import LENGTH_ALPHA
from tfcaption.decoding.sampling import SamplingOptions
from tfcaption.records.vocabulary import OOV, PAD, START


def sample(model, features, *, seed=(1, 2), **options):
    return sampling.sample(model, features, SamplingOptions(**options), seed=tf.constant(seed))


def test_frequencies_of_samples_are_the_probabilities_and_equal_seeds_give_equal_samples(model):
    features = tf.repeat(FEATURES[:1], 4000, axis=0)
    first = sample(model, features, max_tokens=1).tokens.numpy()[:, 0, 0]
    again = sample(model, features, max_tokens=1).tokens.numpy()[:, 0, 0]
    other = sample(model, features, max_tokens=1, seed=(1, 3)).tokens.numpy()[:, 0, 0]
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    for temperature in (1.0, 3.0):
        sampled = sample(model, features, max_tokens=1, temperature=temperature).tokens
        p = log_probabilities(model, 0, []) / temperature
        p[[PAD, OOV, START]] = -np.inf
        p = np.exp(p - p.max()) / np.exp(p - p.max()).sum()
        shares = np.bincount(sampled.numpy().ravel(), minlength=WORDS) / 4000
        np.testing.assert_allclose(shares, p, atol=0.03)


def test_top_p_samples_from_the_fewest_words_that_reach_its_probability(model):
    features = tf.repeat(FEATURES[:1], 2000, axis=0)
    p = log_probabilities(model, 0, [])
    p[[PAD, OOV, START]] = -np.inf
    p = np.exp(p) / np.exp(p).sum()
    order = np.argsort(-p)
    fewest = order[: np.searchsorted(np.cumsum(p[order]), 0.9) + 1]
    sampled = sample(model, features, max_tokens=1, top_p=0.9, temperature=1.0).tokens
    assert set(sampled.numpy().ravel().tolist()) <= set(fewest.tolist())
    assert len(fewest) < WORDS - 3


def test_a_low_temperature_samples_the_greedy_caption_and_its_score_is_the_captioners(model):
    sampled = sample(model, FEATURES, max_tokens=8, temperature=1e-4)
    np.testing.assert_array_equal(sampled.tokens, search(model, FEATURES, max_tokens=8).tokens)
    totals, lengths = forced_totals(model, FEATURES, sampled.tokens)
    np.testing.assert_allclose(sampled.scores, totals / lengths**LENGTH_ALPHA, rtol=1e-4)
