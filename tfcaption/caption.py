"""Captions photos with a trained run or an export: prints PHOTO<TAB>CAPTION a line."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from tfcaption.decoding.options import add_caption_options, given_options
from tfcaption.preprocessing.photos import PhotoError
from tfcaption.records.captions import PhotoCaptions
from tfcaption.runtime.command import command_parser, reports_errors
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.paths import as_path
from tfcaption.runtime.process import start_tensorflow
from tfcaption.runtime.progress import Progress
from tfcaption.serving.model_folder import find_model
from tfcaption.serving.photo_captioner import BATCH_SIZE, caption_files, find_photos
from tfcaption.serving.pictures import PictureFolder

EXAMPLES = """examples:
  python -m tfcaption.caption runs/flickr8k_frozen photo.jpg
  # a folder and all below it, with an export, as JSON with the three best captions of each photo
  python -m tfcaption.caption exports/flickr8k/1 holiday/ --json --nbest 3
  # with an export on the Hugging Face Hub, its newest or a stated revision
  python -m tfcaption.caption hf://OWNER/NAME@v1 photo.jpg
  # longer captions; five captions sampled among likely words
  python -m tfcaption.caption runs/a photo.jpg --min_words 8 --length_alpha 1
  python -m tfcaption.caption runs/a photo.jpg --nbest 5 --top_p 0.9 --seed 1
  # photos listed by another program; pictures of each photo above its caption
  find /photos -name '*.jpg' -newer last | python -m tfcaption.caption runs/a --show pictures/ -

Thousands of photos: python -m beam_jobs.caption_images."""
MANY_PHOTOS = 64  # more than this takes longer than a few seconds


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's options, checked against each other."""
    parser = command_parser("tfcaption.caption", EXAMPLES, usage="MODEL PHOTO [PHOTO ...] [options]")
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="MODEL: run directory, export, folder above exports, or hf://OWNER/NAME; then PHOTO: files, folders, or - "
        "for paths on standard input",
    )
    parser.add_argument(
        "--model", "--run", action="append", metavar="MODEL", help="the model, if it is not the first path"
    )
    parser.add_argument("--checkpoint", choices=["best", "last"], help="of a run (default: best)")
    parser.add_argument("--json", action="store_true", help="print lines {path, caption, score, nbest}")
    parser.add_argument("--show", type=as_path, metavar="DIR", help="write each photo above its caption into DIR")
    add_caption_options(parser, takes_exports=True)
    arguments = parser.parse_intermixed_args(argv)  # photos may stand before and after options
    models = arguments.model or [arguments.paths.pop(0)]
    if len(models) > 1:
        parser.error(f"name one model, not {' and '.join(models)}")
    if not arguments.paths:
        parser.error(f"name the model and then photos, such as runs/mine photo.jpg; there is only {models[0]}")
    arguments.model = models[0]
    return arguments


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 1 if any photo could not be captioned."""
    arguments = parse_arguments(argv)
    model, given = find_model(arguments.model), given_options(arguments)
    options = model.options(given, checkpoint=arguments.checkpoint)
    paths = find_photos(arguments.paths)
    if not paths:
        raise UsageError("-: no path on standard input")
    if not any(as_path(path).exists() for path in paths):
        raise UsageError("\nerror: ".join(f"{_printable(path)}: no such file" for path in paths))
    pictures = PictureFolder(arguments.show) if arguments.show else None
    start_tensorflow()
    captioner = model.open(given, checkpoint=arguments.checkpoint, batch_size=min(len(paths), BATCH_SIZE), padded=True)
    failed = False
    # On a terminal the captions themselves show the progress.
    shows_progress = len(paths) > MANY_PHOTOS and not sys.stdout.isatty()
    with Progress(len(paths), unit="photos", label="captioning") if shows_progress else nullcontext() as progress:
        for done, (path, captions) in enumerate(caption_files(captioner, paths), start=1):
            if isinstance(captions, PhotoError):
                failed = True
                print(f"error: {_printable(path)}: {captions}", file=sys.stderr)
            else:
                _print(_printable(path), captions, nbest=options.nbest, as_json=arguments.json)
                if pictures:
                    pictures.add(path, captions.nbest[0].caption)
            if progress:
                progress.update(done)
    if arguments.show:
        print(f"pictures: {arguments.show}", file=sys.stderr)
    return int(failed)


def _print(path: str, captions: PhotoCaptions, *, nbest: int, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"path": path, **captions.as_json(nbest)}, ensure_ascii=False), flush=True)
    else:
        for hypothesis in captions.nbest[:nbest]:
            print(f"{path}\t{hypothesis.caption}", flush=True)


def _printable(path: str) -> str:
    """A path as text, even if its bytes are not UTF-8."""
    return os.fsencode(path).decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
