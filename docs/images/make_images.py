"""Makes the pictures of this folder; README.md has the commands that make what it takes.

python docs/images/make_images.py RUN PHOTOS REPORT
"""

import io
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tfcaption.records.display import display_text, wrapped_lines
from tfcaption.reporting.page import attention_mask

HERE = Path(__file__).parent
WIDTH, MARGIN, GAP = 1600, 32, 24  # pixels
PHOTOS, TILES = 4, 7  # photos in the first row; words in a row beside the photo of the second
TEXT, QUIET = (31, 35, 40), (101, 109, 118)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def draw_captions(run: Path, photos: Path) -> Image.Image:
    """Four photos above their captions; below them one with its attention at each word."""
    lines = [json.loads(line) for line in (run / "eval-test" / "captions.jsonl").read_text().splitlines()]
    right = [line for line in lines if plain(line["caption"]) in map(plain, line["references"])]
    print(f"{len(right)} of {len(lines)} captions are word for word a reference of their photo")
    first_row = different(right, PHOTOS)
    fits = [line for line in right if line not in first_row and 2 * TILES - 2 <= len(line["attention"]) <= 2 * TILES]
    looked = max(fits, key=movement)
    sheet = Image.new("RGB", (WIDTH, 960), "white")
    canvas = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(25), ImageFont.load_default(20)

    width = (WIDTH - 2 * MARGIN - (PHOTOS - 1) * GAP) // PHOTOS
    height = width * 3 // 4
    for index, line in enumerate(first_row):
        x = MARGIN + index * (width + GAP)
        paste(sheet, picture(photos / line["id"], (width, height)), (x, MARGIN))
        write(canvas, (x, MARGIN + height + 14), line["caption"], width, font)

    top = MARGIN + height + 122
    paste(sheet, picture(photos / looked["id"], (width, height)), (MARGIN, top))
    write(canvas, (MARGIN, top + height + 14), looked["caption"], width, font)
    left = MARGIN + width + GAP
    tile = (WIDTH - left - MARGIN - (TILES - 1) * 12) // TILES
    for index, word in enumerate(looked["attention"]):
        x, y = left + index % TILES * (tile + 12), top + index // TILES * (tile * 3 // 4 + 50)
        paste(sheet, attended(photos / looked["id"], word["weights"], (tile, tile * 3 // 4)), (x, y))
        canvas.text((x + tile / 2, y + tile * 3 // 4 + 6), word["word"], QUIET, small, anchor="ma")
    return sheet.crop((0, 0, WIDTH, top + height + 96))


def plain(caption: str) -> str:
    """A caption without its capital and its dot."""
    return caption.lower().rstrip(" .")


def different(lines: list[dict], count: int) -> list[dict]:
    """The first photo, then each time the one whose references share the fewest words with those before it."""
    words = [set(" ".join(line["references"]).lower().split()) for line in lines]
    chosen = [0]
    while len(chosen) < count:
        chosen.append(min(range(len(lines)), key=lambda i: max(len(words[i] & words[j]) for j in chosen)))
    return [lines[index] for index in chosen]


def movement(line: dict) -> float:
    """How far attention moves from word to word."""
    return float(np.abs(np.diff([word["weights"] for word in line["attention"]], axis=0)).sum(axis=1).mean())


def picture(path: Path, size: tuple[int, int]) -> Image.Image:
    """A photo of a size."""
    with Image.open(path) as image:
        return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def attended(path: Path, weights: list[float], size: tuple[int, int]) -> Image.Image:
    """The photo, dark where a word had no attention."""
    photo = picture(path, size).convert("RGBA")
    mask = Image.open(io.BytesIO(attention_mask(weights))).convert("RGBA").resize(size, Image.Resampling.BICUBIC)
    return Image.alpha_composite(photo, mask).convert("RGB")


def paste(sheet: Image.Image, image: Image.Image, place: tuple[int, int], radius: int = 10) -> None:
    """Paste with round corners, drawn larger to be smooth."""
    corners = Image.new("L", (image.width * 4, image.height * 4))
    ImageDraw.Draw(corners).rounded_rectangle((0, 0, corners.width - 1, corners.height - 1), radius * 4, fill=255)
    sheet.paste(image, place, corners.reduce(4))


def write(
    canvas: ImageDraw.ImageDraw, place: tuple[int, int], caption: str, width: int, font: ImageFont.FreeTypeFont
) -> None:
    """A caption below a photo, on two lines at most."""
    lines = wrapped_lines(display_text(caption), width, font.getlength, most=2)
    canvas.multiline_text(place, "\n".join(lines), TEXT, font, spacing=8)


def save(image: Image.Image, path: Path) -> None:
    """A PNG with a palette, a quarter of the size; dithering hides the steps in skies."""
    palette = image.quantize(256, method=Image.Quantize.MAXCOVERAGE)
    image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    print(f"{path}: {image.width}x{image.height}, {path.stat().st_size // 1000} KB")


def screenshot(page: Path, width: int, height: int) -> Image.Image:
    """The top of a page as a browser shows it."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"install one of {', '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.png"
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}"]
        options += [f"--window-size={width},{height}", f"--screenshot={file}"]
        subprocess.run([browser, *options, page.resolve().as_uri()], check=True, capture_output=True, timeout=120)
        return Image.open(file).convert("RGB")


if __name__ == "__main__":
    run, photos, report = map(Path, sys.argv[1:])
    save(draw_captions(run, photos), HERE / "captions.png")
    save(screenshot(report, 1400, 1050), HERE / "report.png")
