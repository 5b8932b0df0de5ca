"""Pictures of photos above their captions."""

from PIL import Image, ImageDraw, ImageFont

from tfcaption.records.display import display_text, wrapped_lines

PICTURE_WIDTH = 640  # pixels
FONT_SIZE = 22
_QUIET = "#5c5c66"


def draw_caption(photo: Image.Image, caption: str, note: str = "") -> Image.Image:
    """An RGB photo above its caption, PICTURE_WIDTH wide; a note stands below the caption in grey."""
    photo = photo.resize((PICTURE_WIDTH, max(1, round(photo.height * PICTURE_WIDTH / photo.width))))
    font = ImageFont.load_default(FONT_SIZE)
    width = PICTURE_WIDTH - 2 * FONT_SIZE
    lines = wrapped_lines(display_text(caption), width, font.getlength)
    notes = wrapped_lines(display_text(note), width, font.getlength) if note else []
    height = FONT_SIZE * (len(lines) + len(notes) + 1) * 5 // 4
    sheet = Image.new("RGB", (PICTURE_WIDTH, photo.height + height), "white")
    sheet.paste(photo)
    canvas = ImageDraw.Draw(sheet)
    x, y = FONT_SIZE, photo.height + FONT_SIZE // 2
    canvas.multiline_text((x, y), "\n".join(lines), fill="black", font=font)
    canvas.multiline_text((x, y + FONT_SIZE * len(lines) * 5 // 4), "\n".join(notes), fill=_QUIET, font=font)
    return sheet
