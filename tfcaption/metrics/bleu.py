"""BLEU: how many of a caption's n-grams its references have, of a corpus and of one caption (Papineni et al. 2002).
Imports no TensorFlow."""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tfcaption.metrics.tokens import LONGEST_NGRAM, Tokens, ngrams


class ReferenceNgrams(NamedTuple):
    """A photo's references as BLEU sees them."""

    most: Counter[tuple[Hashable, ...]]  # how often each n-gram comes in any one of them
    lengths: list[int]

    @classmethod
    def of(cls, references: Sequence[Tokens]) -> "ReferenceNgrams":
        """What is to be counted of a photo's references once."""
        most: Counter[tuple[Hashable, ...]] = Counter()
        for reference in references:
            most |= Counter(ngrams(reference))
        return cls(most, [len(reference) for reference in references])


def corpus_bleu(hypotheses: Sequence[Tokens], expected: Iterable[ReferenceNgrams]) -> dict[str, float]:
    """BLEU-1 to BLEU-4 of one caption per photo, over all photos together and without smoothing.

    Args:
        hypotheses: the tokens of each photo's caption.
        expected: each photo's references, in the same order; gone through once.

    Returns:
        `bleu_1` .. `bleu_4`, from 0 to 1.
    """
    matches, totals = np.zeros(LONGEST_NGRAM), np.zeros(LONGEST_NGRAM)
    spoken = nearest = 0
    for tokens, photo in zip(hypotheses, expected, strict=True):
        matched, total = _counts(tokens, photo)
        matches += matched
        totals += total
        spoken += len(tokens)
        nearest += _nearest(len(tokens), photo)
    brevity = _brevity(spoken, nearest)
    precisions = matches / np.maximum(totals, 1)
    return {f"bleu_{n}": float(brevity * precisions[:n].prod() ** (1 / n)) for n in range(1, LONGEST_NGRAM + 1)}


def sentence_bleu(tokens: Tokens, expected: ReferenceNgrams) -> float:
    """The mean of a caption's BLEU-1 to BLEU-4, from 0 to 1, with 1 added to the matches and totals of all but single
    tokens (Lin & Och 2004, ORANGE; NLTK's `SmoothingFunction.method2`), without which few captions have BLEU-4."""
    (matched, *matches), (total, *totals) = _counts(tokens, expected)
    if not matched:
        return 0.0
    precisions = [matched / total]
    precisions += [(match + 1) / (max(of, 1) + 1) for match, of in zip(matches, totals, strict=True)]
    means = [math.prod(precisions[:n]) ** (1 / n) for n in range(1, LONGEST_NGRAM + 1)]
    return _brevity(len(tokens), _nearest(len(tokens), expected)) * sum(means) / LONGEST_NGRAM


def _counts(tokens: Tokens, expected: ReferenceNgrams) -> tuple[list[int], list[int]]:
    """Of each n, the caption's n-grams that match, none more often than in one reference, and all of them."""
    matches, totals = [0] * LONGEST_NGRAM, [0] * LONGEST_NGRAM
    for ngram, count in Counter(ngrams(tokens)).items():
        matches[len(ngram) - 1] += min(count, expected.most[ngram])
        totals[len(ngram) - 1] += count
    return matches, totals


def _nearest(length: int, expected: ReferenceNgrams) -> int:
    """The length of a reference that is nearest, the shorter of two."""
    return min(expected.lengths, key=lambda other: (abs(other - length), other))


def _brevity(spoken: int, expected: int) -> float:
    """The penalty for fewer tokens than expected, 1 for as many."""
    return math.exp(min(0.0, 1 - expected / max(spoken, 1)))
