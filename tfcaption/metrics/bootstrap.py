"""How much scores would differ on other photos of the same kind: bootstrap over photos (Efron 1979; for corpus BLEU
Koehn 2004, "Statistical significance tests for machine translation evaluation")."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfcaption.metrics.bleu import ReferenceNgrams, bleu_of_sums, bleu_statistics
from tfcaption.metrics.cider import cider_d
from tfcaption.metrics.rouge import rouge_l
from tfcaption.metrics.score_tokenizers import Tokenize
from tfcaption.metrics.tokens import LONGEST_NGRAM

DRAWS = 1000
CONFIDENCE = 0.95
BLEU = tuple(f"bleu_{n}" for n in range(1, LONGEST_NGRAM + 1))


class Interval(NamedTuple):
    """Where a score lies with a confidence of 95%."""

    low: float
    high: float


class PhotoScores(NamedTuple):
    """What each photo adds to the scores of a corpus."""

    bleu: np.ndarray  # (photos, 10) int64, see `bleu_statistics`
    rouge_l: np.ndarray  # (photos,) float64
    cider: np.ndarray  # (photos,) float64, with document frequencies from all photos

    @classmethod
    def of(cls, hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenize: Tokenize) -> "PhotoScores":
        """Score one raw caption per photo against the photo's raw references, in the same order."""
        tokens = [tokenize(caption) for caption in hypotheses]
        reference_tokens = [[tokenize(caption) for caption in captions] for captions in references]
        pairs = list(zip(tokens, reference_tokens, strict=True))
        return cls(
            np.asarray([bleu_statistics(caption, ReferenceNgrams.of(captions)) for caption, captions in pairs]),
            np.asarray([rouge_l(caption, captions) for caption, captions in pairs]),
            cider_d(tokens, reference_tokens),
        )

    def drawn(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """The scores of corpora in which each photo comes a number of times.

        Args:
            counts: (corpora, photos) int; every corpus has as many photos as there are.

        Returns:
            `bleu_1` .. `bleu_4`, `rouge_l`, `cider` -> (corpora,) float64.
        """
        bleu = bleu_of_sums(counts @ self.bleu)
        means = {"rouge_l": counts @ self.rouge_l / counts.shape[1], "cider": counts @ self.cider / counts.shape[1]}
        return {**{key: bleu[:, index] for index, key in enumerate(BLEU)}, **means}


def draw_photos(photos: int, *, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """How often each photo is drawn when as many photos as there are are drawn with replacement: (draws, photos)."""
    return np.random.default_rng(seed).multinomial(photos, np.full(photos, 1 / photos), size=draws)


def intervals(drawn: Mapping[str, np.ndarray]) -> dict[str, Interval]:
    """The central 95% of drawn scores, or of their differences."""
    tail = (1 - CONFIDENCE) / 2
    return {key: Interval(*np.quantile(values, [tail, 1 - tail]).tolist()) for key, values in drawn.items()}


def difference_intervals(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> dict[str, Interval]:
    """The central 95% of the differences first - second, both drawn with the same photos (a paired bootstrap)."""
    return intervals({key: first[key] - second[key] for key in first})
