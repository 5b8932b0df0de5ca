"""Writes a synthetic captioned data set: coloured shapes on textured backgrounds, in the layout of Flickr8k.

With it every command can be tried without a download. The files depend on the seed alone. Prints the folders it wrote.
"""

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfcaption.runtime.command import command_parser, reports_errors
from tfcaption.runtime.progress import Progress

EXAMPLES = """examples:
  python -m tfcaption.sample_data --output demo/sample
  python -m tfcaption.sample_data --output /tmp/tiny --photos 60 --seed 1"""

WIDTH, HEIGHT = 160, 120
COLOURS = {
    "red": (214, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 210),
    "yellow": (240, 210, 40),
}
SHAPES = ("circle", "square", "triangle")
RADIUS = {"small": 14, "large": 27}
TEXTURES = ("plain", "striped", "dotted", "checked")
PLACES = {"left": (40, 60), "right": (120, 60), "top": (80, 32), "bottom": (80, 88), "middle": (80, 60)}
RELATIONS = {  # centres of the first and the second shape, in pixels; the key says where the first one is
    "above": ((80, 30), (80, 90)),
    "below": ((80, 90), (80, 30)),
    "left of": ((40, 60), (120, 60)),
    "right of": ((120, 60), (40, 60)),
}
OPPOSITE = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}
SPLIT_SHARES = {"train": 0.8, "dev": 0.1, "test": 0.1}


@dataclass(frozen=True)
class Thing:
    """One shape in a picture: its size, colour and kind."""

    size: str
    colour: str
    shape: str

    @property
    def short(self) -> str:
        """Noun phrase without the size: red circle."""
        return f"{self.colour} {self.shape}"

    @property
    def full(self) -> str:
        """Noun phrase with the size: large red circle."""
        return f"{self.size} {self.short}"


@dataclass(frozen=True)
class Scene:
    """Content of one picture: one shape at a position, or two shapes in a spatial relation."""

    texture: str
    things: tuple[Thing, ...]
    where: str  # a key of PLACES or RELATIONS


def draw_scene(scene: Scene, generator: random.Random) -> object:
    """Render a scene as a 160x120 RGB `PIL.Image.Image`."""
    from PIL import Image, ImageDraw

    tone = generator.randint(120, 170)
    dark, light = (tone - 22,) * 3, (tone + 22,) * 3
    image = Image.new("RGB", (WIDTH, HEIGHT), dark if scene.texture != "plain" else (tone,) * 3)
    canvas = ImageDraw.Draw(image)
    step = 16
    for x in range(0, WIDTH, step):
        for y in range(0, HEIGHT, step):
            if scene.texture == "dotted":
                canvas.ellipse((x + 4, y + 4, x + 11, y + 11), fill=light)
            elif (scene.texture == "checked" and (x + y) // step % 2) or (scene.texture == "striped" and x // step % 2):
                canvas.rectangle((x, y, x + step - 1, y + step - 1), fill=light)
    places = RELATIONS[scene.where] if len(scene.things) == 2 else (PLACES[scene.where],)
    for thing, (x, y) in zip(scene.things, places, strict=True):
        x, y = x + generator.randint(-5, 5), y + generator.randint(-3, 3)
        r = RADIUS[thing.size] + generator.randint(-2, 2)
        colour = tuple(max(0, min(255, value + generator.randint(-12, 12))) for value in COLOURS[thing.colour])
        if thing.shape == "circle":
            canvas.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        elif thing.shape == "square":
            canvas.rectangle((x - r, y - r, x + r, y + r), fill=colour)
        else:
            canvas.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=colour)
    return image


def draw_random_scene(generator: random.Random) -> Scene:
    """Sample a scene; its two shapes always differ in colour."""
    things = [
        Thing(generator.choice(list(RADIUS)), colour, generator.choice(SHAPES))
        for colour in generator.sample(list(COLOURS), 2)
    ]
    if generator.random() < 0.5:
        return Scene(generator.choice(TEXTURES), (things[0],), generator.choice(list(PLACES)))
    return Scene(generator.choice(TEXTURES), tuple(things), generator.choice(list(RELATIONS)))


def describe(scene: Scene) -> list[str]:
    """Five captions of a scene in different wordings, with human punctuation."""
    first, ground = scene.things[0], f"a {scene.texture} background"
    if len(scene.things) == 1:
        place = "in the middle" if scene.where == "middle" else f"at the {scene.where}"
        return [
            f"A {first.full} {place} of {ground} .",
            f"There is a {first.full} {place} .",
            f"A {first.full} on {ground} .",
            f"A {first.short} is {place} of the picture .",
            f"One {first.full} , {place} of {ground} .",
        ]
    second, where, opposite = scene.things[1], scene.where, OPPOSITE[scene.where]
    return [
        f"A {first.full} {where} a {second.full} on {ground} .",
        f"There is a {first.full} {where} a {second.full} .",
        f"A {second.full} {opposite} a {first.full} .",
        f"A {first.short} is {where} a {second.short} .",
        f"Two shapes on {ground} : a {first.short} {where} a {second.short} .",
    ]


def write_sample(
    output: str | Path,
    *,
    photos: int = 1200,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Path, Path]:
    """Render the data set in the layout of the official Flickr8k archives.

    Args:
        output: folder to write into.
        photos: number of photos.
        seed: equal seeds give equal files.
        progress: called with the number of photos written so far.

    Returns:
        The folder of the photos and the folder of the caption and split files.
    """
    images, texts = Path(output) / "Flicker8k_Dataset", Path(output) / "Flickr8k_text"
    images.mkdir(parents=True, exist_ok=True)
    texts.mkdir(parents=True, exist_ok=True)
    generator = random.Random(seed)
    lines, names = [], []
    for index in range(photos):
        scene = draw_random_scene(generator)
        name = f"shapes_{index:05d}.jpg"
        draw_scene(scene, generator).save(images / name, quality=92)  # type: ignore[attr-defined]
        lines += [f"{name}#{number}\t{caption}\n" for number, caption in enumerate(describe(scene))]
        names.append(name)
        progress(index + 1)
    (texts / "Flickr8k.token.txt").write_text("".join(lines), encoding="utf-8")
    start = 0
    for split, share in SPLIT_SHARES.items():
        end = photos if split == "test" else start + round(photos * share)
        (texts / f"Flickr_8k.{split}Images.txt").write_text("".join(f"{name}\n" for name in names[start:end]))
        start = end
    return images, texts


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = command_parser("tfcaption.sample_data", EXAMPLES)
    parser.add_argument("--output", required=True, help="folder to write to")
    parser.add_argument("--photos", type=int, default=1200, help="number of photos (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random choices (default: %(default)s)")
    arguments = parser.parse_args(argv)
    if arguments.photos < 10:
        parser.error("--photos must be at least 10, so that every split has photos")
    with Progress(arguments.photos, unit="photos", label="drawing") as progress:
        images, texts = write_sample(
            arguments.output, photos=arguments.photos, seed=arguments.seed, progress=progress.update
        )
    print(f"photos: {images}\ncaptions: {texts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
