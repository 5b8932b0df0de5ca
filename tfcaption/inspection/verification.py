"""What is wrong with the shards of a folder of records or features, compared with all that their description says."""

import hashlib
import io
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tfcaption.records import tfrecord
from tfcaption.records.dataset_info import (
    DATASET_FILE,
    REJECTED_FILE,
    DatasetInfo,
    FeaturesInfo,
    ShardInfo,
    load_dataset_info,
)
from tfcaption.records.examples import PhotoRecord, decode_record
from tfcaption.records.tfrecord import RecordError
from tfcaption.records.vocabulary import END, OOV, SPECIAL_TOKENS, START, VOCABULARY_FILE, load_vocabulary
from tfcaption.runtime.paths import as_path
from tfcaption.runtime.progress import Progress


@dataclass
class Inspection:
    """What was found in a folder of records."""

    info: DatasetInfo
    photos: dict[str, int] = field(default_factory=dict)  # split -> photos read
    faults: list[str] = field(default_factory=list)  # each names its file
    shown: dict[str, list[PhotoRecord]] = field(default_factory=dict)  # split -> its first photos


def inspect_records(folder: str | Path, *, show: int = 0) -> Inspection:
    """Read every record and compare all that `dataset.json` says.

    Checks, per shard: presence, size, sha256, the CRCs, the number of records, every photo's decodability and size,
    lengths and range of the token ids; per data set: ids once only (so splits are disjoint), captions, vocabulary.

    Args:
        folder: the records.
        show: photos of each split to keep for a picture.

    Raises:
        RecordError: there is no readable `dataset.json`.
    """
    folder = as_path(folder)
    found = Inspection(load_dataset_info(folder))
    info = found.info
    where: dict[str, str] = {}  # photo id -> shard
    total = sum(split.photos for split in info.splits.values())
    with Progress(total, unit="photos", label="inspecting") as progress:
        for split, split_info in info.splits.items():
            found.shown[split] = []
            lengths: Counter[int] = Counter()
            longest: Counter[int] = Counter()
            for shard in split_info.shards:
                for record in _read_photos(folder, shard, found.faults):
                    for fault in _record_faults(record, info):
                        found.faults.append(f"{shard.name}, {record.photo_id}: {fault}")
                    if record.photo_id in where:
                        found.faults.append(f"{shard.name}, {record.photo_id}: is also in {where[record.photo_id]}")
                    where[record.photo_id] = shard.name
                    lengths.update(map(len, record.token_ids))
                    longest[max(map(len, record.token_ids), default=0)] += 1
                    if len(found.shown[split]) < show:
                        found.shown[split].append(record)
                    found.photos[split] = found.photos.get(split, 0) + 1
                    progress.update(sum(found.photos.values()))
            for unit, read, expected in (
                ("photos", found.photos.get(split, 0), split_info.photos),
                ("captions", sum(lengths.values()), split_info.captions),
            ):
                if read != expected:
                    found.faults.append(f"{split}: {read:,} {unit}, {DATASET_FILE} says {expected:,}")
            if (lengths, longest) != (split_info.caption_lengths, split_info.longest_caption_lengths):
                found.faults.append(f"{split}: the caption lengths are not those in {DATASET_FILE}")
    try:
        words = load_vocabulary(folder)
        if len(words) != info.vocabulary_size:
            found.faults.append(f"{VOCABULARY_FILE}: {len(words):,} words, not {info.vocabulary_size:,}")
    except RecordError as error:
        found.faults.append(str(error))
    found.faults += _rejected_faults(folder, info)
    return found


def inspect_features(folder: str | Path, info: FeaturesInfo) -> dict[str, str]:
    """Shards of features that are missing or damaged: name -> what is wrong."""
    wrong: dict[str, str] = {}
    for shard in (shard for shards in info.splits.values() for shard in shards):
        faults: list[str] = []
        read_shard(as_path(folder), shard, faults)
        if faults:
            wrong[shard.name] = faults[0]
    return wrong


def read_shard(folder: Path, shard: ShardInfo, faults: list[str]) -> list[bytes]:
    """The shard's whole records; whatever is wrong with the file goes to `faults`, each with its name."""
    path = folder / shard.name
    if not path.is_file():
        faults.append(f"{shard.name}: no such file")
        return []
    content = path.read_bytes()
    found = list(tfrecord.salvage_frames(content, shard.name))
    whole = [data for data in found if isinstance(data, bytes)]
    faults += [str(fault) for fault in found if isinstance(fault, RecordError)]
    if len(content) != shard.bytes:
        faults.append(f"{shard.name}: {len(content):,} bytes, not {shard.bytes:,}")
    elif hashlib.sha256(content).hexdigest() != shard.sha256:
        faults.append(f"{shard.name}: its sha256 is not the one that its description has")
    if len(whole) != shard.records:
        faults.append(f"{shard.name}: {len(whole):,} readable records, not {shard.records:,}")
    return whole


def _read_photos(folder: Path, shard: ShardInfo, faults: list[str]) -> list[PhotoRecord]:
    """The shard's readable photos."""
    read: list[PhotoRecord] = []
    for data in read_shard(folder, shard, faults):
        try:
            read.append(decode_record(data))
        except RecordError as error:
            faults.append(f"{shard.name}: {error}")
    return read


def _record_faults(record: PhotoRecord, info: DatasetInfo) -> list[str]:
    from PIL import Image

    faults = []
    try:
        with Image.open(io.BytesIO(record.jpeg), formats=["JPEG"]) as image:
            image.load()
            size = info.settings.image_size
            if image.size != (size, size) or image.mode != "RGB":
                faults.append(f"is {image.width}x{image.height} {image.mode}, not {size}x{size} RGB")
    except (OSError, ValueError, SyntaxError) as error:
        faults.append(f"does not decode: {error}")
    if not record.token_ids:
        faults.append("has no caption")
    for ids in record.token_ids:
        if len(ids) < 3 or ids[0] != START or ids[-1] != END:
            faults.append(f"a caption does not run from <start> to <end>: {ids}")
        elif any(not (t == OOV or len(SPECIAL_TOKENS) <= t < info.vocabulary_size) for t in ids[1:-1]):
            faults.append(f"a token id is out of range: {ids}")
        if len(ids) > info.max_length:
            faults.append(f"a caption has {len(ids)} tokens, more than {info.max_length}")
    return faults


def _rejected_faults(folder: Path, info: DatasetInfo) -> list[str]:
    path = folder / REJECTED_FILE
    if not path.is_file():
        return [f"{REJECTED_FILE}: no such file"]
    try:
        kinds = Counter(json.loads(line)["kind"] for line in path.read_text(encoding="utf-8").splitlines())
    except (ValueError, KeyError) as error:
        return [f"{REJECTED_FILE}: not readable: {error}"]
    expected = {
        "photo": sum(info.rejected_photos.values()),
        "caption": sum(info.rejected_captions.values()),
        "unused": sum(info.unused_photos.values()),
    }
    return [
        f"{REJECTED_FILE}: {kinds[kind]:,} lines of kind {kind}, {DATASET_FILE} says {count:,}"
        for kind, count in expected.items()
        if kinds[kind] != count
    ]
