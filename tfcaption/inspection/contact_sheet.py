"""A picture of photos with their captions below."""

import io
import re
import unicodedata
from collections.abc import Container, Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from tfcaption.preprocessing.fonts import Font, font_for
from tfcaption.records.display import display_text, wrapped_lines
from tfcaption.records.examples import PhotoRecord

COLUMNS, CELL_WIDTH, LINES_PER_CAPTION = 4, 260, 2
MARGIN, LINE_HEIGHT, HEADING_HEIGHT, FONT_SIZE, HEADING_SIZE = 6, 15, 34, 12, 16  # pixels
TEXT, QUIET, UNKNOWN = "black", "gray", "#c2410c"
LEGEND = "words in this colour: outside the vocabulary, read as <oov>"
# Nearly the words of `preprocessing.tokenizer`, which needs TensorFlow: clitics are words of their own.
_WORD = re.compile(r"\d+(?:[.,]\d+)+|[^\W_]+(?:['-][^\W_]+)*")
_CLITIC = re.compile(r"(?<=.)(?:n't|'(?:s|m|d|re|ve|ll))$")


def contact_sheet(photos: Sequence[PhotoRecord], *, heading: str, vocabulary: Container[str] | None) -> Image.Image:
    """A picture of photos with their captions below.

    Args:
        photos: of one split.
        heading: the line above them.
        vocabulary: words that are known, others get a colour of their own; None: no word gets it.
    """
    texts = [[line for caption in photo.captions for line in _lines(caption)] for photo in photos]
    rows = -(-len(photos) // COLUMNS)
    cell_height = CELL_WIDTH + LINE_HEIGHT * (2 + max(map(len, texts), default=0))
    sheet = Image.new("RGB", (COLUMNS * CELL_WIDTH, HEADING_HEIGHT + rows * cell_height), "white")
    canvas = ImageDraw.Draw(sheet)
    _draw_heading(canvas, heading, legend=LEGEND if vocabulary is not None else "")
    for index, (photo, lines) in enumerate(zip(photos, texts, strict=True)):
        x, y = index % COLUMNS * CELL_WIDTH + MARGIN, HEADING_HEIGHT + index // COLUMNS * cell_height
        side = CELL_WIDTH - 2 * MARGIN
        with Image.open(io.BytesIO(photo.jpeg)) as image:
            sheet.paste(image.resize((side, side), Image.Resampling.BICUBIC), (x, y + MARGIN))
        font = font_for(photo.photo_id, FONT_SIZE)
        (name, *_) = wrapped_lines(photo.photo_id, side, font.getlength, most=1)
        canvas.text((x, y + CELL_WIDTH), name, fill=QUIET, font=font)
        for number, line in enumerate(lines, start=1):
            _draw_line(canvas, (x, y + CELL_WIDTH + number * LINE_HEIGHT), line, vocabulary)
    return sheet


def is_unknown(word: str, vocabulary: Container[str]) -> bool:
    """Whether a word of a caption, with its punctuation, holds a word that is not in the vocabulary."""
    for part in _WORD.findall(word.lower().replace("’", "'")):
        stem = _CLITIC.sub("", part)
        if stem not in vocabulary or (stem != part and part[len(stem) :] not in vocabulary):
            return True
    return False


class _Line(NamedTuple):
    """A line of a caption; all lines of one have the font that has most of its letters."""

    text: str
    font: Font


def _lines(caption: str) -> list[_Line]:
    text = f"- {display_text(caption)}"
    font = font_for(text, FONT_SIZE)
    lines = wrapped_lines(text, CELL_WIDTH - 2 * MARGIN, font.getlength, most=LINES_PER_CAPTION)
    return [_Line(line, font) for line in lines]


def _draw_heading(canvas: ImageDraw.ImageDraw, heading: str, *, legend: str) -> None:
    large, small = ImageFont.load_default(HEADING_SIZE), ImageFont.load_default(FONT_SIZE)
    canvas.text((MARGIN, MARGIN + 2), heading, fill=TEXT, font=large)
    canvas.text((MARGIN + large.getlength(heading) + 4 * MARGIN, MARGIN + 5), legend, fill=UNKNOWN, font=small)


def _draw_line(
    canvas: ImageDraw.ImageDraw, position: tuple[float, float], line: _Line, vocabulary: Container[str] | None
) -> None:
    x, y = position
    leftwards = any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in line.text)
    if leftwards:
        x += CELL_WIDTH - 2 * MARGIN
    for word in line.text.split(" "):
        unknown = vocabulary is not None and is_unknown(word, vocabulary)
        width = line.font.getlength(f"{word} ")
        x -= width if leftwards else 0
        canvas.text((x, y), word, fill=UNKNOWN if unknown else TEXT, font=line.font)
        x += 0 if leftwards else width
