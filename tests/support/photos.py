"""Drawn photos for tests."""

import io

import numpy as np
from PIL import Image


def picture(width=80, height=60):
    """Four coloured quarters: red, green / blue, white."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    pixels[height // 2 :, width // 2 :] = (255, 255, 255)
    return Image.fromarray(pixels)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def truncated():
    data = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)), "JPEG")
    return data[: len(data) // 2]


def heif(major, *compatible):
    """The first boxes of a file by ISO/IEC 14496-12: its brands, and the beginning of its metadata."""
    brands = b"".join([major, bytes(4), *compatible])
    return (len(brands) + 8).to_bytes(4, "big") + b"ftyp" + brands + b"\0\0\1\0meta" + bytes(200)
