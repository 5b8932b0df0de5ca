"""Writes pictures of photos above their captions."""

import io
from collections import Counter
from pathlib import Path

from PIL import Image

from tfcaption.preprocessing import photos
from tfcaption.preprocessing.captioned_picture import draw_caption
from tfcaption.runtime.paths import as_path


def captioned_picture(path: str, caption: str) -> Image.Image:
    """The photo of a file above its caption."""
    with Image.open(io.BytesIO(as_path(path).read_bytes()), formats=photos.FORMATS) as opened:
        return draw_caption(photos.to_rgb(opened), caption)


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
