"""Sampling: frequencies, top-p, temperature, constraints, and captions that depend on their own photo only."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import WORDS
from tests.tfcaption.decoding.test_beam_search import FEATURES, forced_totals, log_probabilities, search
from tfcaption.decoding import sampling
from tfcaption.decoding.options import LENGTH_ALPHA
from tfcaption.decoding.sampling import BatchPart, SamplingOptions
from tfcaption.records.vocabulary import END, OOV, PAD, START


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


def next_probabilities(model, words, *, min_words, no_repeat_ngram):
    """By hand: the probability of each next token of photo 0 after `words`, without those that are ruled out."""
    log_p = log_probabilities(model, 0, words)
    log_p[[PAD, OOV, START]] = -np.inf
    if len(words) < min_words:
        log_p[END] = -np.inf
    ngrams = {tuple(words[i : i + no_repeat_ngram]) for i in range(len(words) - no_repeat_ngram + 1)}
    for token in range(WORDS):
        if no_repeat_ngram and tuple([*words, token][-no_repeat_ngram:]) in ngrams:
            log_p[token] = -np.inf
    p = np.exp(log_p)
    return p / p.sum()


def test_samples_under_constraints_have_the_probabilities_that_brute_force_finds(model):
    limits = {"min_words": 1, "no_repeat_ngram": 1}
    expected = Counter()

    def extend(words, p):
        if len(words) == 2:
            expected[tuple(words)] = p
            return
        following = next_probabilities(model, words, **limits)
        for token in np.flatnonzero(following):
            extend([*words, int(token)], p * following[token])

    extend([], 1.0)
    assert sum(expected.values()) == pytest.approx(1) and len(expected) == 7 * 7
    features = tf.repeat(FEATURES[:1], 4000, axis=0)
    tokens = sample(model, features, max_tokens=2, min_tokens=2, no_repeat_ngram=1).tokens[:, 0].numpy()
    found = Counter(map(tuple, tokens.tolist()))
    assert found.keys() <= expected.keys()
    assert max(abs(found[caption] / 4000 - p) for caption, p in expected.items()) < 0.03
    # Captions that would repeat a word or end at once are likely without the constraints.
    free = sample(model, features, max_tokens=2).tokens[:, 0].numpy().tolist()
    assert np.mean([tuple(caption) in expected for caption in free]) < 0.9


def test_a_caption_that_may_neither_go_on_nor_end_ends(model):
    """Seven words, none of them twice, are all there are."""
    sampled = sample(model, FEATURES, max_tokens=12, min_tokens=11, no_repeat_ngram=1)
    searched = search(model, FEATURES, max_tokens=12, beam=2, min_tokens=11, no_repeat_ngram=1)
    for hypotheses in (sampled, searched):
        assert np.isfinite(hypotheses.scores[:, 0]).all()
        for tokens in hypotheses.tokens[:, 0].numpy().tolist():
            assert sorted(tokens[:7]) == list(range(4, WORDS)) and tokens[7:9] == [END, PAD]


def test_samples_of_a_photo_do_not_depend_on_the_photos_beside_it(model):
    options = {"max_tokens": 8, "count": 3, "temperature": 3.0, "same_for_each_photo": True}
    together = sample(model, FEATURES, **options)
    for photo in range(6):
        alone = sample(model, FEATURES[photo : photo + 1], **options)
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[photo])
    assert (sample(model, FEATURES, seed=(5, 2), **options).tokens.numpy() != together.tokens.numpy()).any()
    # In training each photo has its own random numbers, so that equal photos get different captions.
    twice = tf.repeat(FEATURES[:1], 2, axis=0)
    same, apart = (sample(model, twice, **options | {"same_for_each_photo": flag}).tokens for flag in (True, False))
    assert (same[0] == same[1]).numpy().all() and not (apart[0] == apart[1]).numpy().all()
    assert len({tuple(tokens) for tokens in same[0].numpy().tolist()}) > 1  # the samples of one photo differ


def test_the_parts_of_a_batch_get_the_samples_of_the_whole_batch(model):
    features = tf.concat([FEATURES, FEATURES], 0)
    options, seed = SamplingOptions(max_tokens=8, count=3), tf.constant((1, 2))
    whole = sampling.sample(model, features, options, seed=seed).tokens.numpy()
    halves = [
        sampling.sample(model, FEATURES, options, seed=seed, part=BatchPart(tf.constant(index), 2)).tokens.numpy()
        for index in range(2)
    ]
    np.testing.assert_array_equal(np.concatenate(halves), whole)
    assert (halves[0] != halves[1]).any()


@pytest.mark.parametrize("words", [5, 64, 300])
def test_a_share_of_the_probability_chooses_the_word_at_which_the_sum_reaches_it(words):
    random = np.random.default_rng(words)
    logits = random.normal(0, 3, (500, words)).astype(np.float32)
    logits[random.random(logits.shape) < 0.5] = -np.inf
    logits[:, words // 2] = 0  # one that may come next
    shares = random.random((500, 1)).astype(np.float32)
    shares[:20], shares[20:40] = 1e-20, 1 - 2**-24
    chosen = sampling.sample_tokens(tf.constant(logits), tf.constant(shares), 1.0).numpy()
    assert chosen.dtype == np.int32 and np.isfinite(logits[np.arange(500), chosen]).all()
    p = np.exp(logits.astype(np.float64))
    sums = np.cumsum(p / p.sum(1, keepdims=True), 1)
    rows = np.arange(500)
    below = np.where(chosen > 0, sums[rows, chosen - 1], 0)
    assert (below - 1e-6 <= shares[:, 0]).all() and (shares[:, 0] <= sums[rows, chosen] + 1e-6).all()
