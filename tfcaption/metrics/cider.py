"""CIDEr-D: how far a caption shares the n-grams that tell a photo from the others. Imports no TensorFlow."""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tfcaption.metrics.tokens import LONGEST_NGRAM, Tokens, ngrams

SIGMA = 6.0  # words that a caption may differ in length before it costs much
SCALE = 10.0


class TfIdf(NamedTuple):
    """A caption as CIDEr-D sees it."""

    weights: dict[tuple[Hashable, ...], float]  # of its n-grams: how often each comes, times how rare it is
    norms: tuple[float, ...]  # of the weights of each n
    bigrams: int  # which stand for its length


class Cider:
    """CIDEr-D with n-grams as common as they are in a corpus (Vedantam et al. 2015, section 5, as coco-caption's
    cider_scorer.py computes it).

    Args:
        photos: the tokens of each photo's references. An n-gram counts once a photo.
    """

    def __init__(self, photos: Iterable[Sequence[Tokens]]) -> None:
        self._photos_with: Counter[tuple[Hashable, ...]] = Counter()
        self._photos = 0
        for photo in photos:
            self._photos_with.update(set().union(*(ngrams(tokens) for tokens in photo)))
            self._photos += 1

    def weighted(self, tokens: Tokens) -> TfIdf:
        """What is to be computed of a caption once."""
        weights, squares = {}, [0.0] * LONGEST_NGRAM
        for ngram, count in Counter(ngrams(tokens)).items():
            weight = count * math.log(self._photos / max(self._photos_with[ngram], 1))
            weights[ngram] = weight
            squares[len(ngram) - 1] += weight * weight
        return TfIdf(weights, tuple(map(math.sqrt, squares)), max(len(tokens) - 1, 0))

    def score(self, spoken: TfIdf, references: Sequence[TfIdf]) -> float:
        """CIDEr-D of one caption against a photo's references, from 0 to 10."""
        return SCALE * sum(_similarity(spoken, expected) for expected in references) / len(references)


def cider_d(hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> np.ndarray:
    """CIDEr-D of one caption per photo.

    How common an n-gram is, is counted over the references given here, so a score is comparable only on the same
    photos, and is 0 for a single one.

    Args:
        hypotheses: the tokens of each photo's caption.
        references: the tokens of each photo's references, in the same order.

    Returns:
        (photos,) float64, from 0 to 10.
    """
    cider = Cider(references)
    return np.array(
        [
            cider.score(cider.weighted(tokens), [cider.weighted(reference) for reference in photo])
            for tokens, photo in zip(hypotheses, references, strict=True)
        ]
    )


def _similarity(spoken: TfIdf, expected: TfIdf) -> float:
    """Cosine of the n-grams' weights, a mean over n, less for another length; a word said too often counts as often as
    it is expected."""
    shared = [0.0] * LONGEST_NGRAM
    for ngram, weight in spoken.weights.items():
        if other := expected.weights.get(ngram):
            shared[len(ngram) - 1] += min(weight, other) * other
    cosines = (
        value / (mine * theirs)
        for value, mine, theirs in zip(shared, spoken.norms, expected.norms, strict=True)
        if mine and theirs
    )
    return sum(cosines) / LONGEST_NGRAM * math.exp(-((spoken.bigrams - expected.bigrams) ** 2) / (2 * SIGMA**2))
