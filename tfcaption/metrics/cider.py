"""CIDEr-D: cosine similarity of TF-IDF weighted n-grams (Vedantam et al. 2015)."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tfcaption.metrics.tokens import LONGEST_NGRAM, Ngram, Tokens, ngrams

SIGMA = 6.0  # standard deviation of the Gaussian length penalty, in bigrams
SCALE = 10.0


class TfIdf(NamedTuple):
    """TF-IDF vector of a caption's n-grams (Vedantam et al. 2015, equation 1)."""

    weights: dict[Ngram, float]
    norms: tuple[float, ...]  # L2 norm for each n
    length: int  # number of bigrams, as coco-caption measures length


class Cider:
    """CIDEr-D with document frequencies from a reference corpus (Vedantam et al. 2015, section 5).

    It computes what coco-caption's cider_scorer.py computes.

    Args:
        photos: the tokens of each photo's references. The references of one photo are one document.
    """

    def __init__(self, photos: Iterable[Sequence[Tokens]]) -> None:
        self._document_frequency: Counter[Ngram] = Counter()
        self._documents = 0
        for references in photos:
            self._document_frequency.update(set().union(*(ngrams(tokens) for tokens in references)))
            self._documents += 1

    def tf_idf(self, tokens: Tokens) -> TfIdf:
        """TF-IDF vector of a caption: n-gram counts, weighted by inverse document frequency."""
        weights: dict[Ngram, float] = {}
        squares = [0.0] * LONGEST_NGRAM
        for ngram, count in Counter(ngrams(tokens)).items():
            weight = count * math.log(self._documents / max(self._document_frequency[ngram], 1))
            weights[ngram] = weight
            squares[len(ngram) - 1] += weight * weight
        return TfIdf(weights, tuple(map(math.sqrt, squares)), max(len(tokens) - 1, 0))

    def score(self, hypothesis: TfIdf, references: Sequence[TfIdf]) -> float:
        """CIDEr-D of one caption against a photo's references, from 0 to 10."""
        return SCALE * sum(_similarity(hypothesis, reference) for reference in references) / len(references)


def cider_d(hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> np.ndarray:
    """CIDEr-D of one caption per photo, with document frequencies from the references given here.

    Scores are therefore comparable only on the same photos, and 0 for a single photo.

    Args:
        hypotheses: the tokens of each photo's caption.
        references: the tokens of each photo's references, in the same order.

    Returns:
        (photos,) float64, from 0 to 10.
    """
    cider = Cider(references)
    return np.array(
        [
            cider.score(cider.tf_idf(hypothesis), [cider.tf_idf(reference) for reference in photo])
            for hypothesis, photo in zip(hypotheses, references, strict=True)
        ]
    )


def _similarity(hypothesis: TfIdf, reference: TfIdf) -> float:
    """Cosine similarity of two TF-IDF vectors, averaged over n, times the length penalty.

    Weights of the hypothesis are clipped to those of the reference, so repeating a word does not raise the score.
    """
    products = [0.0] * LONGEST_NGRAM
    for ngram, weight in hypothesis.weights.items():
        if reference_weight := reference.weights.get(ngram):
            products[len(ngram) - 1] += min(weight, reference_weight) * reference_weight
    cosines = (
        product / (hypothesis_norm * reference_norm)
        for product, hypothesis_norm, reference_norm in zip(products, hypothesis.norms, reference.norms, strict=True)
        if hypothesis_norm and reference_norm
    )
    length_difference = hypothesis.length - reference.length
    return sum(cosines) / LONGEST_NGRAM * math.exp(-(length_difference**2) / (2 * SIGMA**2))
