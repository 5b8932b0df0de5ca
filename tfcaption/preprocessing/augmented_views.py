"""Views of a training photo: the photo itself, then crops of it, every other one mirrored.

A captioner that sees another view in another epoch learns what photos show instead of the photos.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

SMALLEST_SIDE = 0.75  # of a crop, as a share of the photo's
LEFT_RIGHT = ("left", "right")  # words that change places where a photo is mirrored


def mirrored(views: Any) -> Any:
    """Whether views show their photos mirrored: int, or a tensor of them, -> bool."""
    return views % 2 == 1


def view_box(photo_id: str, view: int) -> tuple[float, float, float, float]:
    """What a view after the first shows of its photo, from a hash of both.

    Returns:
        Top, left, bottom and right as shares of the photo's sides, as `tf.image.crop_and_resize` takes them: left is
        greater than right where the view is mirrored.
    """
    digest = hashlib.blake2b(f"{view}/{photo_id}".encode(), digest_size=8).digest()
    tall, wide, down, across = (int.from_bytes(digest[at : at + 2], "big") / 65_535 for at in range(0, 8, 2))
    height, width = (SMALLEST_SIDE + (1 - SMALLEST_SIDE) * share for share in (tall, wide))
    top, left = down * (1 - height), across * (1 - width)
    if mirrored(view):
        return top, left + width, top + height, left
    return top, left, top + height, left + width


def cropped(images: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
    """What boxes show, as large as the photos: (photos, size, size, 3) uint8, (photos, 4) float32 -> as the images."""
    shown = tf.image.crop_and_resize(
        tf.cast(images, tf.float32), boxes, tf.range(tf.shape(images)[0]), images.shape[1:3]
    )
    return tf.cast(tf.round(shown), tf.uint8)


def left_right_tokens(words: Sequence[str]) -> list[int]:
    """The tokens of `SIDES` in a vocabulary; none if it lacks one of them."""
    return [words.index(side) for side in LEFT_RIGHT] if set(LEFT_RIGHT) <= set(words) else []


def swap_left_right(tokens: tf.Tensor, views: tf.Tensor, sides: Sequence[int]) -> tf.Tensor:
    """Captions as they are said of their photos' views: left is right in a mirrored one.

    The words alone decide, so what "is left" or "all right" changes too; in Flickr8k that is one caption of a thousand.

    Args:
        tokens: (rows, captions, time) int32.
        views: (rows,) int, the view of each row's photo.
        sides: as `side_tokens` gives them.
    """
    if not sides:
        return tokens
    left, right = sides
    other = tf.where(tokens == left, right, tf.where(tokens == right, left, tokens))
    return tf.where(mirrored(views)[:, None, None], other, tokens)
