"""ROUGE-L, by brute force and by hand."""

import itertools

import numpy as np
import pytest

from tests.tfcaption.metrics.conftest import random_caption
from tfcaption.metrics.corpus import corpus_scores
from tfcaption.metrics.rouge import longest_common_subsequence


def test_the_longest_common_subsequence_equals_brute_force():
    generator = np.random.default_rng(6)
    for _ in range(50):
        first, second = (random_caption(generator, 0, 8).split() for _ in range(2))
        common = [
            set(itertools.combinations(first, length)) & set(itertools.combinations(second, length))
            for length in range(9)
        ]
        longest = max(length for length in range(9) if common[length])
        assert longest_common_subsequence(first, second) == longest


def test_rouge_l_equals_a_calculation_by_hand():
    # The best precision (first reference: 5 of 6 words) and the best recall (second: all 3) are of two references.
    scores = corpus_scores({"a": "the cat sat on the mat"}, {"a": ["the cat is on the mat there", "on the mat"]})
    precision, recall = 5 / 6, 3 / 3
    assert scores["rouge_l"] == pytest.approx((1 + 1.44) * precision * recall / (recall + 1.44 * precision))
