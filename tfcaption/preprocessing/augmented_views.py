"""Augmented views of a training photo: the original, then random crops, every second one mirrored.

Each epoch shows another view of a photo, so that a captioner does not memorise the photos.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

MIN_CROP = 0.75  # smallest height and width of a crop, as a share of the photo's
LEFT_RIGHT = ("left", "right")  # words that are swapped in the captions of a mirrored view


def is_mirrored(views: Any) -> Any:
    """Whether views are mirrored: int, or int tensor of any shape -> bool."""
    return views % 2 == 1


def view_box(photo_id: str, view: int) -> tuple[float, float, float, float]:
    """The crop of a view after the first, from a hash of the photo id and the view.

    Returns:
        Top, left, bottom and right as shares of height and width, as `tf.image.crop_and_resize` takes them. If the
        view is mirrored, left is greater than right.
    """
    digest = hashlib.blake2b(f"{view}/{photo_id}".encode(), digest_size=8).digest()
    tall, wide, down, across = (int.from_bytes(digest[at : at + 2], "big") / 65_535 for at in range(0, 8, 2))
    height, width = (MIN_CROP + (1 - MIN_CROP) * share for share in (tall, wide))
    top, left = down * (1 - height), across * (1 - width)
    if is_mirrored(view):
        return top, left + width, top + height, left
    return top, left, top + height, left + width


def crop_images(images: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
    """Crop each image to its box and resize it to its former size.

    Args:
        images: (photos, size, size, 3) uint8.
        boxes: (photos, 4) float32, as `view_box` gives them.

    Returns:
        (photos, size, size, 3) uint8.
    """
    crops = tf.image.crop_and_resize(
        tf.cast(images, tf.float32), boxes, tf.range(tf.shape(images)[0]), images.shape[1:3]
    )
    return tf.cast(tf.round(crops), tf.uint8)


def left_right_tokens(words: Sequence[str]) -> list[int]:
    """Token ids of "left" and "right" in a vocabulary; empty if it lacks one of them."""
    return [words.index(word) for word in LEFT_RIGHT] if set(LEFT_RIGHT) <= set(words) else []


def swap_left_right(tokens: tf.Tensor, views: tf.Tensor, left_right: Sequence[int]) -> tf.Tensor:
    """Swap "left" and "right" in the captions of mirrored views.

    The words alone decide, so "is left" and "all right" change as well: one caption in a thousand of Flickr8k.

    Args:
        tokens: (rows, captions, time) int32.
        views: (rows,) int, the view of each row's photo.
        left_right: as `left_right_tokens` gives them.

    Returns:
        (rows, captions, time) int32.
    """
    if not left_right:
        return tokens
    left, right = left_right
    swapped = tf.where(tokens == left, right, tf.where(tokens == right, left, tokens))
    return tf.where(is_mirrored(views)[:, None, None], swapped, tokens)
