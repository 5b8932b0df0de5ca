"""BLEU of a corpus and of one caption: clipped n-gram precision with a brevity penalty (Papineni et al. 2002)."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tfcaption.metrics.tokens import LONGEST_NGRAM, Ngram, Tokens, ngrams


class ReferenceNgrams(NamedTuple):
    """N-gram counts of one photo's references."""

    max_counts: Counter[Ngram]  # the most that each n-gram occurs in any one reference
    lengths: list[int]  # of the references, in tokens

    @classmethod
    def of(cls, references: Sequence[Tokens]) -> "ReferenceNgrams":
        """Count the n-grams of a photo's references."""
        max_counts: Counter[Ngram] = Counter()
        for reference in references:
            max_counts |= Counter(ngrams(reference))
        return cls(max_counts, [len(reference) for reference in references])


def corpus_bleu(hypotheses: Sequence[Tokens], references: Iterable[ReferenceNgrams]) -> dict[str, float]:
    """BLEU-1 to BLEU-4 of one caption per photo, over all photos together and without smoothing.

    Args:
        hypotheses: the tokens of each photo's caption.
        references: of each photo, in the same order; iterated once.

    Returns:
        `bleu_1` .. `bleu_4`, from 0 to 1.
    """
    pairs = zip(hypotheses, references, strict=True)
    sums = np.sum([bleu_statistics(hypothesis, photo) for hypothesis, photo in pairs], axis=0)
    return {f"bleu_{n}": float(score) for n, score in enumerate(bleu_of_sums(sums), start=1)}


def bleu_statistics(hypothesis: Tokens, references: ReferenceNgrams) -> list[int]:
    """What a caption adds to a corpus: matches for n from 1 to 4, n-grams for n from 1 to 4, its length, the closest
    length of a reference."""
    matches, totals = _matches_and_totals(hypothesis, references)
    return [*matches, *totals, len(hypothesis), _closest_length(len(hypothesis), references)]


def bleu_of_sums(sums: np.ndarray) -> np.ndarray:
    """BLEU-1 to BLEU-4 of corpora.

    Args:
        sums: (..., 10) int, the sums of `bleu_statistics` over the captions of each corpus.

    Returns:
        (..., 4) float64, from 0 to 1.
    """
    matches, totals = sums[..., :LONGEST_NGRAM], sums[..., LONGEST_NGRAM:-2]
    precisions = matches / np.maximum(totals, 1)
    penalty = np.exp(np.minimum(0.0, 1 - sums[..., -1] / np.maximum(sums[..., -2], 1)))
    means = [precisions[..., :n].prod(-1) ** (1 / n) for n in range(1, LONGEST_NGRAM + 1)]
    return np.stack([penalty * mean for mean in means], -1)


def sentence_bleu(hypothesis: Tokens, references: ReferenceNgrams) -> float:
    """Mean of a caption's smoothed BLEU-1 to BLEU-4, from 0 to 1.

    Adds 1 to the matches and totals of n-grams longer than one token (Lin & Och 2004, ORANGE; NLTK's
    `SmoothingFunction.method2`). Without smoothing, BLEU-4 of most captions is 0.
    """
    (matched, *matches), (total, *totals) = _matches_and_totals(hypothesis, references)
    if not matched:
        return 0.0
    precisions = [matched / total]
    precisions += [(match + 1) / (max(count, 1) + 1) for match, count in zip(matches, totals, strict=True)]
    means = [math.prod(precisions[:n]) ** (1 / n) for n in range(1, LONGEST_NGRAM + 1)]
    penalty = _brevity_penalty(len(hypothesis), _closest_length(len(hypothesis), references))
    return penalty * sum(means) / LONGEST_NGRAM


def _matches_and_totals(hypothesis: Tokens, references: ReferenceNgrams) -> tuple[list[int], list[int]]:
    """Matching n-grams and all n-grams of a caption, for each n; matches are clipped to the references' counts."""
    matches, totals = [0] * LONGEST_NGRAM, [0] * LONGEST_NGRAM
    for ngram, count in Counter(ngrams(hypothesis)).items():
        matches[len(ngram) - 1] += min(count, references.max_counts[ngram])
        totals[len(ngram) - 1] += count
    return matches, totals


def _closest_length(length: int, references: ReferenceNgrams) -> int:
    """The reference length closest to `length`; the shorter of two equally close ones."""
    return min(references.lengths, key=lambda other: (abs(other - length), other))


def _brevity_penalty(hypothesis_length: int, reference_length: int) -> float:
    """Factor below 1 where hypotheses have fewer tokens than references; otherwise 1."""
    return math.exp(min(0.0, 1 - reference_length / max(hypothesis_length, 1)))
