"""Pictures of photos with their captions."""

from PIL import Image, ImageDraw

from tfcaption.preprocessing.fonts import font_for
from tfcaption.records.display import display_text, wrapped_lines

PICTURE_WIDTH = 640  # pixels
FONT_SIZE = 22
_QUIET = "#5c5c66"
_LINE_HEIGHT = 5 / 4  # of a font


def draw_caption(photo: Image.Image, caption: str) -> Image.Image:
    """An RGB photo above its caption, PICTURE_WIDTH wide."""
    photo = photo.resize((PICTURE_WIDTH, max(1, round(photo.height * PICTURE_WIDTH / photo.width))))
    lines = _wrapped(caption, PICTURE_WIDTH - 2 * FONT_SIZE)
    sheet = Image.new("RGB", (PICTURE_WIDTH, photo.height + int(FONT_SIZE * (len(lines) + 1) * _LINE_HEIGHT)), "white")
    sheet.paste(photo)
    _write(sheet, lines, FONT_SIZE, photo.height + FONT_SIZE // 2, "black")
    return sheet


def draw_beside(photo: Image.Image, caption: str, reference: str) -> Image.Image:
    """An RGB photo, as a square, with its caption and, in grey, a reference to its right; PICTURE_WIDTH wide."""
    side = PICTURE_WIDTH // 2
    sheet = Image.new("RGB", (PICTURE_WIDTH, side), "white")
    sheet.paste(photo.resize((side, side)))
    x, width = side + FONT_SIZE // 2, side - FONT_SIZE
    lines = _wrapped(caption, width)
    _write(sheet, lines, x, FONT_SIZE // 2, "black")
    _write(sheet, _wrapped(reference, width), x, int(FONT_SIZE * (1 + len(lines) * _LINE_HEIGHT)), _QUIET)
    return sheet


def _wrapped(text: str, width: int) -> list[str]:
    return wrapped_lines(display_text(text), width, font_for(text, FONT_SIZE).getlength)


def _write(sheet: Image.Image, lines: list[str], x: int, y: int, colour: str) -> None:
    text = "\n".join(lines)
    ImageDraw.Draw(sheet).multiline_text((x, y), text, fill=colour, font=font_for(text, FONT_SIZE))
