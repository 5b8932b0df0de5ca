"""Augmented views of a training photo: a few that are stored as features, or a random one in each epoch.

Each epoch shows another view of a photo, so that a captioner does not memorise the photos. Stored views are the
original, then random crops, every second one mirrored. A random view is a crop, mirrored with probability 1/2.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

MIN_CROP = 0.75  # smallest height and width of a crop, as a share of the photo's
_BITS = 15  # of a hash, for each random number of a crop


def is_mirrored(views: Any) -> Any:
    """Whether stored views are mirrored: int, or int tensor of any shape -> bool."""
    return views % 2 == 1


def views_in_turn(shards: int, *, epoch: tf.Tensor, views: int) -> tf.Tensor:
    """The stored view that each shard shows in an epoch: all photos of a shard the same, so that it is read alone.

    The shards take turns. An epoch shows each view of equally many shards, as far as their number allows it; in as many
    epochs as there are views, each photo shows all of its views.

    Args:
        shards: their number.
        epoch: () int64.
        views: of each photo.

    Returns:
        (shards,) int64.
    """
    return (tf.range(shards, dtype=tf.int64) + epoch) % views


def _box(tall: Any, wide: Any, down: Any, across: Any) -> tuple[Any, Any, Any, Any]:
    """The crop that four random numbers from 0 to 1 choose: top, left, bottom and right as shares of the photo."""
    height, width = (MIN_CROP + (1 - MIN_CROP) * share for share in (tall, wide))
    top, left = down * (1 - height), across * (1 - width)
    return top, left, top + height, left + width


def view_box(photo_id: str, view: int) -> tuple[float, float, float, float]:
    """The crop of a stored view after the first, from a hash of the photo id and the view.

    Returns:
        Top, left, bottom and right as shares of height and width, as `tf.image.crop_and_resize` takes them. If the
        view is mirrored, left is greater than right.
    """
    digest = hashlib.blake2b(f"{view}/{photo_id}".encode(), digest_size=8).digest()
    top, left, bottom, right = _box(*(int.from_bytes(digest[at : at + 2], "big") / 65_535 for at in range(0, 8, 2)))
    return (top, right, bottom, left) if is_mirrored(view) else (top, left, bottom, right)


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


class RandomViews(NamedTuple):
    """One random view of each of some photos."""

    windows: tf.Tensor  # (photos, 4) int32: top, left, height and width of the crop in pixels
    mirrored: tf.Tensor  # (photos,) bool


def random_views(photo_ids: tf.Tensor, *, seed: int, epoch: tf.Tensor, size: tuple[int, int]) -> RandomViews:
    """Views that depend on nothing but the seed, the epoch and each photo's id.

    The crops are distributed as those of stored views, in whole pixels.

    Args:
        photo_ids: (photos,) string.
        seed: of the run.
        epoch: () int64.
        size: height and width of the photos.
    """
    salted = tf.strings.join(["augment", str(seed), tf.strings.as_string(epoch), photo_ids], separator="/")
    hashes = tf.strings.to_hash_bucket_fast(salted, 1 << (4 * _BITS + 1))
    parts = [tf.bitwise.right_shift(hashes, tf.constant(_BITS * index, tf.int64)) for index in range(5)]
    shares = [tf.cast(part % (1 << _BITS), tf.float32) / ((1 << _BITS) - 1) for part in parts[:4]]
    top, left, bottom, right = _box(*shares)

    def whole(start: tf.Tensor, end: tf.Tensor, pixels: int) -> tuple[tf.Tensor, tf.Tensor]:
        length = tf.round((end - start) * pixels)
        return tf.minimum(tf.round(start * pixels), pixels - length), length

    (top, height), (left, width) = whole(top, bottom, size[0]), whole(left, right, size[1])
    return RandomViews(tf.cast(tf.stack([top, left, height, width], 1), tf.int32), parts[4] == 1)


def crop_image(image: tf.Tensor, window: tf.Tensor, mirrored: tf.Tensor) -> tf.Tensor:
    """Crop one image to whole pixels, mirror it, and resize it to its former size.

    With decoding it takes a third less time than `crop_images`, whose boxes may end between pixels.

    Args:
        image: (height, width, 3) uint8.
        window: (4,) int32, as in `RandomViews`.
        mirrored: () bool.

    Returns:
        (height, width, 3) uint8.
    """
    top, left, height, width = tf.unstack(window)
    crop = tf.slice(image, [top, left, 0], [height, width, 3])
    crop = tf.cond(mirrored, lambda: tf.reverse(crop, [1]), lambda: crop)
    return tf.cast(tf.image.resize(crop, image.shape[:2]) + 0.5, tf.uint8)  # a cast drops the fraction


def swap_left_right(tokens: tf.Tensor, mirrored: tf.Tensor, left_right: Sequence[int]) -> tf.Tensor:
    """Swap "left" and "right" in the captions of mirrored photos.

    The words alone decide, so "is left" and "all right" change as well: one caption in a thousand of Flickr8k.

    Args:
        tokens: (rows, captions, time) int32.
        mirrored: (rows,) bool, of each row's photo.
        left_right: as `vocabulary.left_right_tokens` gives them.

    Returns:
        (rows, captions, time) int32.
    """
    if not left_right:
        return tokens
    left, right = left_right
    swapped = tf.where(tokens == left, right, tf.where(tokens == right, left, tokens))
    return tf.where(mirrored[:, None, None], swapped, tokens)
