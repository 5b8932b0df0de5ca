"""`photos.prepare_photo` as TensorFlow operations, for a model that takes the bytes of photo files.

Decodes JPEG, PNG, GIF (its first frame) and BMP. A photo of another size is resized and encoded once more, as records
are, so that the model gets the pixels that it was trained on.
"""

from collections.abc import Sequence

import tensorflow as tf

from tfcaption.preprocessing.photos import JPEG_QUALITY, MAX_PIXELS

_EXIF_BYTES = 1 << 16
_ORIENTATION_TAG = 0x0112


def decode_jpeg(jpeg: tf.Tensor) -> tf.Tensor:
    """Pixels of one prepared photo: () string -> (size, size, 3) uint8.

    Uses the accurate inverse DCT, since TensorFlow's default depends on the platform.
    """
    return tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE")


def prepare_photos(data: tf.Tensor, *, image_size: int, resize: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode and resize a batch of photo files, some of which may be damaged.

    Args:
        data: (batch,) string, the files' contents.
        image_size: side of the result in pixels.
        resize: as in `photos.prepare_photo`.

    Returns:
        (batch, image_size, image_size, 3) uint8, black for files that cannot be decoded, and (batch,) bool, True for
        files that can.
    """
    shape = (image_size, image_size, 3)

    def prepare(index: tf.Tensor, content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return index, tf.ensure_shape(prepare_photo(content, image_size=image_size, resize=resize), shape)

    # Every call sets the dataset up anew, which takes longer than to prepare a photo; a third of it is to optimise it.
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    # In a graph, only a tf.data.Dataset can continue after an error.
    prepared = (
        tf.data.Dataset.from_tensor_slices(data)
        .enumerate()
        .map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
        .ignore_errors()
        .with_options(options)
    )

    def put(state: tuple[tf.Tensor, tf.Tensor], photo: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        images, decoded = state
        index = photo[0][None, None]
        return (
            tf.tensor_scatter_nd_update(images, index, photo[1][None]),
            tf.tensor_scatter_nd_update(decoded, index, [True]),
        )

    batch = tf.size(data)
    return prepared.reduce((tf.zeros((batch, *shape), tf.uint8), tf.fill((batch,), False)), put)


def prepare_photo(data: tf.Tensor, *, image_size: int, resize: str) -> tf.Tensor:
    """One photo: () string -> (image_size, image_size, 3) uint8.

    Raises:
        tf.errors.InvalidArgumentError: (when run) the bytes cannot be decoded.
    """
    jpeg = tf.io.is_jpeg(data)
    with tf.control_dependencies([_check_size(data, jpeg)]):
        image = tf.cond(
            jpeg,
            lambda: _decode_jpeg(data, image_size),
            lambda: _on_white(tf.io.decode_image(data, expand_animations=False)),
        )
    orientation = tf.cond(jpeg, lambda: exif_orientation(data), lambda: 1)
    kept = jpeg & (orientation == 1) & tf.reduce_all(tf.shape(image) == tf.constant([image_size, image_size, 3]))

    def resized() -> tf.Tensor:
        pixels = _resize(tf.cast(_turn_upright(image, orientation), tf.float32), image_size, resize)
        encoded = tf.io.encode_jpeg(tf.cast(pixels, tf.uint8), quality=JPEG_QUALITY)  # as in records
        return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")

    return tf.cond(kept, lambda: image, resized)


def _decode_jpeg(data: tf.Tensor, image_size: int) -> tf.Tensor:
    """Decode a JPEG; scales a large one down by a power of two, as `photos.prepare_photo` does."""
    shortest = tf.reduce_min(tf.io.extract_jpeg_shape(data)[:2])
    scale = tf.where(shortest >= 4 * image_size, shortest // (2 * image_size), 1)

    def decode(ratio: int) -> tf.Tensor:
        return tf.io.decode_jpeg(data, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")

    return tf.switch_case(
        tf.searchsorted([2, 4, 8], scale[None], side="right")[0], [lambda r=r: decode(r) for r in (1, 2, 4, 8)]
    )


def _check_size(data: tf.Tensor, jpeg: tf.Tensor) -> tf.Operation:
    """Reject a photo whose header states too many pixels, before it is decoded."""

    def png_pixels() -> tf.Tensor:  # width and height are the first two numbers of the header, big-endian
        header = tf.io.decode_raw(tf.strings.substr(data, 16, 8), tf.uint8)
        header = tf.cond(tf.size(header) == 8, lambda: header, lambda: tf.zeros((8,), tf.uint8))
        sides = tf.reduce_sum(tf.cast(tf.reshape(header, (2, 4)), tf.int64) * [1 << 24, 1 << 16, 1 << 8, 1], 1)
        return tf.reduce_prod(sides)

    png = tf.strings.substr(data, 0, 4) == b"\x89PNG"
    pixels = tf.case(
        [
            (jpeg, lambda: tf.reduce_prod(tf.cast(tf.io.extract_jpeg_shape(data)[:2], tf.int64))),
            (png, png_pixels),
        ],
        default=lambda: tf.constant(0, tf.int64),
    )
    return tf.debugging.assert_less_equal(pixels, tf.constant(MAX_PIXELS, tf.int64), "decompression bomb")


def _on_white(image: tf.Tensor) -> tf.Tensor:
    """Grey or RGB with or without alpha, (height, width, 1 to 4) uint8 -> RGB on white, (height, width, 3) uint8."""
    channels = tf.shape(image)[2]
    transparent = tf.math.floormod(channels, 2) == 0
    pixels = tf.cast(image, tf.float32)

    def blended() -> tf.Tensor:
        alpha = pixels[..., -1:] / 255
        return tf.round(pixels[..., :-1] * alpha + 255 * (1 - alpha))

    colours = tf.cond(transparent, blended, lambda: pixels)
    rgb = tf.cond(tf.shape(colours)[2] == 1, lambda: tf.repeat(colours, 3, axis=2), lambda: colours)
    return tf.cast(tf.ensure_shape(rgb, (None, None, 3)), tf.uint8)


def _resize(pixels: tf.Tensor, image_size: int, resize: str) -> tf.Tensor:
    height, width = tf.unstack(tf.shape(pixels)[:2])
    if resize == "crop":  # the central square; at its edges the filter reads pixels outside it
        side = tf.minimum(height, width)
        return _bilinear(pixels, (image_size, image_size), (side, side))
    if resize == "pad":
        longest = tf.cast(tf.maximum(height, width), tf.float64)
        inner = [
            tf.maximum(tf.cast(tf.round(tf.cast(length, tf.float64) * image_size / longest), tf.int32), 1)
            for length in (height, width)
        ]
        pixels = _bilinear(pixels, inner, (height, width))
        top, left = (tf.cast(tf.round((image_size - tf.cast(length, tf.float32)) / 2), tf.int32) for length in inner)
        return tf.image.pad_to_bounding_box(pixels, top, left, image_size, image_size)
    return _bilinear(pixels, (image_size, image_size), (height, width))


def _bilinear(pixels: tf.Tensor, size: Sequence[tf.Tensor | int], middle: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Pillow's bilinear filter: columns, then rows, each rounded to integers, since half a level changes some captions.

    Args:
        pixels: (height, width, 3) float32.
        size: height and width of the result.
        middle: height and width of the central part that becomes the result.
    """
    for axis in (1, 0):
        full_size = tf.shape(pixels)[:2]
        scale = tf.cast(size[axis], tf.float32) / tf.cast(middle[axis], tf.float32)
        start = tf.cast(full_size[axis] - middle[axis], tf.float32) / 2
        is_axis = tf.one_hot(axis, 2, on_value=True, off_value=False)
        scaled = tf.raw_ops.ScaleAndTranslate(
            images=pixels[None],
            size=tf.where(is_axis, size[axis], full_size),
            scale=tf.where(is_axis, scale, 1.0),
            translation=tf.where(is_axis, -start * scale, 0.0),
            kernel_type="triangle",
            antialias=True,
        )[0]
        pixels = tf.floor(tf.clip_by_value(scaled, 0, 255) + 0.5)
    return pixels


def _turn_upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Undo an EXIF orientation, 1 to 8: mirrored where 2, 4, 5, 7; transposed from 5 on."""
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    upside_down = (orientation == 3) | (orientation == 4) | (orientation == 7) | (orientation == 8)
    mirrored = (orientation == 2) | (orientation == 3) | (orientation == 6) | (orientation == 7)
    image = tf.cond(upside_down, lambda: tf.reverse(image, [0]), lambda: image)
    return tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)


def exif_orientation(jpeg: tf.Tensor) -> tf.Tensor:
    """The orientation in a JPEG's EXIF header, () int32 from 1 (upright) to 8; 1 if there is none.

    Reference: CIPA DC-008 (Exif 2.32), 4.5 and 4.6: a TIFF header, then a directory of entries of 12 bytes.
    """
    content = tf.cast(tf.io.decode_raw(tf.strings.substr(jpeg, 0, _EXIF_BYTES), tf.uint8), tf.int32)
    content = tf.pad(content, [[0, 64]])  # so that reading past the end gives zeros
    mark = tf.constant(list(b"Exif\0\0"))
    windows = tf.stack([content[offset : tf.size(content) - 6 + offset] for offset in range(6)], 1)
    found = tf.reduce_all(windows == mark, 1)
    start = tf.cast(tf.argmax(found), tf.int32) + 6

    def number(positions: tf.Tensor, length: int) -> tf.Tensor:
        """Unsigned numbers of 2 or 4 bytes at some positions, in the file's byte order."""
        indices = tf.clip_by_value(positions[:, None] + tf.range(length), 0, tf.size(content) - 1)
        weights = [256**power for power in range(length)]
        little_endian = content[start] == ord("I")
        return tf.reduce_sum(tf.gather(content, indices) * tf.where(little_endian, weights, weights[::-1]), 1)

    directory = start + tf.clip_by_value(number(start[None] + 4, 4)[0], 0, _EXIF_BYTES)
    entries = directory + 2 + 12 * tf.range(number(directory[None], 2)[0])
    is_orientation = tf.reduce_any(found) & (number(entries, 2) == _ORIENTATION_TAG)
    values = tf.where(is_orientation, number(entries + 8, 2), 0)
    orientation = tf.reduce_max(tf.concat([values, [0]], 0))
    return tf.where((orientation >= 1) & (orientation <= 8), orientation, 1)
