"""A picture of photos with their captions below."""

import io
import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from tfcaption.records.examples import PhotoRecord

COLUMNS, CELL_WIDTH, LINES_PER_CAPTION = 4, 260, 2


def contact_sheet(photos: Sequence[PhotoRecord]) -> Image.Image:
    """A picture of photos with their captions below."""
    font = ImageFont.load_default(12)
    texts = [
        "\n".join(line for caption in photo.captions for line in textwrap.wrap("- " + caption, 42)[:LINES_PER_CAPTION])
        for photo in photos
    ]
    text_height = 15 * (2 + max((text.count("\n") + 1 for text in texts), default=0))
    rows = -(-len(photos) // COLUMNS)
    cell_height = CELL_WIDTH + text_height
    sheet = Image.new("RGB", (COLUMNS * CELL_WIDTH, rows * cell_height), "white")
    canvas = ImageDraw.Draw(sheet)
    for index, (photo, text) in enumerate(zip(photos, texts, strict=True)):
        x, y = index % COLUMNS * CELL_WIDTH, index // COLUMNS * cell_height
        with Image.open(io.BytesIO(photo.jpeg)) as image:
            sheet.paste(image.resize((CELL_WIDTH - 12, CELL_WIDTH - 12), Image.Resampling.BICUBIC), (x + 6, y + 6))
        canvas.text((x + 6, y + CELL_WIDTH), photo.photo_id, fill="gray", font=font)
        canvas.multiline_text((x + 6, y + CELL_WIDTH + 15), text, fill="black", font=font, spacing=2)
    return sheet
