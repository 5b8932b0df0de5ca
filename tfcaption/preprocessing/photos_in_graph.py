"""`photos.prepare_photo` as TensorFlow operations, for a model that takes the bytes of photo files.

A file gives the pixels that Pillow gives, or none. TensorFlow decodes many files to other pixels without an error, so
the header must show a kind that both read alike:

- JPEG: grey or colour; CMYK only with Adobe's marker and without a colour profile, which Pillow applies.
- PNG: without EXIF data in a text chunk or compressed XMP; a transparent colour only with a palette or 8 bits.
- GIF: the first picture, if it fills the canvas and has no transparent colour.
- BMP: 24 or 32 bits, neither compressed nor with colour masks.

Orientations are undone where EXIF or XMP states them. A photo of another size is resized and encoded once more, as
records are, so that the model gets the pixels that it was trained on.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tfcaption.preprocessing.photos import JPEG_QUALITY, MAX_BYTES, MAX_PIXELS, MAX_SCANS

_EXIF_BYTES = 1 << 16
_ORIENTATION_TAG = 0x0112
_MAX_BLOCKS = 1000  # of a header; bounds the time that reading it takes
# Decoders, as `_decode` counts them; a JPEG's is scaled down by 1, 2, 4 or 8.
_NONE, _JPEG, _PNG, _PNG_WITH_COLOUR, _GIF, _BMP = 0, 1, 5, 6, 7, 8


class Header(NamedTuple):
    """What the header of a file says."""

    decoder: tf.Tensor  # () int32; `_NONE` for what is not read
    orientation: tf.Tensor  # () int32, from 1 (upright) to 8
    prepared: tf.Tensor  # () bool: `photos.prepare_photo` returns the file unchanged


def decode_jpeg(jpeg: tf.Tensor) -> tf.Tensor:
    """Pixels of one prepared photo: () string -> (size, size, 3) uint8.

    Uses the accurate inverse DCT, since TensorFlow's default depends on the platform.
    """
    return _decode_jpeg(jpeg, ratio=1)


def _decode_jpeg(jpeg: tf.Tensor, ratio: int) -> tf.Tensor:
    return tf.io.decode_jpeg(jpeg, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")


def prepare_photos(data: tf.Tensor, *, image_size: int, resize: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode and resize a batch of photo files, some of which may be damaged.

    Args:
        data: (batch,) string, the files' contents.
        image_size: side of the result in pixels.
        resize: as in `photos.prepare_photo`.

    Returns:
        (batch, image_size, image_size, 3) uint8, black for files that are not read, and (batch,) bool, True for files
        that are.
    """
    shape = (image_size, image_size, 3)
    signature = Header(
        tf.TensorSpec((), tf.int32),
        tf.TensorSpec((), tf.int32),
        tf.TensorSpec((), tf.bool),
    )
    headers = tf.map_fn(lambda content: read_header(content, image_size), data, fn_output_signature=signature)

    @tf.autograph.experimental.do_not_convert  # which takes longer than all the rest of tracing
    def prepare(index: tf.Tensor, photo: tuple[tf.Tensor, Header]) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = _prepare(photo[0], Header(*photo[1]), image_size, resize)
        return index, tf.ensure_shape(pixels, shape)

    # Every call sets the dataset up anew, which takes longer than to prepare a photo, and grows with the operations of
    # `prepare`: so headers are read outside it. A third of the time is to optimise it.
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    # In a graph, only a tf.data.Dataset can continue after an error.
    prepared = (
        tf.data.Dataset.from_tensor_slices((data, headers))
        .enumerate()
        .map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
        .ignore_errors()
        .with_options(options)
    )

    @tf.autograph.experimental.do_not_convert
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
        tf.errors.InvalidArgumentError: (when run) the bytes are damaged, or not a photo of a kind that is read.
    """
    return _prepare(data, read_header(data, image_size), image_size, resize)


def _prepare(data: tf.Tensor, header: Header, image_size: int, resize: str) -> tf.Tensor:
    image = _decode(data, header.decoder)

    def resized() -> tf.Tensor:
        pixels = _resize(tf.cast(_turn_upright(image, header.orientation), tf.float32), image_size, resize)
        return decode_jpeg(tf.io.encode_jpeg(tf.cast(pixels, tf.uint8), quality=JPEG_QUALITY))  # as in records

    return tf.cond(header.prepared, lambda: image, resized)


def _decode(data: tf.Tensor, decoder: tf.Tensor) -> tf.Tensor:
    """() string -> (height, width, 3) uint8, on white."""

    def refuse() -> tf.Tensor:
        with tf.control_dependencies([tf.debugging.Assert(False, ["not a kind of photo that is read"])]):
            return tf.zeros((1, 1, 3), tf.uint8)

    # Without `channels`, TensorFlow ignores a transparent colour of a PNG; with it, grey below 8 bits becomes black.
    return tf.switch_case(
        decoder,
        [
            refuse,
            *(lambda ratio=ratio: _decode_jpeg(data, ratio) for ratio in (1, 2, 4, 8)),
            lambda: _on_white(tf.io.decode_png(data, channels=0)),
            lambda: _on_white(tf.io.decode_png(data, channels=4)),
            lambda: tf.io.decode_image(data, channels=3, expand_animations=False),
            lambda: tf.io.decode_bmp(data)[..., :3],  # the fourth byte of a pixel is not used
        ],
    )


def read_header(data: tf.Tensor, image_size: int) -> Header:
    """Choose how to decode a file, by its header alone; no bytes raise an error.

    Args:
        data: () string, the file's content.
        image_size: side of the prepared photo in pixels; a large JPEG is scaled down by a power of two.
    """
    padded = tf.strings.join([data, bytes(64)])  # so that reading past the end gives zeros
    header: Header = tf.case(
        [
            (_starts_with(padded, b"\xff\xd8\xff"), lambda: _jpeg_header(padded, image_size)),
            (_starts_with(padded, b"\x89PNG\r\n\x1a\n"), lambda: _png_header(padded)),
            (_starts_with(padded, b"GIF87a") | _starts_with(padded, b"GIF89a"), lambda: _gif_header(padded)),
            (_starts_with(padded, b"BM"), lambda: _bmp_header(padded)),
        ],
        default=lambda: Header(tf.constant(_NONE), tf.constant(1), tf.constant(False)),
    )
    is_read = (tf.strings.length(data) <= MAX_BYTES) & (header.orientation > 0)
    return header._replace(decoder=tf.where(is_read, header.decoder, _NONE))


def _jpeg_header(data: tf.Tensor, image_size: int) -> Header:
    def is_segment(position: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        marker = _number(data, position, 2, big_endian=True)
        return (marker > 0xFF00) & (marker != 0xFFDA)  # which begins the first scan

    def skip(position: tf.Tensor, metadata: tf.Tensor, frame: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        marker = _number(data, position, 2, big_endian=True)
        length = tf.where(marker == 0xFFFF, 1, 2 + _number(data, position + 2, 2, big_endian=True))  # 0xFF may fill
        has_metadata = tf.reduce_any(marker == [0xFFE1, 0xFFE2, 0xFFEE])  # EXIF and XMP, colour profile, Adobe
        segment = tf.where(has_metadata, tf.strings.substr(data, _inside(data, position), length), b"")
        is_frame = (marker >= 0xFFC0) & (marker <= 0xFFCF) & tf.reduce_all(marker != [0xFFC4, 0xFFC8, 0xFFCC])
        return position + length, tf.strings.join([metadata, segment]), tf.where(is_frame, position, frame)

    start = (tf.constant(2), tf.constant(b""), tf.constant(0))
    end, metadata, frame = tf.while_loop(is_segment, skip, start, maximum_iterations=_MAX_BLOCKS)
    height, width = (_number(data, frame + at, 2, big_endian=True) for at in (5, 7))
    channels = _number(data, frame + 9, 1)
    scans = tf.size(tf.strings.split(data, b"\xff\xda")) - 1
    alike = (frame > 0) & (_number(data, end, 2, big_endian=True) == 0xFFDA) & (scans <= MAX_SCANS)
    # Pillow takes all CMYK for inverted, as Adobe writes it; TensorFlow goes by the marker.
    alike &= (channels < 4) | (_contains(metadata, b"\xff\xee\0\x0eAdobe") & ~_contains(metadata, b"ICC_PROFILE\0"))
    shortest = tf.minimum(height, width)
    scale = tf.where(shortest >= 4 * image_size, shortest // (2 * image_size), 1)
    ratio = tf.searchsorted([2, 4, 8], scale[None], side="right")[0]
    orientation = stated_orientation(metadata, b"Exif\0\0")
    is_baseline = _number(data, frame + 1, 1) <= 0xC1
    is_square = (height == image_size) & (width == image_size)
    prepared = is_baseline & (channels == 3) & is_square & (orientation == 1)
    return Header(_if(alike & _may_decode(width, height), _JPEG + ratio), orientation, prepared)


def _png_header(data: tf.Tensor) -> Header:
    width, height = (_number(data, position, 4, big_endian=True) for position in (16, 20))
    bits, kind = _number(data, 24, 1), _number(data, 25, 1)
    has_colour = _contains(tf.strings.split(data, b"IDAT", maxsplit=1)[0], b"tRNS")  # a transparent one, or alpha
    hidden_exif = _contains(data, b"Raw profile type exif") | _contains(data, b"XML:com.adobe.xmp\0\1")
    alike = ~hidden_exif & (~has_colour | (bits == 8) | (kind == 3))  # Pillow does not scale the colour to 8 bits
    decoder = tf.where(has_colour, _PNG_WITH_COLOUR, _PNG)
    orientation = stated_orientation(data, b"eXIf")
    return Header(_if(alike & _may_decode(width, height), decoder), orientation, tf.constant(False))


def _gif_header(data: tf.Tensor) -> Header:
    """Read a GIF up to its first picture, by "Graphics Interchange Format, Version 89a" (CompuServe 1990)."""
    flags = _number(data, 10, 1)
    palette = tf.where(flags >= 128, tf.bitwise.left_shift(6, flags % 8), 0)  # bytes

    def is_extension(position: tf.Tensor, inside: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return inside | (_number(data, position, 1) == ord("!"))

    def skip(position: tf.Tensor, inside: tf.Tensor, transparent: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Inside an extension: one block of it, of which an empty one is the last; else its introducer and label."""
        length = _number(data, position, 1)
        is_control = ~inside & (_number(data, position, 2) == 0xF921)
        has_colour = is_control & (_number(data, position + 3, 1) % 2 == 1)
        return position + tf.where(inside, 1 + length, 2), ~inside | (length > 0), transparent | has_colour

    start = (13 + palette, tf.constant(False), tf.constant(False))
    position, inside, transparent = tf.while_loop(is_extension, skip, start, maximum_iterations=_MAX_BLOCKS)
    width, height = _number(data, 6, 2), _number(data, 8, 2)
    place = tf.stack([_number(data, position + at, 2) for at in (1, 3, 5, 7)])
    is_picture = ~inside & (_number(data, position, 1) == ord(","))
    alike = is_picture & ~transparent & tf.reduce_all(place == tf.stack([0, 0, width, height]))
    return Header(_if(alike & _may_decode(width, height), _GIF), tf.constant(1), tf.constant(False))


def _bmp_header(data: tf.Tensor) -> Header:
    first, size = _number(data, 10, 4), _number(data, 14, 4)
    width, height, bits, compression = (_number(data, *field) for field in ((18, 4), (22, 4), (28, 2), (30, 4)))
    alike = tf.reduce_any(size == [40, 52, 56, 64, 108, 124]) & (first >= 14 + size)
    alike &= ((bits == 24) | (bits == 32)) & (compression == 0)
    return Header(_if(alike & _may_decode(width, height), _BMP), tf.constant(1), tf.constant(False))


def _if(is_read: tf.Tensor, decoder: tf.Tensor | int) -> tf.Tensor:
    return tf.where(is_read, decoder, _NONE)


def _may_decode(width: tf.Tensor, height: tf.Tensor) -> tf.Tensor:
    """Whether the photo is small enough; a negative height means that its rows begin at the top."""
    return tf.abs(tf.cast(width, tf.int64) * tf.cast(height, tf.int64)) <= MAX_PIXELS


def _starts_with(data: tf.Tensor, mark: bytes) -> tf.Tensor:
    return tf.strings.substr(data, 0, len(mark)) == mark


def _behind(data: tf.Tensor, mark: bytes) -> tuple[tf.Tensor, tf.Tensor]:
    """Whether `data`, () string, contains a mark, and what lies behind the first one; "" if there is none."""
    parts = tf.strings.split(data, mark, maxsplit=1)
    return tf.size(parts) > 1, tf.concat([parts, [b""]], 0)[1]


def _contains(data: tf.Tensor, mark: bytes) -> tf.Tensor:
    return _behind(data, mark)[0]


def _inside(data: tf.Tensor, position: tf.Tensor | int) -> tf.Tensor:
    return tf.clip_by_value(position, 0, tf.strings.length(data) - 4)


def _number(data: tf.Tensor, position: tf.Tensor | int, length: int, *, big_endian: bool = False) -> tf.Tensor:
    """The number of 1, 2 or 4 bytes at a position of padded data, () int32."""
    content = tf.cast(tf.io.decode_raw(tf.strings.substr(data, _inside(data, position), length), tf.uint8), tf.int32)
    powers = [256**power for power in range(length)]
    return tf.reduce_sum(content * (powers[::-1] if big_endian else powers))


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
            tf.cast(tf.round(tf.cast(length, tf.float64) * image_size / longest), tf.int32)
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


def stated_orientation(metadata: tf.Tensor, mark: bytes) -> tf.Tensor:
    """The orientation that EXIF data or else XMP data states, () int32 from 1 (upright) to 8; 1 if there is none.

    0 if there is EXIF data without a TIFF header.

    Reference: CIPA DC-008 (Exif 2.32), 4.5 and 4.6: a TIFF header, then a directory of entries of 12 bytes.

    Args:
        metadata: () string, the part of a file that holds it.
        mark: the bytes before the TIFF header.
    """
    has_exif, behind = _behind(metadata, mark)
    tiff = tf.strings.substr(behind, 0, _EXIF_BYTES)
    little_endian = _starts_with(tiff, b"II*\0")
    content = tf.cast(tf.io.decode_raw(tiff, tf.uint8), tf.int32)
    content = tf.pad(content, [[0, 64]])  # so that reading past the end gives zeros

    def number(positions: tf.Tensor, length: int) -> tf.Tensor:
        """Unsigned numbers of 2 or 4 bytes at some positions, in the file's byte order."""
        indices = tf.clip_by_value(positions[:, None] + tf.range(length), 0, tf.size(content) - 1)
        weights = [256**power for power in range(length)]
        return tf.reduce_sum(tf.gather(content, indices) * tf.where(little_endian, weights, weights[::-1]), 1)

    directory = tf.clip_by_value(number(tf.constant([4]), 4)[0], 0, _EXIF_BYTES)
    entries = directory + 2 + 12 * tf.range(number(directory[None], 2)[0])
    is_orientation = number(entries, 2) == _ORIENTATION_TAG
    is_long = number(entries + 2, 2) == 4
    values = tf.where(is_long, number(entries + 8, 4), number(entries + 8, 2))
    stated = tf.reduce_max(tf.concat([tf.where(is_orientation, values, 0), [0]], 0))
    orientation = tf.where(tf.reduce_any(is_orientation), stated, _xmp_orientation(metadata))
    is_readable = ~has_exif | little_endian | _starts_with(tiff, b"MM\0*")
    return tf.where(is_readable, tf.where((orientation >= 1) & (orientation <= 8), orientation, 1), 0)


def _xmp_orientation(metadata: tf.Tensor) -> tf.Tensor:
    """What `tiff:Orientation="6"` or `<tiff:Orientation>6` says, () int32; 0 for none."""
    _, behind = _behind(metadata, b"tiff:Orientation")
    value = tf.strings.regex_replace(tf.strings.substr(behind, 0, 3), '^(?:="|>)([0-9])\\C*$', r"\1")
    return tf.strings.to_number(tf.where(tf.strings.regex_full_match(value, "[0-9]"), value, "0"), tf.int32)
