"""Photos prepared in the graph, compared with `photos.prepare_photo` by Pillow."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.support.photo_kinds import encoded, files, picture
from tfcaption.preprocessing import photos
from tfcaption.preprocessing.photos_in_graph import prepare_photo, prepare_photos, stated_orientation

FILES = files()
# What TensorFlow would decode to another picture than Pillow, or cannot decode.
REFUSED = {
    *("jpeg of 12 bits", "jpeg of many scans", "cmyk jpeg without adobe's marker", "cmyk jpeg with a colour profile"),
    *("png with a raw exif profile", "png with a compressed raw exif profile"),
    "grey png of 1 bit with a transparent colour",
    *("png with an orientation in compressed xmp", "grey png of 4 bits with a transparent colour"),
    *("grey png of 16 bits with a transparent colour", "png of 16 bits with a transparent colour"),
    *("gif with a transparent colour", "animated gif with disposal", "gif without a palette", "gif with an offset"),
    *("gif with a picture that is larger", "gif with a picture that is smaller"),
    *(
        "bmp of 1 bit",
        "bmp of 4 bits",
        "grey bmp",
        "palette bmp",
        "run-length bmp",
        "bmp of 24 bits with a short header",
    ),
    *("bmp of 16 bits", "bmp of 16 bits with masks", "bmp of 32 bits with masks", "transparent bmp with masks"),
    *("webp", "tiff", "avif"),
}


def by_pillow(data, size, resize):
    try:
        return np.asarray(Image.open(io.BytesIO(photos.prepare_photo(data, image_size=size, resize=resize))))
    except photos.PhotoError:
        return None


def difference(data, size=32, resize="squash"):
    ours = prepare_photo(tf.constant(data), image_size=size, resize=resize).numpy().astype(float)
    return np.abs(ours - by_pillow(data, size, resize)).mean()


@pytest.mark.parametrize("resize", photos.RESIZE_MODES)
def test_a_file_of_any_kind_gives_the_pixels_that_pillow_gives_or_none(resize):
    prepared = tf.function(lambda data: prepare_photos(data, image_size=32, resize=resize), autograph=False)
    images, read = prepared(tf.constant(list(FILES.values())))
    differences = {}
    for name, image, is_read in zip(FILES, images.numpy().astype(float), read.numpy(), strict=True):
        if is_read:
            expected = by_pillow(FILES[name], 32, resize)
            differences[name] = np.inf if expected is None else np.abs(image - expected).mean()
    assert {name: found for name, found in differences.items() if found > 0.9} == {}  # of 255, on average
    refused = REFUSED | ({"wide jpeg"} if resize == "pad" else set())  # it would be less than a pixel high
    assert FILES.keys() - differences.keys() == refused


def test_a_prepared_photo_is_unchanged():
    data = photos.prepare_photo(FILES["large jpeg"], image_size=32, resize="squash")
    ours = prepare_photo(tf.constant(data), image_size=32, resize="crop")
    np.testing.assert_array_equal(ours, tf.io.decode_jpeg(data, dct_method="INTEGER_ACCURATE"))


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_exif_orientation_is_undone(orientation, order):
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    exif[0x0112] = orientation
    header = exif.tobytes()
    if order == "big":
        exif.endian = ">"
        header = exif.tobytes()
    data = encoded(picture(), exif=header, quality=95)
    assert Image.open(io.BytesIO(data)).getexif()[0x0112] == orientation
    assert int(stated_orientation(tf.constant(data), b"Exif\0\0")) == orientation
    assert difference(data) < 0.7


def test_a_damaged_exif_header_gives_a_valid_orientation():
    exif = Image.Exif()
    exif[0x0112] = 6
    header = exif.tobytes()
    generator = np.random.default_rng(0)
    for _ in range(50):
        damaged = bytearray(header)
        for position in generator.integers(10, len(header), 3):
            damaged[position] = generator.integers(256)
        assert 1 <= int(stated_orientation(tf.constant(bytes(damaged)), b"Exif\0\0")) <= 8
    assert int(stated_orientation(tf.constant(b""), b"Exif\0\0")) == 1


def test_damaged_files_in_a_batch_do_not_change_the_others():
    bomb = bytearray(encoded(Image.new("1", (64, 64)), "PNG"))
    bomb[16:24] = (60000).to_bytes(4, "big") * 2
    intact = FILES["jpeg"]
    damaged = [
        b"",
        b"no photo",
        intact[: len(intact) // 2],
        FILES["png"][:60],
        bytes(bomb),
        b"\xff\xd8\xff" + b"x" * 99,
    ]
    batch = [intact, *damaged, FILES["png"]]
    prepared = tf.function(lambda data: prepare_photos(data, image_size=32, resize="squash"), autograph=False)
    images, known = prepared(tf.constant(batch))
    assert known.numpy().tolist() == [True, *[False] * len(damaged), True]
    assert not images.numpy()[1:-1].any()
    for index, data in ((0, intact), (-1, FILES["png"])):
        np.testing.assert_array_equal(images[index], prepare_photo(tf.constant(data), image_size=32, resize="squash"))


def test_photos_that_are_too_large_by_their_header_are_not_decoded():
    gif, bmp = bytearray(FILES["gif"]), bytearray(FILES["bmp"])
    gif[6:10] = b"\xff\xff\xff\xff"
    start = gif.index(b",", 13 + 3 * 64)
    gif[start + 5 : start + 9] = gif[6:10]  # so is its picture
    bmp[18:26] = (60000).to_bytes(4, "little") * 2
    for large in (gif, bmp):
        with pytest.raises(tf.errors.InvalidArgumentError, match="not a kind of photo that is read"):
            prepare_photo(tf.constant(bytes(large)), image_size=32, resize="squash")
