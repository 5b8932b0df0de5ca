"""A photo is prepared as viewers display it, or rejected with its reason."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.support.photos import encoded, heif, picture, truncated
from tfcaption.preprocessing import photos


def prepared(data, size=64, resize="squash"):
    image = Image.open(io.BytesIO(photos.prepare_photo(data, image_size=size, resize=resize)))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (size, size))
    return np.asarray(image).astype(int)


def quarters(pixels):
    """Mean colour of the middle of each quarter, rounded to 0 or 255."""
    n = len(pixels)
    corners = [pixels[y : y + n // 4, x : x + n // 4] for y in (n // 8, 5 * n // 8) for x in (n // 8, 5 * n // 8)]
    return [tuple((corner.mean((0, 1)) > 127).astype(int) * 255) for corner in corners]


UPRIGHT = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation):
    undo = {
        2: 0,
        3: 3,
        4: 1,
        5: 5,
        6: 2,
        7: 6,
        8: 4,
    }  # orientation -> the transpose that stores an upright picture with it
    image = picture() if orientation == 1 else picture().transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert quarters(prepared(encoded(image, "JPEG", quality=95, exif=exif.tobytes()))) == UPRIGHT


@pytest.mark.parametrize("mode", ["P", "CMYK", "RGBA"])
def test_colours_survive_the_mode(mode):
    kind = "TIFF" if mode == "CMYK" else "PNG"
    assert quarters(prepared(encoded(picture().convert(mode), kind))) == UPRIGHT


def test_a_cmyk_jpeg_keeps_its_colours():
    assert quarters(prepared(encoded(picture().convert("CMYK"), "JPEG", quality=95))) == UPRIGHT


def test_greyscale_becomes_grey():
    pixels = prepared(encoded(Image.new("L", (50, 40), 90), "JPEG"))
    assert np.abs(pixels - 90).max() <= 2


def test_sixteen_bits_are_scaled_not_clipped():
    ramp = np.tile(np.linspace(0, 65535, 80).astype(np.uint16), (60, 1))
    pixels = prepared(encoded(Image.fromarray(ramp)), size=80)
    assert np.abs(pixels[40, :, 0] - np.linspace(0, 255, 80)).max() < 6


def test_transparency_is_shown_on_white():
    image = picture().convert("RGBA")
    image.putalpha(0)
    assert prepared(encoded(image)).min() > 250
    palette = Image.new("P", (40, 40), 0)
    palette.putpalette([0, 0, 0] * 256)
    assert prepared(encoded(palette, transparency=0)).min() > 250


def test_resize_modes_squash_crop_and_pad():
    wide = Image.new("RGB", (200, 100), "black")
    wide.paste("white", (50, 0, 150, 100))  # the central square
    data = encoded(wide)
    assert prepared(data, resize="crop")[:, 4:-4].min() > 240  # only the centre remains
    squashed = prepared(data)[32]
    assert squashed[8].max() < 20 and squashed[32].min() > 235
    padded = prepared(data, resize="pad")
    assert padded[4].max() < 20 and padded[32, 32].min() > 235


def test_downscaling_does_not_alias():
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(prepared(encoded(Image.fromarray(stripes)), size=64)[8:-8, 8:-8]) < 12


def test_a_prepared_jpeg_is_passed_through_unchanged():
    once = photos.prepare_photo(encoded(picture()), image_size=64, resize="squash")
    assert photos.prepare_photo(once, image_size=64, resize="crop") == once


def test_a_large_jpeg_is_scaled_during_decoding_with_nearly_equal_pixels():
    big = picture(1600, 1200)
    from_jpeg = prepared(encoded(big, "JPEG", quality=95))
    assert np.abs(from_jpeg - prepared(encoded(big))).mean() < 3


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<html>not found</html>", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (truncated(), "truncated"),
        (encoded(Image.new("1", (12_000, 12_000))), "decompression bomb"),
        (b"\xff\xd8\xff\xe0" + b"\x00" * 40, "not an image"),
    ],
)
def test_bad_files_are_rejected_with_their_reason(data, reason):
    with pytest.raises(photos.PhotoError) as caught:
        photos.prepare_photo(data, image_size=64, resize="squash")
    assert caught.value.reason == reason


@pytest.mark.parametrize("orientation", [1, 6])
def test_avif_is_read_and_turned_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = picture() if orientation == 1 else picture().transpose(Image.Transpose.ROTATE_90)
    assert quarters(prepared(encoded(image, "AVIF", quality=95, exif=exif.tobytes()))) == UPRIGHT


def test_a_damaged_avif_is_rejected_as_one():
    data = encoded(picture(), "AVIF")
    for damaged in (data[:100], data[:-20]):
        with pytest.raises(photos.PhotoError) as caught:
            photos.prepare_photo(damaged, image_size=64, resize="squash")
        assert caught.value.reason in ("unreadable", "truncated")


@pytest.mark.parametrize("brands", [(b"heic", b"mif1", b"heic"), (b"mif1", b"heix"), (b"hevc",), (b"msf1",)])
def test_heic_is_rejected_with_the_cure(brands):
    with pytest.raises(photos.PhotoError) as caught:
        photos.prepare_photo(heif(*brands), image_size=64, resize="squash")
    assert caught.value.reason == "unreadable"
    assert caught.value.detail.startswith(
        "a HEIC photo, which is not read; convert it to JPEG, for example by heif-con"
    )


def test_a_video_is_no_image():
    with pytest.raises(photos.PhotoError, match="not an image: not one of JPEG"):
        photos.prepare_photo(heif(b"isom", b"mp42"), image_size=64, resize="squash")


def test_files_of_avif_and_heic_are_found_by_their_names():
    assert all(map(photos.is_photo_name, ("a.avif", "IMG_1.HEIC", "b.heif"))) and not photos.is_photo_name("a.mov")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "AVIF"])
def test_a_photo_over_the_limit_is_rejected_before_it_is_decoded(kind, monkeypatch):
    data = encoded(Image.new("L", (101, 100)), kind)
    monkeypatch.setattr(photos, "MAX_PIXELS", 10_100)
    assert prepared(data).max() < 3
    monkeypatch.setattr(photos, "MAX_PIXELS", 10_099)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(photos.PhotoError, match="decompression bomb: 101x100 pixels"):
        photos.prepare_photo(data, image_size=32, resize="squash")


def test_a_photo_of_80_million_pixels_is_the_largest():
    for width, reason in ((10_000, None), (10_001, "decompression bomb: 10001x8000 pixels")):
        data = encoded(Image.new("L", (width, 8_000)), "JPEG")
        if reason:
            with pytest.raises(photos.PhotoError, match=reason):
                photos.prepare_photo(data, image_size=32, resize="squash")
        else:
            assert prepared(data, size=32).max() < 3


def test_a_jpeg_of_many_scans_is_rejected_before_it_is_decoded():
    data = encoded(picture(), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    scans = data.count(b"\xff\xda")
    for more, reason in ((0, None), (photos.MAX_SCANS - scans, None), (photos.MAX_SCANS, f"{scans + 100} scans")):
        repeated = data[:-2] + more * last + data[-2:]
        if reason:
            with pytest.raises(photos.PhotoError, match=f"decompression bomb: {reason}"):
                photos.prepare_photo(repeated, image_size=64, resize="squash")
        else:
            assert quarters(prepared(repeated)) == UPRIGHT


def test_a_damaged_jpeg_of_the_right_size_is_encoded_again():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    sound = photos.prepare_photo(encoded(Image.fromarray(noise)), image_size=64, resize="squash")
    middle = len(sound) // 2
    for data in (sound[:-2] + b"\0\0", sound + b"more", sound[:middle] + b"\xff\xfe" + sound[middle + 2 :]):
        stored = photos.prepare_photo(data, image_size=64, resize="squash")
        assert stored != data and photos.prepare_photo(stored, image_size=64, resize="squash") == stored


def test_any_damage_gives_a_photo_or_a_photo_error():
    data = encoded(picture(), "JPEG", quality=90)
    generator = np.random.default_rng(1)
    outcomes = set()
    for _ in range(300):
        damaged = bytearray(data)
        for position in generator.integers(0, len(data), 6):
            damaged[position] = generator.integers(256)
        try:
            photos.prepare_photo(bytes(damaged), image_size=48, resize="crop")
            outcomes.add("photo")
        except photos.PhotoError as error:
            outcomes.add(error.reason)
    assert "photo" in outcomes and len(outcomes) > 1


def test_tensorflow_and_pillow_decode_equal_pixels():
    from tfcaption.input_pipeline.parsing import decode_jpeg

    generator = np.random.default_rng(0)
    noise = Image.fromarray(generator.integers(0, 255, (9, 12, 3), np.uint8)).resize((160, 120))
    jpeg = photos.prepare_photo(encoded(noise), image_size=96, resize="squash")
    assert np.array_equal(decode_jpeg(jpeg).numpy(), np.asarray(Image.open(io.BytesIO(jpeg))))
