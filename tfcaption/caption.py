"""Captions photos with a trained run or an export: prints PHOTO<TAB>CAPTION a line."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from tfcaption.config import BEAM
from tfcaption.preprocessing.photos import PhotoError
from tfcaption.records.captions import PhotoCaptions
from tfcaption.runs.directory import load_run
from tfcaption.runtime.command import command_parser, reports_errors
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.paths import as_path
from tfcaption.runtime.process import start_tensorflow
from tfcaption.runtime.progress import Progress
from tfcaption.serving.export_folder import check_export
from tfcaption.serving.photo_captioner import BATCH_SIZE, PhotoCaptioner, caption_files, find_photos
from tfcaption.serving.pictures import PictureFolder

EXAMPLES = """examples:
  python -m tfcaption.caption --run runs/flickr8k_frozen photo.jpg
  # a folder and all below it, with an export, as JSON with the three best captions of each photo
  python -m tfcaption.caption --model exports/flickr8k/1 holiday/ --json --nbest 3
  # photos listed by another program; pictures of each photo above its caption
  find /photos -name '*.jpg' -newer last | python -m tfcaption.caption --run runs/a --show pictures/ -

Thousands of photos: python -m beam_jobs.caption_images."""
MANY_PHOTOS = 64  # more than this takes longer than a few seconds


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's options, checked against each other."""
    parser = command_parser("tfcaption.caption", EXAMPLES)
    models = parser.add_mutually_exclusive_group(required=True)
    models.add_argument("--run", type=as_path, help="run directory")
    models.add_argument("--model", type=as_path, metavar="EXPORT", help="SavedModel of tfcaption.export")
    parser.add_argument("--checkpoint", choices=["best", "last"], help="of the run (default: best)")
    parser.add_argument("--beam", type=int, metavar="N", help=f"beam width with --run; 1: greedy (default: {BEAM})")
    parser.add_argument("--nbest", type=int, default=1, metavar="N", help="captions per photo (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print lines {path, caption, score, nbest}")
    parser.add_argument("--show", type=as_path, metavar="DIR", help="write each photo above its caption into DIR")
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="files, folders, or - for paths on standard input")
    arguments = parser.parse_args(argv)
    if arguments.model and (arguments.beam is not None or arguments.checkpoint):
        parser.error("--beam and --checkpoint need --run; an export has its own")
    if arguments.nbest < 1 or (arguments.beam is not None and arguments.beam < arguments.nbest):
        parser.error("--nbest must be at least 1 and at most --beam")
    return arguments


def open_captioner(arguments: argparse.Namespace, photos: int) -> PhotoCaptioner:
    """The run or export that the command names, for so many photos."""
    run = load_run(arguments.run) if arguments.run else None
    if run is None:
        check_export(arguments.model)
    start_tensorflow()
    from tfcaption.serving.exported_captioner import ExportedCaptioner
    from tfcaption.serving.run_captioner import RunCaptioner

    if run is not None:
        beam = arguments.beam or max(BEAM, arguments.nbest)
        return RunCaptioner(run, checkpoint=arguments.checkpoint or "best", beam=beam)
    captioner = ExportedCaptioner(arguments.model, batch_size=min(photos, BATCH_SIZE))
    if captioner.beam < arguments.nbest:
        raise UsageError(
            f"{arguments.model}: exported with a beam of {captioner.beam}; choose --nbest {captioner.beam} or fewer, "
            "or export it with a wider beam"
        )
    return captioner


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 1 if any photo could not be captioned."""
    arguments = parse_arguments(argv)
    paths = find_photos(arguments.photos)
    pictures = PictureFolder(arguments.show) if arguments.show else None
    captioner = open_captioner(arguments, len(paths))
    failed = False
    # On a terminal the captions themselves show the progress.
    shows_progress = len(paths) > MANY_PHOTOS and not sys.stdout.isatty()
    with Progress(len(paths), unit="photos", label="captioning") if shows_progress else nullcontext() as progress:
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
    if arguments.show:
        print(f"pictures: {arguments.show}", file=sys.stderr)
    return int(failed)


def _print(path: str, captions: PhotoCaptions, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps({"path": path, **captions.as_json(arguments.nbest)}, ensure_ascii=False), flush=True)
    else:
        for hypothesis in captions.nbest[: arguments.nbest]:
            print(f"{path}\t{hypothesis.caption}", flush=True)


def _printable(path: str) -> str:
    """A path as text, even if its bytes are not UTF-8."""
    return os.fsencode(path).decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
