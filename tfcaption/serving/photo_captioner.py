"""The interface of everything that captions photos, and batches in which some photos are damaged."""

import sys
from collections.abc import Iterator, Sequence
from typing import Protocol

from tfcaption.preprocessing.photos import PhotoError, photos_below
from tfcaption.records.captions import PhotoCaptions
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.paths import as_path

BATCH_SIZE = 16  # photos


class PhotoCaptioner(Protocol):
    """Anything that captions photos: a run, or an export of one."""

    beam: int  # captions that it gives for a photo

    def prepare(self, data: bytes) -> bytes:
        """The JPEG that the model takes, from the content of a photo file; raises PhotoError."""

    def __call__(self, photos: Sequence[bytes]) -> list[PhotoCaptions | PhotoError]:
        """Captions of prepared photos, in their order; an error for each photo that the model cannot decode."""


def caption_photos(captioner: PhotoCaptioner, photos: Sequence[bytes | PhotoError]) -> list[PhotoCaptions | PhotoError]:
    """Caption all photos that can be read.

    Args:
        captioner: prepares and captions.
        photos: content of photo files, or the error of a file that could not be read.

    Returns:
        Captions or error of each photo, in the order of `photos`.
    """
    prepared = [_prepare(captioner, photo) for photo in photos]
    captions = iter(captioner([photo for photo in prepared if isinstance(photo, bytes)]))
    return [photo if isinstance(photo, PhotoError) else next(captions) for photo in prepared]


def _prepare(captioner: PhotoCaptioner, photo: bytes | PhotoError) -> bytes | PhotoError:
    if isinstance(photo, PhotoError):
        return photo
    try:
        return captioner.prepare(photo)
    except PhotoError as error:
        return error


def find_photos(names: Sequence[str]) -> list[str]:
    """Photo files from files, folders (all photos below) and `-` (paths on standard input, one per line).

    Raises:
        UsageError: a folder without photos.
    """
    paths: list[str] = []
    for name in names:
        if name == "-":
            paths += find_photos([line for line in sys.stdin.read().splitlines() if line.strip() and line != "-"])
        elif as_path(name).is_dir():
            below = photos_below(as_path(name))
            if not below:
                raise UsageError(f"{name}: no photo below it; name photo files, or another folder")
            paths += map(str, below)
        else:
            paths.append(name)
    return paths


def caption_files(captioner: PhotoCaptioner, paths: Sequence[str]) -> Iterator[tuple[str, PhotoCaptions | PhotoError]]:
    """Caption photo files, a batch at a time; yields each path with its captions or its error, in order."""
    for start in range(0, len(paths), BATCH_SIZE):
        group = paths[start : start + BATCH_SIZE]
        yield from zip(group, caption_photos(captioner, [_read(path) for path in group]), strict=True)


def _read(path: str) -> bytes | PhotoError:
    try:
        return as_path(path).read_bytes()
    except OSError as error:
        return PhotoError("unreadable", error.strerror or str(error))
