"""Verifies records and features: compares every shard and record with all that their description says."""

import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from tfcaption.records.dataset_info import (
    DATASET_FILE,
    FEATURES_FILE,
    REJECTED_FILE,
    DatasetInfo,
    FeatureSettings,
    FeaturesInfo,
    ShardInfo,
    SplitInfo,
    load_dataset_info,
)
from tfcaption.records.examples import PhotoRecord, decode_record, features_of, size_problem
from tfcaption.records.folder_kinds import describe_folder
from tfcaption.records.reading import salvage_shard
from tfcaption.records.sharding import is_shard_name
from tfcaption.records.tfrecord import RecordError
from tfcaption.records.vocabulary import END, OOV, SPECIAL_TOKENS, START, VOCABULARY_FILE, load_vocabulary
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.progress import Progress


@dataclass
class Inspection:
    """The content of a folder of records, and its faults."""

    info: DatasetInfo
    photos: Counter[str] = field(default_factory=Counter)  # split -> photos read
    faults: list[str] = field(default_factory=list)  # each names its file
    shown: dict[str, list[PhotoRecord]] = field(default_factory=dict)  # split -> its first photos


def check_kind(folder: Path) -> None:
    """Check that a folder can hold records: complete, or so damaged that only shards or the vocabulary are left.

    Raises:
        UsageError: it is something else, such as a run directory or a folder of photos.
    """
    kind = describe_folder(folder)
    if kind in ("a folder of records", "missing"):  # what is missing has its own error
        return
    marked = kind in ("a file", "a photo", "a run directory", "an export", "a folder of captions")
    if marked or not any(
        is_shard_name(path.name) or path.name in (VOCABULARY_FILE, REJECTED_FILE) for path in folder.iterdir()
    ):
        raise UsageError(f"{folder}: is {kind}; name a folder that build_records or extract_features wrote")


def inspect_records(folder: Path, *, show: int = 0) -> Inspection:
    """Read every record and compare it with `dataset.json`.

    Checks of each shard: existence, size, sha256, CRCs, number of records; of each record: photo id (unique in the data
    set, so splits are disjoint), size and decodability of the photo, lengths and range of the token ids; of the data
    set: number of captions and their lengths, vocabulary, rejections.

    Args:
        folder: the records.
        show: number of photos of each split to keep for a picture.

    Raises:
        RecordError: `dataset.json` is missing or not readable.
    """
    inspection = Inspection(load_dataset_info(folder))
    info, faults = inspection.info, inspection.faults
    shard_of: dict[str, str] = {}  # photo id -> shard
    total = sum(split.photos for split in info.splits.values())
    with Progress(total, unit="photos", label="inspecting") as progress:
        for split, described in info.splits.items():
            shown = inspection.shown[split] = []
            lengths: Counter[int] = Counter()
            longest: Counter[int] = Counter()
            for shard, record in _read_photos(folder, described.shards, faults):
                faults += [f"{shard}, {record.photo_id}: {fault}" for fault in _record_faults(record, info)]
                if record.photo_id in shard_of:
                    faults.append(f"{shard}, {record.photo_id}: is also in {shard_of[record.photo_id]}")
                shard_of[record.photo_id] = shard
                lengths.update(map(len, record.token_ids))
                longest[max(map(len, record.token_ids), default=0)] += 1
                if len(shown) < show:
                    shown.append(record)
                inspection.photos[split] += 1
                progress.update(inspection.photos.total())
            faults += _split_faults(split, described, inspection.photos[split], lengths, longest)
    faults += _vocabulary_faults(folder, info)
    faults += _rejected_faults(folder, info)
    return inspection


def inspect_features(folder: Path, info: FeaturesInfo) -> dict[str, str]:
    """Missing and damaged shards of features, and those with records of another size: name -> first fault."""
    faults: dict[str, str] = {}
    for shard in info.all_shards:
        records, found = verify_shard(folder, shard)
        found += _size_faults(shard.name, records, info.settings)
        if found:
            faults[shard.name] = found[0]
    return faults


def _size_faults(shard: str, records: list[bytes], settings: FeatureSettings) -> list[str]:
    faults = []
    for index, record in enumerate(records):
        try:
            held = len(features_of(record))
        except RecordError as error:
            faults.append(f"{shard}: record {index}: {error}")
            continue
        if problem := size_problem(held, settings.shape, varying=settings.varying):
            faults.append(f"{shard}: record {index} holds {problem} that {FEATURES_FILE} says")
    return faults


def verify_shard(folder: Path, described: ShardInfo) -> tuple[list[bytes], list[str]]:
    """Compare a shard with its description.

    Returns:
        The intact records, serialized, and the shard's faults, each of which names it.
    """
    name = described.name
    if not (folder / name).is_file():
        return [], [f"{name}: no such file"]
    shard = salvage_shard(folder / name)
    faults = list(shard.faults)
    if shard.info.bytes != described.bytes:
        faults.append(f"{name}: {shard.info.bytes:,} bytes, expected {described.bytes:,}")
    elif shard.info.sha256 != described.sha256:
        faults.append(f"{name}: its sha256 differs from the description")
    if shard.info.records != described.records:
        faults.append(f"{name}: {shard.info.records:,} readable records, expected {described.records:,}")
    return shard.records, faults


def _read_photos(folder: Path, shards: list[ShardInfo], faults: list[str]) -> Iterator[tuple[str, PhotoRecord]]:
    """Name of the shard and content of each readable record; appends all other faults of the shards to `faults`."""
    for shard in shards:
        records, shard_faults = verify_shard(folder, shard)
        faults += shard_faults
        for data in records:
            try:
                yield shard.name, decode_record(data)
            except RecordError as error:
                faults.append(f"{shard.name}: {error}")


def _split_faults(
    split: str, described: SplitInfo, photos: int, lengths: Counter[int], longest: Counter[int]
) -> list[str]:
    counts = (("photos", photos, described.photos), ("captions", lengths.total(), described.captions))
    faults = [
        f"{split}: {count:,} {unit}, but {DATASET_FILE} says {expected:,}"
        for unit, count, expected in counts
        if count != expected
    ]
    if (lengths, longest) != (described.caption_lengths, described.longest_caption_lengths):
        faults.append(f"{split}: the caption lengths differ from {DATASET_FILE}")
    return faults


def _record_faults(record: PhotoRecord, info: DatasetInfo) -> list[str]:
    faults = []
    try:
        with Image.open(io.BytesIO(record.jpeg), formats=["JPEG"]) as image:
            image.load()
            size = info.settings.image_size
            if image.size != (size, size) or image.mode != "RGB":
                faults.append(f"is {image.width}x{image.height} {image.mode}, expected {size}x{size} RGB")
    except (OSError, ValueError, SyntaxError) as error:
        faults.append(f"does not decode: {error}")
    if not record.token_ids:
        faults.append("has no caption")
    for ids in record.token_ids:
        if len(ids) < 3 or ids[0] != START or ids[-1] != END:
            faults.append(f"a caption does not run from <start> to <end>: {ids}")
        elif any(id_ != OOV and not len(SPECIAL_TOKENS) <= id_ < info.vocabulary_size for id_ in ids[1:-1]):
            faults.append(f"a token id is out of range: {ids}")
        if len(ids) > info.max_length:
            faults.append(f"a caption has {len(ids)} tokens, more than {info.max_length}")
    return faults


def _vocabulary_faults(folder: Path, info: DatasetInfo) -> list[str]:
    try:
        words = load_vocabulary(folder, info.settings.tokenizer).words
    except RecordError as error:
        return [str(error)]
    if len(words) != info.vocabulary_size:
        return [f"{VOCABULARY_FILE}: {len(words):,} words, expected {info.vocabulary_size:,}"]
    return []


def _rejected_faults(folder: Path, info: DatasetInfo) -> list[str]:
    path = folder / REJECTED_FILE
    if not path.is_file():
        return [f"{REJECTED_FILE}: no such file"]
    try:
        kinds = Counter(json.loads(line)["kind"] for line in path.read_text(encoding="utf-8").splitlines())
    except (ValueError, KeyError) as error:
        return [f"{REJECTED_FILE}: cannot be read: {error}"]
    expected = {
        "photo": sum(info.rejected_photos.values()),
        "caption": sum(info.rejected_captions.values()),
        "unused": sum(info.unused_photos.values()),
        "file": sum(info.unused_files.values()),
    }
    return [
        f"{REJECTED_FILE}: {kinds[kind]:,} lines of kind {kind}, but {DATASET_FILE} says {count:,}"
        for kind, count in expected.items()
        if kinds[kind] != count
    ]
