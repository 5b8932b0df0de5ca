"""Captions photos with a trained run: prints PHOTO<TAB>CAPTION a line."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tfcaption import photos, runs, terminal

EXAMPLES = """examples:
  python -m tfcaption.caption --run runs/flickr8k_frozen photo.jpg
  python -m tfcaption.caption --run runs/flickr8k_frozen holiday/*.jpg"""

BATCH_SIZE = 16


def caption_photos(
    run_path: str | Path, paths: Sequence[str], *, checkpoint: str = "best"
) -> Iterator[tuple[str, str | None, str]]:
    """Caption photo files, prepared exactly as those that were trained on.

    Args:
        run_path: the run directory.
        paths: photo files.
        checkpoint: `best` (by dev loss) or `last`.

    Yields:
        Path, caption or None, and what was wrong with the file, in the order of `paths`.

    Raises:
        RunError: no run, or no checkpoint.
    """
    run = runs.load_run(run_path)
    terminal.start_tensorflow()
    import tensorflow as tf

    from tfcaption import input_pipeline, search, text

    captioner, _ = runs.load_captioner(run, checkpoint)
    vocabulary = text.Vocabulary(run.words)

    @tf.function(autograph=False, reduce_retracing=True)
    def caption(images: tf.Tensor) -> tf.Tensor:
        found = search.greedy_search(captioner, captioner.encode(images), max_tokens=run.info.max_length)
        return vocabulary.decode(found)

    for start in range(0, len(paths), BATCH_SIZE):
        images, errors = [], {}
        group = paths[start : start + BATCH_SIZE]
        for path in group:
            try:
                jpeg = photos.prepare_photo(
                    Path(path).read_bytes(),
                    image_size=run.info.settings.image_size,
                    resize=run.info.settings.resize,
                )
                images.append(input_pipeline.decode_jpeg(jpeg))
            except (photos.PhotoError, OSError) as error:
                errors[path] = str(error)
        captions = iter(caption(tf.stack(images)).numpy() if images else [])
        for path in group:
            yield path, None if path in errors else next(captions).decode(), errors.get(path, "")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 1 if any photo could not be captioned."""
    parser = terminal.command_parser("tfcaption.caption", EXAMPLES)
    parser.add_argument("--run", required=True, help="run directory")
    parser.add_argument("--checkpoint", default="best", choices=["best", "last"], help="default: %(default)s")
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="photo files")
    arguments = parser.parse_args(argv)
    failed = False
    try:
        for path, caption, error in caption_photos(arguments.run, arguments.photos, checkpoint=arguments.checkpoint):
            if caption is None:
                failed = True
                print(f"error: {path}: {error}", file=sys.stderr)
            else:
                print(f"{path}\t{caption}", flush=True)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
