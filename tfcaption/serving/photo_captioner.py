"""The interface of everything that captions photos, and batches in which some photos are damaged."""

from collections.abc import Sequence
from typing import Protocol

from tfcaption.preprocessing.photos import PhotoError
from tfcaption.records.captions import PhotoCaptions


class PhotoCaptioner(Protocol):
    """Anything that captions photos: a run, or an export of one."""

    beam: int  # captions it can give for a photo

    def prepare(self, data: bytes) -> bytes:
        """The JPEG that the model takes, from the content of a photo file; raises PhotoError."""

    def __call__(self, photos: Sequence[bytes]) -> list[PhotoCaptions | PhotoError]:
        """Captions of prepared photos, in their order; the error where the model cannot decode one."""


def caption_photos(captioner: PhotoCaptioner, photos: Sequence[bytes | PhotoError]) -> list[PhotoCaptions | PhotoError]:
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
