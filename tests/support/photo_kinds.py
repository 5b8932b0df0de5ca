"""A photo in the many kinds of files that users have, by the format of the file and what is unusual about it."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

XMP = b"<x:xmpmeta><rdf:Description tiff:Orientation=%s/></x:xmpmeta>"


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
    """The file of an image, as Pillow writes it."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation=6, *, endian="<", long=False):
    """An EXIF block; its orientation as a LONG, which some cameras write, or as a SHORT."""
    mark, tag = {"<": b"II*\0", ">": b"MM\0*"}[endian], ("4", "I") if long else ("3", "Hxx")
    entry = struct.pack(f"{endian}HHI{tag[1]}", 0x0112, int(tag[0]), 1, orientation)
    return b"Exif\0\0" + mark + struct.pack(f"{endian}IH", 8, 1) + entry + bytes(4)


def segment(marker, content):
    """A segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def with_segments(jpeg, *segments):
    """A JPEG with segments behind its first marker."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def without_segment(jpeg, marker):
    """A JPEG without its first segment of a kind."""
    start = jpeg.index(bytes([0xFF, marker]))
    return jpeg[:start] + jpeg[start + 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big") :]


def xmp_segment(orientation):
    """An XMP packet of a JPEG."""
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP % f'"{orientation}"'.encode())


def chunk(kind, content):
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunks(png, *chunks, last=False):
    """A PNG with chunks before its pixels, or behind them."""
    position = png.index(b"IEND" if last else b"IDAT") - 4
    return png[:position] + b"".join(chunks) + png[position:]


def png(pixels, *, bits, colour, chunks=(), interlaced=False):
    """A PNG of (height, width, channels) integers with `bits` bits for each, of a colour type."""
    pixels = np.asarray(pixels)

    def rows(part):
        if not part.size:
            return b""
        flat = part.reshape(part.shape[0], -1)
        if bits == 16:
            packed = flat.astype(">u2").view(np.uint8)
        else:
            unpacked = (flat[..., None] >> np.arange(bits - 1, -1, -1)) & 1
            packed = np.packbits(unpacked.reshape(flat.shape[0], -1).astype(np.uint8), axis=1)
        return b"".join(b"\0" + row.tobytes() for row in packed)

    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [pixels[top::down, left::right] for top, left, down, right in passes] if interlaced else [pixels]
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], bits, colour, 0, 0, interlaced)
    data = chunk(b"IDAT", zlib.compress(b"".join(map(rows, parts))))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + data + chunk(b"IEND", b"")


def bmp(image, bits, *, compression=0, header=40, masks=(), top_down=False, alpha=255):
    """A BMP of 16, 24 or 32 bits a pixel; with masks they are placed as those say."""
    pixels = np.asarray(image.convert("RGB")).astype(np.uint32)
    pixels = np.concatenate([pixels, np.full_like(pixels[..., :1], alpha)], 2)
    if not top_down:
        pixels = pixels[::-1]
    masks = masks or {16: (0x7C00, 0x3E0, 0x1F), 24: (), 32: ()}[bits]
    if masks:
        words = np.zeros(pixels.shape[:2], np.uint32)
        for channel, mask in enumerate(masks):
            width, shift = bin(mask).count("1"), (mask & -mask).bit_length() - 1 if mask else 0
            words |= (pixels[..., channel] >> (8 - width) << shift) if mask else 0
        rows = words.astype(f"<u{bits // 8}").view(np.uint8).reshape(len(words), -1)
    else:
        rows = pixels[..., [2, 1, 0, 3][: bits // 8]].astype(np.uint8).reshape(len(pixels), -1)
    data = b"".join(row.tobytes() + bytes(-len(row.tobytes()) % 4) for row in rows)
    height = -image.height if top_down else image.height
    if header == 12:
        info = struct.pack("<IHHHH", 12, image.width, image.height, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", header, image.width, height, 1, bits, compression, len(data), 0, 0, 0, 0)
        info += b"".join(struct.pack("<I", mask) for mask in masks if compression == 3)
        info = info.ljust(header, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(data), 0, 0, 14 + len(info)) + info + data


def run_length_bmp():
    """A BMP of 8 bits with run-length encoding: four rows of one colour each."""
    data = b"".join(bytes([64, row, 0, 0]) for row in range(4)) + b"\0\1"
    palette = bytes([0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0, 255, 255, 255, 0])
    info = struct.pack("<IiiHHIIiiII", 40, 64, 4, 1, 8, 1, len(data), 0, 0, 4, 4)
    return b"BM" + struct.pack("<IHHI", 54 + 16 + len(data), 0, 0, 54 + 16) + info + palette + data


def gif(frame=(0, 0, 60, 40), *, transparent=None, palettes="global", interlaced=False, before=b""):
    """A GIF of 60 x 40 pixels whose only picture has a frame of (left, top, width, height)."""
    left, top, width, height = frame
    palette = bytes(value for index in range(128) for value in (index, 2 * index, 200 - index))
    indices = np.add.outer(np.arange(height), np.arange(width)) % 128
    order = [*range(0, height, 8), *range(4, height, 8), *range(2, height, 4), *range(1, height, 2)]
    values = indices[order if interlaced else slice(None)].ravel().tolist()
    # Codes of 8 bits; the clear code 128 often enough keeps them at 8.
    codes = b"".join(b"\x80" + bytes(values[start : start + 120]) for start in range(0, len(values), 120)) + b"\x81"
    blocks = b"".join(bytes([len(codes[i : i + 255])]) + codes[i : i + 255] for i in range(0, len(codes), 255)) + b"\0"
    parts = [b"GIF89a", struct.pack("<HHBBB", 60, 40, 0xF6 if "global" in palettes else 0x70, 5, 0)]
    parts += [palette] if "global" in palettes else []
    parts += [before]
    if transparent is not None:
        parts += [b"\x21\xf9\x04", struct.pack("<BHB", 1, 0, transparent), b"\0"]
    flags = (0x86 if "local" in palettes else 0) | (0x40 if interlaced else 0)
    parts += [b"\x2c", struct.pack("<HHHHB", left, top, width, height, flags), palette if "local" in palettes else b""]
    return b"".join([*parts, b"\x07", blocks, b"\x3b"])


def animation(**options):
    """An animated GIF as Pillow writes it: later frames have transparent pixels and offsets."""
    frames = [picture(seed=seed).quantize(64) for seed in range(3)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50, loop=0, **options)


def _grey16():
    values = np.linspace(0, 65535, 90 * 60).astype(np.uint16).reshape(60, 90)
    return values[..., None]


def files():
    """Name -> content."""
    rgb, rgba = picture(), picture(mode="RGBA")
    base = encoded(rgb, quality=95)
    grey = encoded(picture(mode="L"), "PNG")
    pixels = np.asarray(rgb).astype(int)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    palette = np.asarray(picture(8, 2)).reshape(-1, 3).astype(np.uint8).tobytes()
    index = (pixels[..., :1] // 16).astype(int)
    plte = chunk(b"PLTE", palette)
    found = {
        "jpeg": base,
        "large jpeg": encoded(picture(500, 375), quality=90),
        "larger jpeg": encoded(picture(300, 280)),
        "upright jpeg": encoded(picture(41, 77)),
        "jpeg of one pixel": encoded(picture(1, 1)),
        "wide jpeg": encoded(picture(700, 3)),
        "grey jpeg": encoded(picture(mode="L")),
        "grey jpeg of the right size": encoded(picture(32, 32, "L")),
        "progressive jpeg": encoded(rgb, progressive=True),
        "progressive jpeg of the right size": encoded(picture(32, 32), progressive=True),
        "large progressive jpeg": encoded(picture(500, 375), progressive=True),
        **{f"jpeg {sampling}": encoded(rgb, subsampling=sampling) for sampling in ("4:4:4", "4:2:2", "4:2:0")},
        "jpeg of rgb": encoded(rgb, keep_rgb=True),
        "jpeg with restarts": encoded(rgb, restart_marker_rows=1),
        "jpeg with a colour profile": encoded(rgb, icc_profile=srgb),
        "jpeg with a comment": encoded(rgb, comment=b"\xff\xda a comment"),
        "jpeg with fill bytes": with_segments(base, b"\xff\xff\xff"),
        "jpeg with an orientation": with_segments(base, segment(0xE1, exif(6))),
        "jpeg with a big-endian orientation": with_segments(base, segment(0xE1, exif(8, endian=">"))),
        "jpeg with a long orientation": with_segments(base, segment(0xE1, exif(6, long=True))),
        "jpeg with a long big-endian orientation": with_segments(base, segment(0xE1, exif(6, endian=">", long=True))),
        "jpeg with a false orientation": with_segments(base, segment(0xE1, exif(9))),
        "jpeg with a late orientation": with_segments(
            base,
            segment(0xE2, b"ICC_PROFILE\0\1\2" + bytes(60000)),
            segment(0xED, bytes(60000)),
            segment(0xE1, exif(6)),
        ),
        "jpeg with an orientation in xmp": with_segments(base, xmp_segment(6)),
        "jpeg with a late orientation in xmp": with_segments(base, segment(0xED, bytes(65000)), xmp_segment(8)),
        "jpeg upright in xmp": with_segments(base, xmp_segment(1)),
        "jpeg with two orientations": with_segments(base, xmp_segment(8), segment(0xE1, exif(1))),
        "jpeg before a turned one": base + with_segments(base, segment(0xE1, exif(6))),
        "jpeg with a turned thumbnail": with_segments(base, segment(0xED, with_segments(base, segment(0xE1, exif(3))))),
        "jpeg of 12 bits": base.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
        "arithmetic jpeg": base.replace(b"\xff\xc0\0\x11", b"\xff\xc9\0\x11"),
        "cmyk jpeg": encoded(picture(mode="CMYK"), quality=95),
        "large cmyk jpeg": encoded(picture(500, 375, "CMYK"), quality=95),
        "cmyk jpeg without adobe's marker": without_segment(encoded(picture(mode="CMYK"), quality=95), 0xEE),
        "cmyk jpeg with a colour profile": encoded(picture(mode="CMYK"), icc_profile=srgb),
        "jpeg of many scans": encoded(rgb, progressive=True)[:-2] + 100 * b"\xff\xda\0\x08\1\1\0\0\x3f\0" + b"\xff\xd9",
        "png": encoded(rgb, "PNG"),
        "transparent png": encoded(rgba, "PNG"),
        "grey png": grey,
        "grey transparent png": encoded(picture(mode="LA"), "PNG"),
        "black and white png": encoded(picture(mode="1"), "PNG"),
        **{f"grey png of {bits} bits": png(pixels[..., :1] >> (8 - bits), bits=bits, colour=0) for bits in (1, 2, 4)},
        "grey png of 16 bits": png(_grey16(), bits=16, colour=0),
        "grey transparent png of 16 bits": png(np.concatenate([_grey16(), _grey16()], 2), bits=16, colour=4),
        "png of 16 bits": png(pixels * 257 - 100, bits=16, colour=2),
        "transparent png of 16 bits": png(np.asarray(rgba).astype(int) * 250, bits=16, colour=6),
        "palette png": encoded(rgb.quantize(64), "PNG"),
        "palette png of 4 bits": png(index, bits=4, colour=3, chunks=[plte]),
        "palette png with alpha": png(index, bits=4, colour=3, chunks=[plte, chunk(b"tRNS", bytes(range(0, 160, 16)))]),
        "palette png with a transparent colour": encoded(rgb.quantize(64), "PNG", transparency=3),
        "png with a transparent colour": encoded(rgb, "PNG", transparency=(255, 0, 0)),
        "grey png with a transparent colour": encoded(picture(mode="L"), "PNG", transparency=76),
        "grey png of 1 bit with a transparent colour": png(
            pixels[..., :1] >> 7, bits=1, colour=0, chunks=[chunk(b"tRNS", b"\0\0")]
        ),
        "grey png of 4 bits with a transparent colour": png(
            pixels[..., :1] >> 4, bits=4, colour=0, chunks=[chunk(b"tRNS", b"\0\x07")]
        ),
        "grey png of 16 bits with a transparent colour": png(
            pixels[..., :1] * 256, bits=16, colour=0, chunks=[chunk(b"tRNS", b"\xff\0")]
        ),
        "png of 16 bits with a transparent colour": png(
            pixels * 256, bits=16, colour=2, chunks=[chunk(b"tRNS", b"\xff\0\0\0\0\0")]
        ),
        "interlaced png": png(pixels, bits=8, colour=2, interlaced=True),
        "interlaced palette png": png(index, bits=4, colour=3, chunks=[plte], interlaced=True),
        "png with gamma": with_chunks(encoded(rgb, "PNG"), chunk(b"gAMA", struct.pack(">I", 100000))),
        "png with chromaticities": with_chunks(
            encoded(rgb, "PNG"),
            chunk(b"gAMA", struct.pack(">I", 22727)),
            chunk(b"cHRM", struct.pack(">8I", *[31270] * 8)),
        ),
        "png with significant bits": with_chunks(encoded(rgb, "PNG"), chunk(b"sBIT", b"\5\6\5")),
        "png with a background": with_chunks(encoded(rgba, "PNG"), chunk(b"bKGD", b"\0\xff\0\0\0\0")),
        "png with a colour profile": encoded(rgb, "PNG", icc_profile=srgb),
        "png with an orientation": encoded(rgb, "PNG", exif=exif(6)),
        "png with an upright orientation": encoded(rgb, "PNG", exif=exif(1)),
        "png with a late orientation": with_chunks(encoded(rgb, "PNG"), chunk(b"eXIf", exif(8)[6:]), last=True),
        "png with an orientation in xmp": encoded(
            rgb, "PNG", pnginfo=_text("XML:com.adobe.xmp", (XMP % b'"6"').decode(), compressed=False)
        ),
        "png with an orientation in compressed xmp": encoded(
            rgb, "PNG", pnginfo=_text("XML:com.adobe.xmp", (XMP % b'"6"').decode(), compressed=True)
        ),
        "png with a raw exif profile": encoded(rgb, "PNG", pnginfo=_raw_profile(compressed=False)),
        "png with a compressed raw exif profile": encoded(rgb, "PNG", pnginfo=_raw_profile(compressed=True)),
        "animated png": encoded(rgb, "PNG", save_all=True, append_images=[picture(seed=1)]),
        "animated png with another first image": encoded(
            rgb, "PNG", save_all=True, default_image=True, append_images=[picture(seed=1), picture(seed=2)]
        ),
        "gif": encoded(rgb.quantize(64), "GIF"),
        "gif of 87": encoded(rgb.quantize(64), "GIF").replace(b"GIF89a", b"GIF87a"),
        "grey gif": encoded(picture(mode="L"), "GIF"),
        "transparent gif": encoded(rgba, "GIF"),
        "gif with a transparent colour": gif(transparent=3),
        "drawn gif": gif(),
        "interlaced gif": gif(interlaced=True),
        "gif with a local palette": gif(palettes="local"),
        "gif with two palettes": gif(palettes="global local"),
        "gif without a palette": gif(palettes=""),
        "gif with an offset": gif(frame=(10, 5, 30, 20)),
        "gif with a picture that is larger": gif(frame=(0, 0, 80, 50)),
        "gif with a picture that is smaller": gif(frame=(0, 0, 59, 40)),
        "gif with a comment": gif(before=b"\x21\xfe\x04note\0"),
        "gif with a long comment": gif(before=b"\x21\xfe" + 40 * (b"\xff" + 255 * b",") + b"\0"),
        "gif with a text": gif(before=b"\x21\x01\x0c" + bytes(12) + b"\3abc\0"),
        "animated gif": animation(),
        "animated gif with disposal": animation(disposal=2, transparency=0),
        "bmp": encoded(rgb, "BMP"),
        "bmp of an odd width": encoded(picture(37, 21), "BMP"),
        "bmp of 24 bits from the top": bmp(rgb, 24, top_down=True),
        "bmp of 24 bits with a short header": bmp(rgb, 24, header=12),
        "bmp of 24 bits with a long header": bmp(rgb, 24, header=124),
        "bmp of 24 bits with an os/2 header": bmp(rgb, 24, header=64),
        "bmp of 32 bits": bmp(rgb, 32),
        "bmp of 32 bits from the top": bmp(rgb, 32, top_down=True),
        "bmp of 32 bits with zero alpha": bmp(rgb, 32, alpha=0),
        "transparent bmp": encoded(rgba, "BMP"),
        "transparent bmp with masks": bmp(
            rgb, 32, compression=3, header=124, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000), alpha=128
        ),
        "bmp of 32 bits with masks": bmp(
            rgb, 32, compression=3, header=108, masks=(0xFF, 0xFF00, 0xFF0000, 0xFF000000)
        ),
        "bmp of 16 bits": bmp(rgb, 16),
        "bmp of 16 bits with masks": bmp(rgb, 16, compression=3, header=56, masks=(0xF800, 0x7E0, 0x1F)),
        "bmp of 1 bit": encoded(picture(mode="1"), "BMP"),
        "bmp of 4 bits": _bmp_of_4_bits(),
        "grey bmp": encoded(picture(mode="L"), "BMP"),
        "palette bmp": encoded(rgb.quantize(64), "BMP"),
        "run-length bmp": run_length_bmp(),
        "webp": encoded(rgb, "WEBP"),
        "tiff": encoded(rgb, "TIFF"),
        "avif": encoded(rgb, "AVIF"),
    }
    return found


def _text(key, value, *, compressed):
    info = PngImagePlugin.PngInfo()
    info.add_itxt(key, value, zip=compressed)
    return info


def _raw_profile(*, compressed):
    info = PngImagePlugin.PngInfo()
    block = exif(6)
    info.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n", zip=compressed)
    return info


def _bmp_of_4_bits():
    palette = np.asarray(picture(8, 2)).reshape(-1, 3).astype(np.uint8)
    colours = b"".join(bytes([blue, green, red, 0]) for red, green, blue in palette)
    data = np.random.default_rng(0).integers(0, 256, (32, 16), np.uint8).tobytes()
    info = struct.pack("<IiiHHIIiiII", 40, 32, 32, 1, 4, 0, len(data), 0, 0, 16, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 64 + len(data), 0, 0, 54 + 64) + info + colours + data
