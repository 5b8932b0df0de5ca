"""Publishes an export with a model card, in a folder or on the Hugging Face Hub; prints where it lies."""

import argparse
import fnmatch
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tfcaption.reporting.model_card import UNKNOWN_LICENSE, find_evaluations, model_card
from tfcaption.runtime.command import add_subjects, command_parser, reports_errors, subjects
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.paths import as_path, copy_file, files_below, new_folder
from tfcaption.serving.export_folder import read_description
from tfcaption.serving.hub import CARD_FILE, EXPORT_FILES, HubModel, is_hub_name
from tfcaption.serving.model_folder import find_model

EXAMPLES = """examples:
  # a folder to look at and to change: the export, and its card in README.md
  python -m tfcaption.publish exports/mine --to published/mine --license cc-by-4.0

  # on the hub, after `hf auth login`; a new model is private until you make it public on its page
  python -m tfcaption.publish exports/mine --to hf://me/mine --license cc-by-4.0
  python -m tfcaption.caption hf://me/mine photo.jpg

The card says what export.json and the evaluations of its run know. Evaluate first: python -m tfcaption.evaluate RUN
--split test. A card on the hub is replaced by a new one; to keep a changed one, upload the folder with `hf upload`."""


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's options."""
    parser = command_parser("tfcaption.publish", EXAMPLES, usage="EXPORT --to DIR|hf://OWNER/NAME [options]")
    add_subjects(parser, "--model", metavar="EXPORT", several=False, help="export, or folder above numbered exports")
    parser.add_argument("--to", required=True, metavar="DIR", help="new folder, or hf://OWNER/NAME")
    parser.add_argument(
        "--license",
        default=UNKNOWN_LICENSE,
        metavar="ID",
        help="of the model, as the hub abbreviates it: apache-2.0, cc-by-4.0, cc-by-nc-4.0, other, ... (default: "
        "%(default)s)",
    )
    arguments = parser.parse_args(argv)
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", arguments.license):
        parser.error(f"--license {arguments.license}: must be an abbreviation such as cc-by-4.0")
    (arguments.export,) = subjects(parser, arguments)
    return arguments


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    arguments = parse_arguments(argv)
    model = find_model(arguments.export)
    if model.run is not None:
        raise UsageError(
            f"{arguments.export}: is a run directory; export it first: python -m tfcaption.export {arguments.export} "
            "--output DIR"
        )
    model.options({})  # an export that takes no photos is refused
    hub = HubModel.parse(arguments.to) if is_hub_name(arguments.to) else None
    if hub is None and as_path(arguments.to).exists():
        raise UsageError(f"--to {arguments.to}: exists; remove it, or name a new folder")
    exported = read_description(model.path)
    evaluations = find_evaluations(exported)
    name = hub.name if hub else as_path(arguments.to).name
    card = model_card(name, exported, evaluations, license=arguments.license, address=arguments.to)
    if hub:
        with tempfile.TemporaryDirectory(prefix="tfcaption-") as folder:
            _write(model.path, Path(folder), card)
            place = hub.upload(Path(folder))
    else:
        place = arguments.to
        with new_folder(as_path(arguments.to)) as folder:
            _write(model.path, folder, card)
    splits = " and ".join(each["split"] for each in evaluations)
    print(f"scores in the card: {splits or 'none; the export was not evaluated'}")
    print(f"published: {place}")
    return 0


def _write(export: Path, folder: Path, card: str) -> None:
    """Copy the files of an export, and write its card beside them."""
    for file in files_below(export):
        name = file.relative_to(export).as_posix()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in EXPORT_FILES):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            copy_file(file, folder / name)
    (folder / CARD_FILE).write_text(card, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
