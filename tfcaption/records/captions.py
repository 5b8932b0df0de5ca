"""Captions of a photo, as in `captions.jsonl` and JSON responses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np  # a tenth of a second of `caption --help`, for one annotation

SCORE_DIGITS = 4
ATTENTION_DIGITS = 3


class Hypothesis(NamedTuple):
    """One caption of a photo."""

    caption: str
    score: float  # length-normalised log-probability, see `decoding.hypotheses.length_normalized`


def hypotheses_of(captions: Sequence[bytes], scores: Sequence[float]) -> tuple[Hypothesis, ...]:
    """The hypotheses of one photo, from (beam,) strings and scores; a score of -inf marks a missing hypothesis."""
    return tuple(
        Hypothesis(caption.decode(), score)
        for caption, score in zip(captions, scores, strict=True)
        if score > float("-inf")
    )


class WordAttention(NamedTuple):
    """The attention of a captioner for one word of its best caption."""

    word: str
    # Over the photo's regions, row by row from the top left if they form a grid; their sum is 1, and less where the
    # model has a sentinel that a word may take in their place.
    weights: list[float]


def word_attention(words: Sequence[bytes], attention: "np.ndarray") -> tuple[WordAttention, ...]:
    """The attention of each word, from (time,) words and (time, regions) weights; an empty word is none."""
    return tuple(
        WordAttention(word.decode(), [round(weight, ATTENTION_DIGITS) for weight in weights])
        for word, weights in zip(words, attention.tolist(), strict=True)
        if word
    )


def grid_side(regions: int) -> int | None:
    """Rows, and columns, of the square grid that so many regions of a photo form; None: they form none."""
    side = math.isqrt(regions)
    return side if side * side == regions else None


@dataclass(frozen=True)
class PhotoCaptions:
    """The captions of one photo."""

    nbest: tuple[Hypothesis, ...]  # best first, at least one
    attention: tuple[WordAttention, ...] = ()  # of each word of the best one; empty without attention

    def as_json(self, count: int | None = None) -> dict[str, Any]:
        """The best caption and its score, the `count` best captions (None: all), and the attention, if any."""
        nbest = [
            {"caption": hypothesis.caption, "score": round(hypothesis.score, SCORE_DIGITS)}
            for hypothesis in self.nbest[:count]
        ]
        attention = {"attention": [word._asdict() for word in self.attention]} if self.attention else {}
        return {**nbest[0], "nbest": nbest, **attention}
