"""Pictures of photos above their captions."""

import io
from collections import Counter
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tfcaption.preprocessing import photos
from tfcaption.records.display import display_text, wrapped_lines
from tfcaption.runtime.paths import as_path

PICTURE_WIDTH = 640  # pixels
FONT_SIZE = 22


def captioned_picture(path: str, caption: str) -> Image.Image:
    """The photo of a file above its caption."""
    with Image.open(io.BytesIO(as_path(path).read_bytes()), formats=photos.FORMATS) as opened:
        return draw_caption(photos.to_rgb(opened), caption)


def draw_caption(photo: Image.Image, caption: str) -> Image.Image:
    """An RGB photo above its caption, PICTURE_WIDTH wide."""
    photo = photo.resize((PICTURE_WIDTH, max(1, round(photo.height * PICTURE_WIDTH / photo.width))))
    font = ImageFont.load_default(FONT_SIZE)
    lines = wrapped_lines(display_text(caption), PICTURE_WIDTH - 2 * FONT_SIZE, font.getlength)
    sheet = Image.new("RGB", (PICTURE_WIDTH, photo.height + FONT_SIZE * (len(lines) + 1) * 5 // 4), "white")
    sheet.paste(photo)
    text = (FONT_SIZE, photo.height + FONT_SIZE // 2)
    ImageDraw.Draw(sheet).multiline_text(text, "\n".join(lines), fill="black", font=font)
    return sheet


class PictureFolder:
    """Writes captioned pictures into a folder, named after their photos; equal names are numbered."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._names = folder, Counter[str]()
        self._folder.mkdir(parents=True, exist_ok=True)

    def add(self, path: str, caption: str) -> None:
        """Write one picture."""
        stem = Path(path).stem
        self._names[stem] += 1
        number = f"-{self._names[stem]}" if self._names[stem] > 1 else ""
        with (self._folder / f"{stem}{number}.jpg").open("wb") as stream:
            captioned_picture(path, caption).save(stream, "JPEG", quality=90)
