"""CIDEr-D: how far a caption shares the n-grams that tell a photo from the others. Imports no TensorFlow."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

LONGEST_NGRAM = 4
SIGMA = 6.0  # words that a caption may differ in length before it costs much
SCALE = 10.0

_Weights = dict[tuple[str, ...], float]


def ngrams(tokens: Sequence[str]) -> list[tuple[str, ...]]:
    """All runs of one to four tokens, with repetitions."""
    return [
        tuple(tokens[start : start + n]) for n in range(1, LONGEST_NGRAM + 1) for start in range(len(tokens) - n + 1)
    ]


def cider_d(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> np.ndarray:
    """CIDEr-D of one caption per photo (Vedantam et al. 2015, section 5, as coco-caption's cider_scorer.py).

    How common an n-gram is, is counted over the references given here, so a score is comparable only on the same
    photos, and is 0 for a single one.

    Args:
        hypotheses: the tokens of each photo's caption.
        references: the tokens of each photo's references, in the same order.

    Returns:
        (photos,) float64, from 0 to 10.
    """
    counts = [[Counter(ngrams(tokens)) for tokens in photo] for photo in references]
    photos_with = Counter(ngram for photo in counts for ngram in set().union(*photo))

    def weights(counted: Counter[tuple[str, ...]]) -> _Weights:
        rarity = {ngram: math.log(len(references) / max(photos_with[ngram], 1)) for ngram in counted}
        return {ngram: count * rarity[ngram] for ngram, count in counted.items()}

    scores = np.zeros(len(hypotheses))
    for index, (tokens, photo) in enumerate(zip(hypotheses, counts, strict=True)):
        spoken = weights(Counter(ngrams(tokens)))
        lengths = (sum(count for ngram, count in counted.items() if len(ngram) == 2) for counted in photo)
        mine = max(len(tokens) - 1, 0)
        scores[index] = np.mean(
            [
                _similarity(spoken, weights(counted)) * math.exp(-((mine - length) ** 2) / (2 * SIGMA**2))
                for counted, length in zip(photo, lengths, strict=True)
            ]
        )
    return SCALE * scores


def _similarity(spoken: _Weights, expected: _Weights) -> float:
    """Cosine of the n-grams' weights, a mean over n; a word said too often counts as often as it is expected."""
    shared = np.zeros(LONGEST_NGRAM)
    for ngram, weight in spoken.items():
        if ngram in expected:
            shared[len(ngram) - 1] += min(weight, expected[ngram]) * expected[ngram]
    norms = _norms(spoken) * _norms(expected)
    return float(np.mean(np.divide(shared, norms, out=np.zeros(LONGEST_NGRAM), where=norms > 0)))


def _norms(weights: _Weights) -> np.ndarray:
    """(4,) float64: the length of the vector of each n."""
    squares = np.zeros(LONGEST_NGRAM)
    for ngram, weight in weights.items():
        squares[len(ngram) - 1] += weight**2
    return np.sqrt(squares)
