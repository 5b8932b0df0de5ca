"""Captions that the tests of this room score."""

import numpy as np
import pytest

WORDS = ["a", "b", "c", "d", "e"]


def random_caption(generator, shortest=1, longest=9):
    return " ".join(generator.choice(WORDS, size=generator.integers(shortest, longest)))


@pytest.fixture
def random_captions():
    """Captions and references of 12 photos, from five words only, so that many n-grams repeat and match."""
    generator = np.random.default_rng(5)
    photos = [f"photo{index}" for index in range(12)]
    references = {photo: [random_caption(generator) for _ in range(generator.integers(1, 5))] for photo in photos}
    return {photo: random_caption(generator, 4) for photo in photos}, references
