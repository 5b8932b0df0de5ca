"""Captions that the tests of this room score."""

import numpy as np
import pytest

WORDS = ["a", "b", "c", "d", "e"]


def draw(generator, shortest=1, longest=9):
    return " ".join(generator.choice(WORDS, size=generator.integers(shortest, longest)))


@pytest.fixture
def drawn():
    """Captions and references of 12 photos from five words, so that much repeats and much matches."""
    generator = np.random.default_rng(5)
    photos = [f"photo{index}" for index in range(12)]
    references = {photo: [draw(generator) for _ in range(generator.integers(1, 5))] for photo in photos}
    return {photo: draw(generator, 4) for photo in photos}, references
