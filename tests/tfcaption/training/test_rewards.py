"""Rewards of whole batches equal the scores of one caption at a time."""

import numpy as np
import pytest

from tfcaption.benchmarks.cider import rewards_one_by_one, tokens_to_end
from tfcaption.metrics.cider import Cider
from tfcaption.records.vocabulary import END, PAD
from tfcaption.training.rewards import CaptionRewards

WORDS = 12  # few, so that captions share n-grams and repeat them


def drawn(random, shape, longest):
    """Captions of 0 to `longest` words and <end>, some without it."""
    tokens = random.integers(4, WORDS, (*shape, longest + 1), np.int32)
    lengths = random.integers(0, longest + 1, (*shape, 1))
    places = np.arange(longest + 1)
    ended = np.where(places == lengths, END, np.where(places < lengths, tokens, PAD))
    return np.where(random.random((*shape, 1)) < 0.2, tokens, ended).astype(np.int32)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("longest", [2, 9])  # captions without any 4-gram, too
def test_rewards_are_cider_and_weighted_bleu_of_each_caption(seed, longest):
    random = np.random.default_rng(seed)
    references = drawn(random, (30, 4), longest)
    references[4, 2:], references[8] = PAD, PAD  # captions that fill up a photo, and a photo that fills up the batch
    corpus = [[tokens_to_end(tokens) for tokens in captions] for captions in references]
    batch = references[::2]
    sampled = drawn(random, (len(batch), 3), 12)  # other lengths, and n-grams that no reference has
    sampled[:, 0, : longest + 1] = batch[:, 1]
    sampled[:, 0, longest + 1 :] = PAD
    rewards = CaptionRewards(corpus, bleu_weight=2.0)(sampled, batch)
    np.testing.assert_allclose(rewards, rewards_one_by_one(sampled, batch, Cider(corpus), 2.0), atol=1e-12)
    assert rewards.std() > 0.1 and not rewards[4].any()


def test_words_after_the_end_do_not_count():
    corpus = [[[5, 6, 7, END]], [[8, 9, END]]]
    rewards = CaptionRewards(corpus, bleu_weight=1.0)
    references = np.array([[[5, 6, 7, END]]])
    ended = rewards(np.array([[[5, 6, END, PAD, PAD]]]), references)
    assert rewards(np.array([[[5, 6, END, 9, 9]]]), references) == ended > 0
