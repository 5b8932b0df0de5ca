"""Prepares one photo: decodes it safely, corrects orientation and colours, resizes and encodes; each fault has a name.

The Beam jobs and the captioners use it alike, so that a photo looks the same in training and in use.
"""

import io
import re
from collections.abc import Container, Iterator
from pathlib import Path

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from tfcaption.records.folder_kinds import PHOTO_SUFFIXES
from tfcaption.runtime.errors import TfcaptionError
from tfcaption.runtime.paths import files_below, is_hidden

JPEG_QUALITY = 95
# Larger photos are rejected by their header, before decoding. A photo of this size takes up to 1.1 GB and some seconds
# (a WebP of 34 bytes), or 20 MB as a JPEG, which is scaled down during decoding.
MAX_PIXELS = 80_000_000
MAX_BYTES = 250_000_000  # of a photo's file
MAX_SCANS = 100  # of a progressive JPEG, which has about ten; a scan of 100 bytes can cover all pixels
# Formats that Pillow decodes itself, without those that start other programs (EPS) or are not photos (PDF).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
# HEIC, which phones write, is not read; its files are found all the same, so that each is rejected by name.
UNREAD_SUFFIXES = frozenset({".heic", ".heif"})
_SUFFIXES = tuple(PHOTO_SUFFIXES)
RESIZE_MODES = ("squash", "crop", "pad")
# Brands in the first box of a file, by ISO/IEC 23008-12 (HEIF) and by the AV1 image format.
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
# JPEG markers of frames that are not baseline, and of arithmetic coding (0xC4 marks Huffman tables).
_NON_BASELINE_MARKERS = frozenset(range(0xC2, 0xD0)) - {0xC4}
# The coded data of a JPEG up to the end of the image: 0xFF precedes only a zero byte or a restart marker.
_SCAN_TO_END = re.compile(rb"[^\xff]*(?:\xff[\x00\xd0-\xd7][^\xff]*)*\xff\xd9")


class PhotoError(TfcaptionError, ValueError):
    """A photo that cannot be used.

    Attributes:
        reason: one of a short fixed list, for counting.
        detail: the decoder's message.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


def prepare(photo: bytes | Image.Image, *, image_size: int, resize: str) -> bytes:
    """`prepare_photo` of a file's content, `prepare_image` of an image."""
    if isinstance(photo, bytes):
        return prepare_photo(photo, image_size=image_size, resize=resize)
    return prepare_image(photo, image_size=image_size, resize=resize)


def prepare_image(image: Image.Image, *, image_size: int, resize: str) -> bytes:
    """Convert an opened or drawn image into the JPEG that a record contains; the image stays as it is.

    Args:
        image: of any mode.
        image_size, resize: as for `prepare_photo`.

    Raises:
        PhotoError: "decompression bomb" where it is too large, "truncated" or "unreadable" where its file is damaged.
    """
    try:
        if image.width * image.height > MAX_PIXELS:
            raise PhotoError("decompression bomb", f"{image.width}x{image.height} pixels")
        return _encode(_resize(to_rgb(image.copy()), image_size, resize))
    except PhotoError:
        raise
    except Exception as error:  # a damaged or closed file may raise any error in a decoder
        detail = str(error) or type(error).__name__
        raise PhotoError("truncated" if "truncated" in detail else "unreadable", detail) from error


def prepare_photo(data: bytes, *, image_size: int, resize: str) -> bytes:
    """Convert the bytes of a photo file into the JPEG that a record contains.

    An intact JPEG of the right size, orientation and colours is returned unchanged, so it is not encoded twice.

    Args:
        data: the file's content, in any of `FORMATS`.
        image_size: side of the square result, in pixels.
        resize: `squash` (change the aspect ratio), `crop` (cut the longer side) or `pad` (black borders).

    Returns:
        A baseline JPEG, image_size x image_size, RGB.

    Raises:
        PhotoError: with one of the reasons "empty file", "too large", "not an image", "truncated",
            "decompression bomb", "unreadable".
    """
    if not data:
        raise PhotoError("empty file")
    if len(data) > MAX_BYTES:
        raise PhotoError("too large", f"more than {MAX_BYTES:,} bytes")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_cost(image, data)
            kept = _already_prepared(image, image_size) and _is_plain_jpeg(data)
            # The JPEG decoder then scales large photos down by a power of two.
            if min(image.size) >= 4 * image_size:
                image.draft(None, (2 * image_size, 2 * image_size))
            image.load()
            return data if kept else _encode(_resize(to_rgb(image), image_size, resize))
    except PhotoError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PhotoError("decompression bomb", str(error)) from error
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        reason = "truncated" if "truncated" in str(error) or isinstance(error, EOFError) else "unreadable"
        raise PhotoError(reason, str(error)) from error
    except Exception as error:  # a damaged file may raise any error in a decoder; it must not end a job
        raise PhotoError("unreadable", f"{type(error).__name__}: {error}") from error


def _unidentified(data: bytes) -> PhotoError:
    """The error of a file that Pillow takes for no image of `FORMATS`."""
    brands: set[bytes] = set()
    if data[4:8] == b"ftyp":  # box: its size, "ftyp", the major brand, a version, compatible brands
        box = data[: min(int.from_bytes(data[:4], "big"), 256)]
        brands = {box[8:12], *(box[start : start + 4] for start in range(16, len(box), 4))}
    if brands & _AVIF_BRANDS:
        return PhotoError("unreadable", "a damaged AVIF photo")
    if brands & _HEIC_BRANDS:
        convert = "heif-convert photo.heic photo.jpg"
        return PhotoError(
            "unreadable", f"a HEIC photo, which is not read; convert it to JPEG, for example by {convert}"
        )
    return PhotoError("not an image", f"not one of {', '.join(FORMATS)}")


def _check_cost(image: Image.Image, data: bytes) -> None:
    """Raise PhotoError for an image whose decoding would take too much memory or time."""
    if image.width * image.height > MAX_PIXELS:
        raise PhotoError("decompression bomb", f"{image.width}x{image.height} pixels")
    scans = data.count(b"\xff\xda") if image.format in ("JPEG", "MPO") else 1
    if scans > MAX_SCANS:
        raise PhotoError("decompression bomb", f"{scans:,} scans")


def _already_prepared(image: Image.Image, image_size: int) -> bool:
    return (
        image.format == "JPEG"
        and image.mode == "RGB"
        and image.size == (image_size, image_size)
        and image.getexif().get(0x0112, 1) == 1  # orientation
    )


def _is_plain_jpeg(data: bytes) -> bool:
    """Whether a JPEG is baseline, has one scan, and is complete by its markers; TensorFlow is stricter than Pillow."""
    position = 2
    while data[position : position + 1] == b"\xff" and position + 4 <= len(data):
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        position += 2 + length
        if marker in _NON_BASELINE_MARKERS:
            return False
        if marker == 0xDA:  # start of scan
            return _SCAN_TO_END.fullmatch(data, position) is not None
    return False


def to_rgb(image: Image.Image) -> Image.Image:
    """The image as viewers display it: upright, RGB with 8 bits per channel, white behind transparent pixels.

    Turns the given image upright in place, since a copy of 80 megapixels would take 320 MB.
    """
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "F"):
        # Pillow's own conversion clips at 255 instead of scaling the 16-bit range.
        image = image.convert("F").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if image.mode == "CMYK" and image.info.get("icc_profile"):
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
            converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
            return converted if converted is not None else image.convert("RGB")
        except (ImageCms.PyCMSError, OSError):
            return image.convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(image, mask=image.getchannel("A"))
        return canvas
    return image if image.mode == "RGB" else image.convert("RGB")


def _resize(image: Image.Image, image_size: int, resize: str) -> Image.Image:
    """Resize with Pillow's bilinear filter, which is antialiased."""
    size = (image_size, image_size)
    if resize == "squash":
        return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)
    if resize == "crop":
        return ImageOps.fit(image, size, Image.Resampling.BILINEAR)
    if resize == "pad":
        return ImageOps.pad(image, size, Image.Resampling.BILINEAR, color="black")
    raise ValueError(f"resize must be one of {', '.join(RESIZE_MODES)}, not '{resize}'")


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def is_photo_name(name: str, known: Container[str] = ()) -> bool:
    """True for the name of a photo's file: it has a photo's suffix or is one of `known`, and is not hidden.

    Archives made on a Mac hold a hidden file beside each photo (__MACOSX/._NAME.jpg), which is not a photo.
    """
    file = name.rpartition("/")[2]
    return (file.lower().endswith(_SUFFIXES) or file in known) and not file.startswith(".")


def is_photo_content(data: bytes) -> bool:
    """True for the content of a file that is an image of `FORMATS` or a HEIC photo, damaged or not."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS):
            return True
    except UnidentifiedImageError:
        return _unidentified(data).reason == "unreadable"
    except Exception:  # of a decoder that takes it for its own
        return True


def photos_below(folder: Path) -> list[Path]:
    """The photo files in a folder and in all folders below it, linked ones too, sorted; without hidden ones."""
    return sorted(walk_photos(folder))


def walk_photos(folder: Path) -> Iterator[Path]:
    """The same one at a time, in no particular order."""
    found = (path for path in files_below(folder) if is_photo_name(path.name))
    return (path for path in found if not is_hidden(path.relative_to(folder)))
