"""Pictures of where a captioner looked. Imports no TensorFlow."""

import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

DARKEST = 190  # of 255, where it did not look at all


def shade(weights: Sequence[float]) -> bytes:
    """A PNG to lay over a photo: black, transparent where a word looked most, a pixel a region.

    Args:
        weights: of the regions, row by row; a square number of them.
    """
    side = math.isqrt(len(weights))
    values = np.asarray(weights, np.float64).reshape(side, side)
    opacity = DARKEST * (1 - values / max(values.max(), 1e-9))
    pixels = np.stack([np.zeros_like(opacity), opacity], -1).round().astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels, "LA").save(stream, "PNG")
    return stream.getvalue()
