"""Chooses a font that has the letters of a text: Pillow's own, or one that is installed."""

import functools
from collections.abc import Iterator

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Fonts of Linux, macOS and Windows that have scripts which Pillow's own lacks; Pillow finds those that are installed.
_INSTALLED = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "segoeui.ttf", "tahoma.ttf"),
    *("NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc", "PingFang.ttc", "msyh.ttc", "msgothic.ttc", "malgun.ttf"),
    *("NotoSansArabic-Regular.ttf", "GeezaPro.ttc", "NotoSansHebrew-Regular.ttf"),
    *("NotoSansThai-Regular.ttf", "Thonburi.ttc", "NotoSansLao-Regular.ttf", "NotoSansKhmer-Regular.ttf"),
    *("NotoSansMyanmar-Regular.ttf", "leelawui.ttf", "NotoSansDevanagari-Regular.ttf", "NotoSansBengali-Regular.ttf"),
    *("NotoSansTamil-Regular.ttf", "NotoSansTelugu-Regular.ttf", "Nirmala.ttf"),
)
_NO_CHARACTER = "\uffff"  # drawn as what a font shows for a letter that it lacks


def font_for(text: str, size: int) -> Font:
    """Pillow's own font where it has every letter of a text, else the installed one that lacks the fewest.

    Args:
        text: one line or several.
        size: in pixels.
    """
    letters = frozenset(letter for letter in text if not letter.isspace())
    own = ImageFont.load_default(size)
    if text.isascii() or not _lacks(own, letters):
        return own
    return min([own, *_installed(size)], key=lambda font: _lacks(font, letters))


@functools.cache
def _installed(size: int) -> tuple[Font, ...]:
    def found() -> Iterator[Font]:
        for name in _INSTALLED:
            try:
                yield ImageFont.truetype(name, size)
            except OSError:
                continue

    return tuple(found())


def _lacks(font: Font, letters: frozenset[str]) -> int:
    """How many of the letters a font has no picture of."""
    unknown = bytes(font.getmask(_NO_CHARACTER))
    return sum(bytes(font.getmask(letter)) == unknown for letter in letters)
