"""Cosine similarity of captions."""

import numpy as np
import pytest

from tfcaption.metrics.similarity import embedding_cosine, shuffled
from tfcaption.metrics.tokens import score_tokens


def test_cosine_is_of_mean_vectors_averaged_over_the_references():
    vectors = {"a": np.array([1.0, 0]), "b": np.array([0, 1.0])}
    found = embedding_cosine({"p": "a", "q": "zzz"}, {"p": ["A !", "b", "a b"], "q": ["a"]}, vectors, score_tokens)
    assert found == {"p": pytest.approx((1 + 0 + 0.5**0.5) / 3)}


def test_shuffled_gives_every_photo_the_references_of_another():
    references = {name: [name] for name in "abc"}
    mixed = shuffled(references)
    assert mixed.keys() == references.keys() and all(mixed[name] != [name] for name in "abc")
    assert sorted(mixed.values()) == sorted(references.values())
