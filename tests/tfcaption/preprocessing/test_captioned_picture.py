"""Pictures of photos with their captions: text lies beside or below the photo, never on it."""

import numpy as np
from PIL import Image

from tfcaption.preprocessing.captioned_picture import PICTURE_WIDTH, draw_beside, draw_caption

RED = Image.new("RGB", (80, 60), "red")


def is_red(pixels):
    return (pixels == (255, 0, 0)).all(-1)


def test_a_photo_keeps_its_shape_above_its_caption():
    drawn = np.asarray(draw_caption(RED, "a red photo"))
    assert drawn.shape[1] == PICTURE_WIDTH
    red = is_red(drawn)
    assert red[:480].all() and not red[480:].any() and (drawn[480:] < 128).any()


def test_caption_and_reference_stand_beside_the_photo():
    drawn = np.asarray(draw_beside(RED, "a red photo " * 5, "nothing but red " * 5))
    half = PICTURE_WIDTH // 2
    assert drawn.shape == (half, PICTURE_WIDTH, 3)
    assert is_red(drawn[:, :half]).all() and not is_red(drawn[:, half:]).any()
    dark = (drawn[:, half:] < 200).any((1, 2))  # rows with text: lines of the caption, a wider gap, of the reference
    assert dark.any() and not dark[-10:].all()
