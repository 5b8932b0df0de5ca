"""Captions of a photo as `captions.jsonl` and JSON responses hold them."""

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
    """Where the captioner looked for a word of its best caption."""

    word: str
    weights: list[float]  # of the photo's regions, row by row from the top left; they add up to 1


def word_attention(words: Sequence[bytes], attention: "np.ndarray") -> tuple[WordAttention, ...]:
    """Of (time,) words, empty where there is none, and (time, regions) attention."""
    return tuple(
        WordAttention(word.decode(), [round(weight, ATTENTION_DIGITS) for weight in weights])
        for word, weights in zip(words, attention.tolist(), strict=True)
        if word
    )


@dataclass(frozen=True)
class PhotoCaptions:
    """The captions of one photo."""

    nbest: tuple[Hypothesis, ...]  # best first, at least one
    looked: tuple[WordAttention, ...] = ()  # for each word of the best one, if the captioner has attention

    def as_json(self, count: int | None = None) -> dict[str, Any]:
        """The best caption, its score, the best `count` of all (None: every one), and attention where there is."""
        listed = [
            {"caption": spoken.caption, "score": round(spoken.score, SCORE_DIGITS)} for spoken in self.nbest[:count]
        ]
        looked = {"attention": [looked._asdict() for looked in self.looked]} if self.looked else {}
        return {**listed[0], "nbest": listed, **looked}
