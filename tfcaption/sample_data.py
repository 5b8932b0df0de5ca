"""Writes a synthetic captioned data set: drawn scenes, in the layout of Flickr8k.

With it every command can be tried without a download. The files depend on the seed alone. Prints the folders it wrote.
"""

import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tfcaption.runtime.command import command_parser, reports_errors
from tfcaption.runtime.progress import Progress
from tfcaption.sample.scenes import random_scene
from tfcaption.sample.wording import describe

EXAMPLES = """examples:
  python -m tfcaption.sample_data --output demo/sample
  python -m tfcaption.sample_data --output /tmp/tiny --photos 60 --seed 1"""

SPLIT_SHARES = {"train": 0.8, "dev": 0.1, "test": 0.1}


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
    from tfcaption.sample.drawing import draw_scene  # Pillow, which --help need not load

    images, texts = Path(output) / "Flicker8k_Dataset", Path(output) / "Flickr8k_text"
    images.mkdir(parents=True, exist_ok=True)
    texts.mkdir(parents=True, exist_ok=True)
    generator = random.Random(seed)
    lines, names = [], []
    for index in range(photos):
        scene = random_scene(generator)
        name = f"scene_{index:05d}.jpg"
        draw_scene(scene, generator).save(images / name, quality=90)
        captions = describe(scene, generator)
        lines += [f"{name}#{number}\t{caption}\n" for number, caption in enumerate(captions)]
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
