"""Captions photos with a trained run or an export: prints PHOTO<TAB>CAPTION a line."""

import argparse
import io
import json
import os
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tfcaption.preprocessing import photos
from tfcaption.preprocessing.photos import PhotoError, photos_below
from tfcaption.records.captions import Hypothesis, PhotoCaptions
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import load_run
from tfcaption.runtime.command import command_parser
from tfcaption.runtime.paths import as_path
from tfcaption.runtime.process import start_tensorflow
from tfcaption.runtime.progress import Progress
from tfcaption.serving.photo_captioner import PhotoCaptioner, caption_photos

EXAMPLES = """examples:
  python -m tfcaption.caption --run runs/flickr8k_frozen photo.jpg
  # a folder and all below it, with an export, as JSON with the three best captions of each photo
  python -m tfcaption.caption --model exports/flickr8k/1 holiday/ --json --nbest 3
  # photos listed by another program; pictures with the caption under the photo
  find /photos -name '*.jpg' -newer last | python -m tfcaption.caption --run runs/a --show pictures/ -

Thousands of photos: python -m beam_jobs.caption_images."""

BATCH_SIZE = 16
BEAM = 3  # as tfcaption.evaluate searches
MANY_PHOTOS = 64  # more take over a few seconds
PICTURE_WIDTH = 640
FONT_SIZE = 22


class RunCaptioner:
    """Captions photos with a run directory, prepared exactly as those that were trained on.

    Args:
        path: the run directory.
        checkpoint: `best` (by `train.early_stopping_metric`) or `last`.
        beam: of the search, and so captions of a photo; 1 is greedy.

    Raises:
        RunError: no run, or no checkpoint.
    """

    def __init__(self, path: str | Path, *, checkpoint: str = "best", beam: int = BEAM) -> None:
        run = load_run(path)
        self.beam = beam
        self._settings = run.info.settings
        start_tensorflow()
        import tensorflow as tf

        from tfcaption.decoding.beam_search import beam_search
        from tfcaption.preprocessing.tokenizer import Vocabulary

        captioner, _ = load_captioner(run, checkpoint)
        vocabulary = Vocabulary(run.words)

        @tf.function(autograph=False, reduce_retracing=True)
        def caption(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            found = beam_search(captioner, captioner.encode(images), max_tokens=run.info.max_length, beam=beam)
            return vocabulary.decode(found.tokens), found.scores

        self._caption = caption

    def prepare(self, data: bytes) -> bytes:
        """The JPEG that the model takes, from the content of a photo file; raises PhotoError."""
        return photos.prepare_photo(data, image_size=self._settings.image_size, resize=self._settings.resize)

    def __call__(self, photos: Sequence[bytes]) -> list[PhotoCaptions | PhotoError]:
        """Captions of prepared photos, in their order."""
        import tensorflow as tf

        from tfcaption.input_pipeline.parsing import decode_jpeg

        if not photos:
            return []
        captions, scores = self._caption(tf.stack([decode_jpeg(photo) for photo in photos]))
        rows = zip(captions.numpy(), scores.numpy().tolist(), strict=True)
        return [
            PhotoCaptions(tuple(Hypothesis(c.decode(), s) for c, s in zip(*row, strict=True) if s > float("-inf")))
            for row in rows
        ]


def find_photos(names: Sequence[str]) -> list[str]:
    """Photo files from files, folders (all photos below) and `-` (paths on standard input, one a line).

    Raises:
        ValueError: a folder without photos.
    """
    found: list[str] = []
    for name in names:
        if name == "-":
            found += find_photos([line for line in sys.stdin.read().splitlines() if line.strip() and line != "-"])
        elif as_path(name).is_dir():
            below = photos_below(name)
            if not below:
                raise ValueError(f"{name}: no photo below it")
            found += map(str, below)
        else:
            found.append(name)
    return found


def caption_files(captioner: PhotoCaptioner, paths: Sequence[str]) -> Iterator[tuple[str, PhotoCaptions | PhotoError]]:
    """Caption photo files, a batch at a time; yields captions or what is wrong with it of each, in their order."""
    for start in range(0, len(paths), BATCH_SIZE):
        group = paths[start : start + BATCH_SIZE]
        yield from zip(group, caption_photos(captioner, [_read(path) for path in group]), strict=True)


def _read(path: str) -> bytes | PhotoError:
    try:
        return as_path(path).read_bytes()
    except OSError as error:
        return PhotoError("unreadable", error.strerror or str(error))


def picture(path: str, caption: str) -> Image.Image:
    """The photo with its caption below, PICTURE_WIDTH wide."""
    with Image.open(io.BytesIO(as_path(path).read_bytes()), formats=photos.FORMATS) as opened:
        photo = photos.to_rgb(opened)
    photo = photo.resize((PICTURE_WIDTH, max(1, round(photo.height * PICTURE_WIDTH / photo.width))))
    font = ImageFont.load_default(FONT_SIZE)
    lines = textwrap.wrap(caption, PICTURE_WIDTH * 2 // FONT_SIZE) or [""]
    sheet = Image.new("RGB", (PICTURE_WIDTH, photo.height + FONT_SIZE * (len(lines) + 1) * 5 // 4), "white")
    sheet.paste(photo)
    text = (FONT_SIZE, photo.height + FONT_SIZE // 2)
    ImageDraw.Draw(sheet).multiline_text(text, "\n".join(lines), fill="black", font=font)
    return sheet


class PictureFolder:
    """Writes pictures with captions into a folder, named for their photos; numbered where two names are the same."""

    def __init__(self, folder: str) -> None:
        self._folder, self._names = as_path(folder), Counter[str]()
        self._folder.mkdir(parents=True, exist_ok=True)

    def add(self, path: str, caption: str) -> None:
        """Write one picture."""
        stem = Path(path).stem
        self._names[stem] += 1
        number = f"-{self._names[stem]}" if self._names[stem] > 1 else ""
        with (self._folder / f"{stem}{number}.jpg").open("wb") as stream:
            picture(path, caption).save(stream, "JPEG", quality=90)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's options, checked against each other."""
    parser = command_parser("tfcaption.caption", EXAMPLES)
    models = parser.add_mutually_exclusive_group(required=True)
    models.add_argument("--run", help="run directory")
    models.add_argument("--model", metavar="EXPORT", help="SavedModel of tfcaption.export")
    parser.add_argument("--checkpoint", choices=["best", "last"], help="of the run (default: best)")
    parser.add_argument("--beam", type=int, metavar="N", help=f"of the search with a run; 1: greedy (default: {BEAM})")
    parser.add_argument("--nbest", type=int, default=1, metavar="N", help="captions a photo (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print lines {path, caption, score, nbest}")
    parser.add_argument("--show", metavar="DIR", help="write each photo with its caption under it into this folder")
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="files, folders, or - for paths on standard input")
    arguments = parser.parse_args(argv)
    if arguments.model and (arguments.beam is not None or arguments.checkpoint):
        parser.error("--beam and --checkpoint go with --run; an export has its own")
    if arguments.nbest < 1 or (arguments.beam is not None and arguments.beam < arguments.nbest):
        parser.error("--nbest must be at least 1 and at most --beam")
    return arguments


def open_captioner(arguments: argparse.Namespace, count: int) -> PhotoCaptioner:
    """The run or export that the command names, to caption so many photos."""
    if arguments.run:
        beam = arguments.beam or max(BEAM, arguments.nbest)
        return RunCaptioner(arguments.run, checkpoint=arguments.checkpoint or "best", beam=beam)
    from tfcaption.exported import ExportedCaptioner

    captioner = ExportedCaptioner(arguments.model, batch_size=min(count, BATCH_SIZE))
    if captioner.beam < arguments.nbest:
        raise ValueError(
            f"{arguments.model}: was exported with a beam of {captioner.beam}; ask for --nbest {captioner.beam} or "
            "fewer, or export it with a wider beam"
        )
    return captioner


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 1 if any photo could not be captioned."""
    arguments = parse_arguments(argv)
    failed = False
    try:
        paths = find_photos(arguments.photos)
        pictures = PictureFolder(arguments.show) if arguments.show else None
        captioner = open_captioner(arguments, len(paths))
        # On a terminal the captions themselves show how far it is.
        shown = len(paths) > MANY_PHOTOS and not sys.stdout.isatty()
        with Progress(len(paths), unit="photos", label="captioning") if shown else nullcontext() as progress:
            for done, (path, captions) in enumerate(caption_files(captioner, paths), start=1):
                if isinstance(captions, PhotoError):
                    failed = True
                    print(f"error: {_printable(path)}: {captions}", file=sys.stderr)
                else:
                    _print(_printable(path), captions, arguments)
                    if pictures:
                        pictures.add(path, captions.nbest[0].caption)
                if progress:
                    progress.update(done)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if arguments.show:
        print(f"pictures: {arguments.show}", file=sys.stderr)
    return int(failed)


def _print(path: str, captions: PhotoCaptions, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps({"path": path, **captions.as_json(arguments.nbest)}, ensure_ascii=False), flush=True)
    else:
        for spoken in captions.nbest[: arguments.nbest]:
            print(f"{path}\t{spoken.caption}", flush=True)


def _printable(path: str) -> str:
    """A path as text, though its bytes be no UTF-8."""
    return os.fsencode(path).decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
