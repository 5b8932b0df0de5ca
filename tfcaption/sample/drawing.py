"""Draws a scene: its place, then its subject."""

import random

from PIL import Image

from tfcaption.sample.brush import DARK, HEIGHT, SMOOTHING, WHITE, WIDTH, Brush, Colour, mixed
from tfcaption.sample.places import DRAW_PLACE, draw_road
from tfcaption.sample.scenes import Scene
from tfcaption.sample.subjects import COLOURS, DRAW_SUBJECT

# Action -> where its subject stands and how large it is: columns, rows and sizes. Others are anywhere on the ground.
_GROUND = ((125, 195), (198, 214), (1.25, 1.45))
_STANDS = {
    "cat": ((84, 96), (198, 214), (1.2, 1.35)),
    "dog": ((60, 90), (198, 214), (1.2, 1.35)),
    "ball": ((90, 150), (198, 214), (1.2, 1.35)),
    "snowman": ((70, 130), (198, 214), (1.2, 1.35)),
    "kite": ((90, 170), (200, 216), (1.05, 1.2)),
    "drive": ((120, 200), (214, 214), (1.2, 1.4)),
    "sail": ((120, 200), (172, 186), (1.2, 1.35)),
    "fly": ((125, 195), (102, 124), (1.25, 1.45)),
    "float": ((120, 200), (94, 108), (1.2, 1.35)),
}


def draw_scene(scene: Scene, generator: random.Random) -> Image.Image:
    """A photo of a scene, 320x240 pixels, RGB; the generator decides positions, sizes and ornaments."""
    image = Image.new("RGB", (WIDTH * SMOOTHING, HEIGHT * SMOOTHING))
    DRAW_PLACE[scene.place](Brush(image), generator)
    if scene.action == "drive" and scene.place != "street":
        draw_road(Brush(image), night=scene.place == "night")
    columns, rows, sizes = _STANDS.get(scene.action, _GROUND)
    x, y, size = generator.randint(*columns), generator.randint(*rows), generator.uniform(*sizes)
    mirrored = generator.random() < 0.5
    brush = Brush(image, WIDTH - x if mirrored else x, y, size, mirrored=mirrored)
    DRAW_SUBJECT[scene.subject](brush, _varied(COLOURS[scene.colour], generator), scene.action)
    return image.reduce(SMOOTHING)


def _varied(colour: Colour, generator: random.Random) -> Colour:
    """The colour, a little lighter or darker."""
    return mixed(colour, generator.choice((DARK, WHITE)), generator.uniform(0, 0.08))
