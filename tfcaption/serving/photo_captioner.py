"""The interface of everything that captions photos, and batches in which some photos are damaged."""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from PIL import Image

from tfcaption.decoding.options import CaptionOptions
from tfcaption.preprocessing.photos import PhotoError, photos_below
from tfcaption.records.captions import PhotoCaptions
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.paths import as_path

BATCH_SIZE = 16  # photos


class PhotoFunction(Protocol):
    """Prepares photos and captions them."""

    def prepare(self, photo: bytes | Image.Image) -> bytes:
        """The JPEG that the model takes, from the content of a photo file or an image; raises PhotoError."""

    def __call__(self, photos: Sequence[bytes]) -> list[PhotoCaptions | PhotoError]:
        """Captions of prepared photos, in their order; an error for each photo that the model cannot decode."""


class PhotoCaptioner(PhotoFunction, Protocol):
    """Anything that captions photos: a run, or an export of one."""

    @property
    def options(self) -> CaptionOptions:
        """Of the search; each photo gets `options.available` captions."""

    def with_options(self, options: CaptionOptions, *, attention: bool = True) -> "PhotoCaptioner":
        """The same model with other options of the search; raises UsageError where they are fixed."""

    def fingerprint(self) -> str:
        """sha256 of the model, to tell it from any other one."""


def caption_photos(
    captioner: PhotoFunction, readers: Sequence[Callable[[], bytes | Image.Image]]
) -> list[PhotoCaptions | PhotoError]:
    """Caption all photos that can be read.

    Args:
        captioner: prepares and captions.
        readers: each returns a photo, or raises PhotoError or OSError.

    Returns:
        Captions or error of each photo, in their order.
    """
    prepared = [_prepared(captioner, read) for read in readers]
    captions = iter(captioner([photo for photo in prepared if isinstance(photo, bytes)]))
    return [photo if isinstance(photo, PhotoError) else next(captions) for photo in prepared]


def _prepared(captioner: PhotoFunction, read: Callable[[], bytes | Image.Image]) -> bytes | PhotoError:
    try:
        return captioner.prepare(read())
    except PhotoError as error:
        return error
    except FileNotFoundError:
        return PhotoError("no such file")
    except (OSError, ValueError) as error:  # ValueError: of a stream that was closed
        return PhotoError("unreadable", getattr(error, "strerror", None) or str(error))


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


def caption_files(captioner: PhotoFunction, paths: Sequence[str]) -> Iterator[tuple[str, PhotoCaptions | PhotoError]]:
    """Caption photo files, a batch at a time; yields each path with its captions or its error, in order."""
    for start in range(0, len(paths), BATCH_SIZE):
        group = paths[start : start + BATCH_SIZE]
        yield from zip(group, caption_photos(captioner, [as_path(path).read_bytes for path in group]), strict=True)
