"""Prints the results of inspections and repairs, with the commands that fix what is left."""

import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path

from tfcaption.inspection.contact_sheet import contact_sheet
from tfcaption.inspection.repair import Repair
from tfcaption.inspection.verification import Inspection, inspect_features, inspect_records
from tfcaption.records.dataset_info import DATASET_FILE, IMPORTED, FeaturesInfo, load_features_info
from tfcaption.records.folder_kinds import RUN_FILE, has_file
from tfcaption.records.tfrecord import RecordError
from tfcaption.records.vocabulary import WORDS, load_vocabulary
from tfcaption.runtime.paths import as_path

SHOWN_FAULTS = 20


def print_records(folder: Path, *, show: int, pictures: Path) -> bool:
    """Verify records and print what they contain.

    Args:
        folder: the records.
        show: number of photos per picture of a split; 0: no pictures.
        pictures: folder for the pictures.

    Returns:
        Whether they are free of faults.
    """
    inspection = inspect_records(folder, show=show)
    print(summary(inspection))
    _write_pictures(folder, inspection, pictures)
    if not inspection.faults:
        print("no faults")
        return True
    for fault in inspection.faults[:SHOWN_FAULTS]:
        print(f"fault: {fault}", file=sys.stderr)
    print(
        f"{len(inspection.faults):,} fault(s); see which --repair fixes, or rebuild these records with --overwrite",
        file=sys.stderr,
    )
    return False


def _write_pictures(folder: Path, inspection: Inspection, pictures: Path) -> None:
    vocabulary = None
    with suppress(RecordError):  # a fault of the inspection
        words = frozenset(load_vocabulary(folder).words)
        vocabulary = words if inspection.info.settings.tokenizer == WORDS else None  # the picture knows words alone
    for split, photos in inspection.shown.items():
        if photos:
            path = pictures / f"{split}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            heading = f"{split}: {len(photos):,} of {inspection.photos[split]:,} photos of {folder}"
            with path.open("wb") as stream:
                contact_sheet(photos, heading=heading, vocabulary=vocabulary).save(stream, "PNG")
            print(f"picture: {path}")


def summary(inspection: Inspection) -> str:
    """A human-readable summary of records."""
    info, settings = inspection.info, inspection.info.settings
    words = settings.tokenizer == WORDS
    rejected_photos, rejected_captions, unused, files = (
        sum(counts.values())
        for counts in (info.rejected_photos, info.rejected_captions, info.unused_photos, info.unused_files)
    )
    lines = [
        f"{settings.source}, {settings.image_size}x{settings.image_size} ({settings.resize}), "
        f"vocabulary {info.vocabulary_size:,} ({'' if words else f'tokenizer {settings.tokenizer}; '}"
        f"{'words' if words else 'tokens'} that occur {settings.min_count} times or more)",
        f"rejected: {rejected_photos:,} photos, {rejected_captions:,} captions; "
        f"unused: {unused:,} photos, {files:,} other files",
    ]
    for split, described in info.splits.items():
        mean = described.tokens / max(described.captions, 1)
        lines.append(
            f"{split:5} {inspection.photos[split]:8,} photos {described.captions:9,} captions "
            f"in {len(described.shards):,} shards; "
            f"tokens per caption: mean {mean:.1f}, longest {max(described.caption_lengths, default=0)}; "
            f"oov {described.oov_rate:.2%}"
        )
    return "\n".join(lines)


def print_features(folder: Path) -> bool:
    """Verify features and print what they contain; returns whether they are free of faults."""
    info = load_features_info(folder)
    photos = sum(shard.records for split in info.splits.values() for shard in split)
    made_by = info.name or " and ".join(info.encoder_names)
    print(f"{photos:,} photos, {info.settings}, {made_by}, {len(info.all_shards):,} shards")
    faults = inspect_features(folder, info)
    for shard, fault in faults.items():
        print(f"fault: {shard}: {fault.removeprefix(f'{shard}: ')}", file=sys.stderr)
    if faults:
        if info.weights == IMPORTED:
            cure = f"import them again:\n  {_import_command(folder, info)}"
        else:
            cure = f"this rebuilds no other shard:\n  {_extract_command(folder, info)}"
        print(f"{len(faults):,} shard(s) to rebuild; {cure}", file=sys.stderr)
        return False
    print("no faults")
    return True


def _import_command(folder: Path, info: FeaturesInfo) -> str:
    name = f" --name {shlex.quote(info.name)}" if info.name else ""
    return f"python -m beam_jobs.import_features --records RECORDS --input FEATURES --output {folder}{name} --overwrite"


def _extract_command(folder: Path, info: FeaturesInfo) -> str:
    settings = info.settings
    from_photos = settings.made_from == "photo"
    source = f"--views {settings.views}" if from_photos else f"--features {settings.made_from.upper()}"
    return (
        f"python -m beam_jobs.extract_features --records RECORDS {source} --output {folder} --stage {settings.stage} "
        f"{shlex.join(_encoder_options(info))} --batch_size {settings.batch_size}"
    )


def _encoder_options(info: FeaturesInfo) -> list[str]:
    """The options of extract_features that name the encoder of features, without those that are the default."""
    is_run = info.weights is not None and has_file(as_path(info.weights), RUN_FILE)
    options = ["--run", str(info.weights)] if is_run else []
    if not is_run and info.encoder != FeaturesInfo.model_fields["encoder"].default:
        options += ["--encoder", *info.encoder]
        if len(set(info.encoder_input)) == 1:
            options += ["--encoder_input", info.encoder_input[0]]
    if info.settings.stage == "trunk" and len(info.settings.layers) == 1:
        options += ["--finetune_from", *info.settings.layers]
    if not is_run and not all(os.sep in encoder for encoder in info.encoder):  # files have their own, and are absolute
        options += ["--weights", info.weights or "WEIGHTS"]
    return options


def print_repair(folder: Path, repair: Repair) -> bool:
    """Print what was repaired in records and what is left; returns whether no shard must be rebuilt."""
    for name in repair.written:
        print(f"rewritten: {folder / name}")
    if repair.assumed and DATASET_FILE in repair.written:
        print(f"assumed, since the shards do not contain it: {', '.join(repair.assumed)}; correct it with --set")
    for lost in repair.lost:
        print(f"lost unless the records are rebuilt: {lost}")
    for shard, fault in repair.rebuild.items():
        print(f"to rebuild: {shard}: {fault}", file=sys.stderr)
    if repair.rebuild:
        print(
            f"{len(repair.rebuild):,} shard(s) to rebuild; the other shards come out unchanged:\n  {repair.command}",
            file=sys.stderr,
        )
    return not repair.rebuild
