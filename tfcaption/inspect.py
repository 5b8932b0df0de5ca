"""Verifies records or features against their description, prints a summary, shows photos, and repairs.

Prints the summary, every fault, and how to fix it.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tfcaption.records.dataset_info import FEATURES_FILE, PARTIAL_FEATURES_FILE
from tfcaption.records.vocabulary import Vocabulary
from tfcaption.runtime.command import command_parser, reports_errors
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.folder_lock import locked
from tfcaption.runtime.paths import as_path
from tfcaption.runtime.process import start_tensorflow

EXAMPLES = """examples:
  python -m tfcaption.inspect records/
  # also writes pictures of 12 photos of each split with their captions: records-pictures/train.png, ...
  python -m tfcaption.inspect records/ --show 12
  # lists the shards that extract_features would rebuild
  python -m tfcaption.inspect features/pooled
  # rewrites a missing or wrong dataset.json or vocabulary.txt from intact shards, lists the shards to rebuild
  python -m tfcaption.inspect records/ --repair
  python -m tfcaption.inspect records/ --repair --set source=flickr8k resize=crop min_count=3"""


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 1 if the records or features have faults."""
    parser = command_parser("tfcaption.inspect", EXAMPLES)
    parser.add_argument(
        "records", type=as_path, help="folder that build_records, extract_features or import_features wrote"
    )
    parser.add_argument("--show", type=int, default=0, metavar="N", help="write SPLIT.png with N photos of each split")
    parser.add_argument(
        "--output", type=as_path, metavar="DIR", help="folder for these pictures (default: RECORDS-pictures)"
    )
    parser.add_argument("--repair", action="store_true", help="fix what intact shards allow to fix")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="settings of build_records, for --repair if dataset.json is lost",
    )
    arguments = parser.parse_args(argv)
    folder = arguments.records
    from tfcaption.inspection.console import print_features, print_records, print_repair
    from tfcaption.inspection.repair import repair_records
    from tfcaption.inspection.verification import check_kind

    if any((folder / name).exists() for name in (FEATURES_FILE, PARTIAL_FEATURES_FILE)):
        return 0 if print_features(folder) else 1
    check_kind(folder)
    if arguments.repair and folder.is_dir():
        with locked(folder):
            repair = repair_records(folder, _tokenize, _settings(arguments.set))
        if not print_repair(folder, repair):
            return 1
    return 0 if print_records(folder, show=arguments.show, pictures=arguments.output or _beside(folder)) else 1


def _beside(folder: Path) -> Path:
    """The folder for pictures of records, beside them."""
    named = folder if folder.name not in ("", "..") else folder.resolve()
    return named.with_name(f"{named.name}-pictures")


def _settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Settings of `build_records` from KEY=VALUE pairs."""
    for pair in pairs:
        if "=" not in pair:
            raise UsageError(f"--set {pair}: must be KEY=VALUE")
    return {key: yaml.safe_load(value) for key, _, value in (pair.partition("=") for pair in pairs)}


def _tokenize(captions: Sequence[str], vocabulary: Vocabulary) -> list[list[str]]:
    start_tensorflow()
    from tfcaption.preprocessing.tokenizer import Tokenizer  # only a repair with intact shards needs TensorFlow

    return Tokenizer(vocabulary).split(captions)


if __name__ == "__main__":
    sys.exit(main())
