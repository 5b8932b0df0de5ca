"""The photos that a user has: paths, bytes, PIL images, arrays, tensors."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.paths import as_path

Photo: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | np.ndarray[Any, Any] | Any
"""A photo: the path or the bytes of its file, a PIL image, or a (height, width, 3) uint8 array or tensor, RGB."""


def photo_reader(photo: Photo) -> Callable[[], bytes | Image.Image]:
    """A function that reads a photo; it raises OSError where its file cannot be read.

    Raises:
        UsageError: it is no photo, or an array of another shape or type.
    """
    if isinstance(photo, str | os.PathLike):
        return as_path(photo).read_bytes
    if isinstance(photo, bytes | bytearray | memoryview):
        content = bytes(photo)
        return lambda: content
    if isinstance(photo, Image.Image):
        image = photo
        return lambda: _unread_content(image) or image
    if hasattr(photo, "__array__"):
        array = _checked(np.asarray(photo))
        return lambda: Image.fromarray(array)
    raise UsageError(
        f"a photo must be a path, bytes, a PIL image, or a (height, width, 3) uint8 array or tensor, not "
        f"{type(photo).__name__}"
    )


def photo_name(photo: Photo) -> str:
    """The file name of a photo; empty where it has none."""
    if isinstance(photo, str | os.PathLike):
        return Path(os.fspath(photo)).name
    return Path(getattr(photo, "filename", "") or "").name if isinstance(photo, Image.Image) else ""


def opened(photo: Photo) -> Image.Image:
    """A photo as a PIL image, as it was given."""
    content = photo_reader(photo)()
    if isinstance(content, Image.Image):
        return content
    return Image.open(io.BytesIO(content))


def _unread_content(image: Image.Image) -> bytes | None:
    """The bytes of an image's file, if Pillow has opened but not decoded it: training scales a large JPEG while it is
    decoded, so that other pixels would come from the decoded image."""
    stream = getattr(image, "fp", None)
    if not isinstance(image, JpegImageFile) or stream is None or not image.tile or image.tell():
        return None
    position = stream.tell()
    stream.seek(0)
    content: bytes = stream.read()
    stream.seek(position)
    return content if content[:2] == b"\xff\xd8" else None  # otherwise the photo is a part of a larger file


def _checked(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if array.ndim == 4:
        raise UsageError(f"an array of shape {array.shape} holds several photos; pass a list of them: list(photos)")
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise UsageError(f"a photo must have the shape (height, width, 3), RGB, not {array.shape}")
    if array.dtype != np.uint8:
        raise UsageError(f"a photo must be uint8, from 0 to 255, not {array.dtype}; convert it with .astype('uint8')")
    return array
