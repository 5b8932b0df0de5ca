"""Verifies records or features against their description, prints what records hold, shows photos, repairs.

Prints a summary, every fault, and what to do about it.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tfcaption.inspection.contact_sheet import contact_sheet
from tfcaption.inspection.verification import Inspection, inspect_features, inspect_records
from tfcaption.records.dataset_info import DATASET_FILE, FEATURES_FILE, PARTIAL_FEATURES_FILE, load_features_info
from tfcaption.runtime.command import command_parser, reports_errors
from tfcaption.runtime.folder_lock import locked
from tfcaption.runtime.paths import as_path
from tfcaption.runtime.process import start_tensorflow

EXAMPLES = """examples:
  python -m tfcaption.inspect records/
  # also a picture of 12 photos of each split with their captions
  python -m tfcaption.inspect records/ --show 12
  # what extract_features would make again
  python -m tfcaption.inspect features/pooled
  # write a missing or wrong dataset.json or vocabulary.txt again from whole shards; list what must be built again
  python -m tfcaption.inspect records/ --repair
  python -m tfcaption.inspect records/ --repair --set source=flickr8k resize=crop min_count=3"""

SHOWN_FAULTS = 20


def summary(found: Inspection) -> str:
    """What the records hold, for people."""
    info, settings = found.info, found.info.settings
    rejected = sum(info.rejected_photos.values()), sum(info.rejected_captions.values())
    lines = [
        f"{settings.source}, {settings.image_size}x{settings.image_size} ({settings.resize}), "
        f"vocabulary {info.vocabulary_size:,} (words seen {settings.min_count} times or more)",
        f"rejected: {rejected[0]:,} photos, {rejected[1]:,} captions; "
        f"unused: {sum(info.unused_photos.values()):,} photos",
    ]
    for split, split_info in info.splits.items():
        lengths = split_info.caption_lengths
        mean = split_info.tokens / max(split_info.captions, 1)
        lines.append(
            f"{split:5} {found.photos.get(split, 0):8,} photos {split_info.captions:9,} captions "
            f"in {len(split_info.shards):,} shards; "
            f"tokens a caption: mean {mean:.1f}, longest {max(lengths, default=0)}; "
            f"oov {split_info.oov_rate:.2%}"
        )
    return "\n".join(lines)


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 1 if anything is wrong with the records or features."""
    parser = command_parser("tfcaption.inspect", EXAMPLES)
    parser.add_argument("records", help="folder that build_records or extract_features wrote")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="write SPLIT.png with N photos of each split")
    parser.add_argument("--output", default=".", help="folder for those pictures (default: here)")
    parser.add_argument("--repair", action="store_true", help="mend what whole shards can tell")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="what build_records was given, for --repair where dataset.json is gone",
    )
    arguments = parser.parse_args(argv)
    folder = as_path(arguments.records)
    if any((folder / name).exists() for name in (FEATURES_FILE, PARTIAL_FEATURES_FILE)):
        return _features(folder)
    if arguments.repair and folder.is_dir():
        given = dict(pair.partition("=")[::2] for pair in arguments.set)
        if not _repaired(folder, {key: yaml.safe_load(value) for key, value in given.items()}):
            return 1
    return _records(folder, arguments.show, as_path(arguments.output))


def _records(folder: Path, show: int, output: Path) -> int:
    found = inspect_records(folder, show=show)
    print(summary(found))
    for split, shown in found.shown.items():
        if shown:
            path = output / f"{split}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as stream:
                contact_sheet(shown).save(stream, "PNG")
            print(f"pictures: {path}")
    if not found.faults:
        print("no faults")
        return 0
    for fault in found.faults[:SHOWN_FAULTS]:
        print(f"fault: {fault}", file=sys.stderr)
    print(
        f"{len(found.faults):,} fault(s); see what --repair can mend, or build these records again with --overwrite",
        file=sys.stderr,
    )
    return 1


def _repaired(folder: Path, given: Mapping[str, Any]) -> bool:
    """Repair records and say so; whether nothing must be built again."""
    from tfcaption.inspection.repair import repair_records

    start_tensorflow()  # captions are tokenized again
    with locked(folder):
        done = repair_records(folder, given)
    for name in done.written:
        print(f"written again: {folder / name}")
    if done.assumed and DATASET_FILE in done.written:
        print(f"assumed, since no shard tells it: {', '.join(done.assumed)}; give what is otherwise with --set")
    for what in done.lost:
        print(f"lost, unless the records are built again: {what}")
    for shard, fault in done.rebuild.items():
        print(f"to build again: {shard}: {fault}", file=sys.stderr)
    if done.rebuild:
        print(
            f"{len(done.rebuild):,} shard(s) to build again; all come out as they were:\n  {done.command}",
            file=sys.stderr,
        )
    return not done.rebuild


def _features(folder: Path) -> int:
    info = load_features_info(folder)
    shards = [shard for split in info.splits.values() for shard in split]
    settings = info.settings
    photos = sum(shard.records for shard in shards)
    print(f"{photos:,} photos, {settings}, {len(shards):,} shards")
    wrong = inspect_features(folder, info)
    for shard, fault in wrong.items():
        print(f"fault: {shard}: {fault.removeprefix(f'{shard}: ')}", file=sys.stderr)
    if wrong:
        source = (
            f"--views {settings.views}" if settings.made_from == "photo" else f"--features {settings.made_from.upper()}"
        )
        print(
            f"{len(wrong):,} shard(s) to make again; this makes no other one:\n  python -m beam_jobs.extract_features "
            f"--records RECORDS {source} --output {folder} --stage {settings.stage} --weights WEIGHTS "
            f"--batch_size {settings.batch_size}",
            file=sys.stderr,
        )
        return 1
    print("no faults")
    return 0


if __name__ == "__main__":
    sys.exit(main())
