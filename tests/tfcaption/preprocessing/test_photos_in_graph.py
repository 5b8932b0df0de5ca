"""Photos prepared in the graph, compared with `photos.prepare_photo` by Pillow."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfcaption.preprocessing import photos
from tfcaption.preprocessing.photos_in_graph import exif_orientation, prepare_photo, prepare_photos


def picture(width=90, height=60, mode="RGB", seed=0):
    """Soft colours with a corner that distinguishes the orientations."""
    blocks = np.random.default_rng(seed).integers(60, 200, (6, 9, 3)).astype(np.uint8)
    image = Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC)
    image.paste((255, 0, 0), (0, 0, width // 3, height // 4))
    if mode in ("RGBA", "LA"):
        image = image.convert(mode)
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image.convert(mode)


def encoded(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def by_pillow(data, size, resize):
    return np.asarray(Image.open(io.BytesIO(photos.prepare_photo(data, image_size=size, resize=resize))))


def difference(data, size=32, resize="squash"):
    ours = prepare_photo(tf.constant(data), image_size=size, resize=resize).numpy().astype(float)
    return np.abs(ours - by_pillow(data, size, resize)).mean()


FILES = {
    "jpeg": encoded(picture(), quality=95),
    "large jpeg": encoded(picture(500, 375), quality=90),
    "larger jpeg": encoded(picture(300, 280)),
    "upright jpeg": encoded(picture(41, 77)),
    "grey jpeg": encoded(picture(mode="L")),
    "progressive jpeg": encoded(picture(), progressive=True),
    "png": encoded(picture(), "PNG"),
    "transparent png": encoded(picture(mode="RGBA"), "PNG"),
    "grey png": encoded(picture(mode="L"), "PNG"),
    "grey transparent png": encoded(picture(mode="LA"), "PNG"),
    "palette png": encoded(picture().convert("P"), "PNG"),
    "gif": encoded(picture().convert("P"), "GIF"),
    "bmp": encoded(picture(), "BMP"),
}


@pytest.mark.parametrize("resize", photos.RESIZE_MODES)
@pytest.mark.parametrize("name", FILES)
def test_a_photo_is_prepared_as_pillow_does(name, resize):
    assert difference(FILES[name], resize=resize) < 0.7  # of 255, on average


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
    assert int(exif_orientation(tf.constant(data))) == orientation
    assert difference(data) < 0.7


def test_a_damaged_exif_header_gives_a_valid_orientation():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture(), exif=exif.tobytes(), quality=95)
    start = data.index(b"Exif\0\0") + 6
    generator = np.random.default_rng(0)
    for _ in range(50):
        damaged = bytearray(data)
        for position in generator.integers(start, start + 24, 3):
            damaged[position] = generator.integers(256)
        assert 1 <= int(exif_orientation(tf.constant(bytes(damaged)))) <= 8
    assert int(exif_orientation(tf.constant(encoded(picture())))) == 1
    assert int(exif_orientation(tf.constant(b""))) == 1


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
    prepared = tf.function(lambda data: prepare_photos(data, image_size=32, resize="squash"))
    images, known = prepared(tf.constant(batch))
    assert known.numpy().tolist() == [True, *[False] * len(damaged), True]
    assert not images.numpy()[1:-1].any()
    for index, data in ((0, intact), (-1, FILES["png"])):
        np.testing.assert_array_equal(images[index], prepare_photo(tf.constant(data), image_size=32, resize="squash"))
