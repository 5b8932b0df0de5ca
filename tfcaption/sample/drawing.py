"""Draws a scene: its place, then its subject."""

import random

from PIL import Image

from tfcaption.sample.brush import DARK, HEIGHT, SMOOTHING, WHITE, WIDTH, Brush, Colour, mixed
from tfcaption.sample.places import PLACES, draw_road
from tfcaption.sample.scenes import Scene
from tfcaption.sample.subjects import COLOURS, SUBJECTS

# Action -> columns and rows of the photo where the subject stands, if it is not anywhere on the ground.
_COLUMNS = {"cat": (80, 130), "dog": (70, 140), "kite": (70, 200), "snowman": (70, 160), "ball": (80, 180)}
_ROWS = {"fly": (86, 116), "float": (84, 114), "drive": (214, 214), "sail": (170, 190)}


def draw_scene(scene: Scene, generator: random.Random) -> Image.Image:
    """A photo of a scene, 320x240 pixels, RGB; the generator decides positions, sizes and ornaments."""
    image = Image.new("RGB", (WIDTH * SMOOTHING, HEIGHT * SMOOTHING))
    PLACES[scene.place](Brush(image), generator)
    if scene.action == "drive" and scene.place != "street":
        draw_road(Brush(image), night=scene.place == "night")
    left, right = _COLUMNS.get(scene.action, (100, 220))
    x, y = generator.randint(left, right), generator.randint(*_ROWS.get(scene.action, (194, 214)))
    size, mirrored = generator.uniform(1.0, 1.25), generator.random() < 0.5
    brush = Brush(image, WIDTH - x if mirrored else x, y, size, mirrored=mirrored)
    SUBJECTS[scene.subject](brush, _varied(COLOURS[scene.colour], generator), scene.action)
    return image.reduce(SMOOTHING)


def _varied(colour: Colour, generator: random.Random) -> Colour:
    """The colour, a little lighter or darker."""
    return mixed(colour, generator.choice((DARK, WHITE)), generator.uniform(0, 0.08))
