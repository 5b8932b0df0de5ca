"""What a captioner says of photos, and batches of photos in which some are damaged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from tfcaption.photos import PhotoError

SCORE_DIGITS = 4
ATTENTION_DIGITS = 3


class Spoken(NamedTuple):
    """One caption of a photo."""

    caption: str
    score: float  # length-normalised log-probability, see `search.normalized`


class Looked(NamedTuple):
    """Where the captioner looked for a word of its best caption."""

    word: str
    weights: list[float]  # of the photo's regions, row by row from the top left; they add up to 1


def looked_at(words: Sequence[bytes], attention: np.ndarray) -> tuple[Looked, ...]:
    """Of (time,) words, empty where there is none, and (time, regions) attention."""
    return tuple(
        Looked(word.decode(), [round(weight, ATTENTION_DIGITS) for weight in weights])
        for word, weights in zip(words, attention.tolist(), strict=True)
        if word
    )


@dataclass(frozen=True)
class Captions:
    """The captions of one photo."""

    nbest: tuple[Spoken, ...]  # best first, at least one
    looked: tuple[Looked, ...] = ()  # for each word of the best one, if the captioner has attention

    def as_json(self, count: int | None = None) -> dict[str, Any]:
        """The best caption, its score, the best `count` of all (None: every one), and attention where there is."""
        listed = [
            {"caption": spoken.caption, "score": round(spoken.score, SCORE_DIGITS)} for spoken in self.nbest[:count]
        ]
        looked = {"attention": [looked._asdict() for looked in self.looked]} if self.looked else {}
        return {**listed[0], "nbest": listed, **looked}


class PhotoCaptioner(Protocol):
    """Anything that captions photos: a run, or an export of one."""

    beam: int  # captions it can give for a photo

    def prepare(self, data: bytes) -> bytes:
        """The JPEG that the model takes, from the content of a photo file; raises PhotoError."""

    def __call__(self, photos: Sequence[bytes]) -> list[Captions | PhotoError]:
        """Captions of prepared photos, in their order; the error where the model cannot decode one."""


def caption_photos(captioner: PhotoCaptioner, photos: Sequence[bytes | PhotoError]) -> list[Captions | PhotoError]:
    """Caption the photos that can be, and say of each other one what is wrong with it.

    Args:
        captioner: prepares and captions.
        photos: content of photo files, or the error where one could not be read.

    Returns:
        Captions or error of each photo, in the order of `photos`.
    """
    prepared = [_prepare(captioner, photo) for photo in photos]
    captioned = iter(captioner([photo for photo in prepared if isinstance(photo, bytes)]))
    return [photo if isinstance(photo, PhotoError) else next(captioned) for photo in prepared]


def _prepare(captioner: PhotoCaptioner, photo: bytes | PhotoError) -> bytes | PhotoError:
    if isinstance(photo, PhotoError):
        return photo
    try:
        return captioner.prepare(photo)
    except PhotoError as error:
        return error
