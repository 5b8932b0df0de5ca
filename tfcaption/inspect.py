"""Verifies records against their `dataset.json`, prints what they hold, and shows photos with their captions."""

import hashlib
import io
import json
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfcaption import files, records, terminal, tfrecord
from tfcaption.progress import Progress
from tfcaption.records import DatasetInfo, PhotoRecord
from tfcaption.tfrecord import RecordError

EXAMPLES = """examples:
  python -m tfcaption.inspect records/
  # also a picture of 12 photos of each split with their captions
  python -m tfcaption.inspect records/ --show 12"""

COLUMNS, CELL_WIDTH, LINES_PER_CAPTION = 4, 260, 2


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
    folder = files.as_path(folder)
    found = Inspection(records.load_dataset_info(folder))
    info = found.info
    where: dict[str, str] = {}  # photo id -> shard
    total = sum(split.photos for split in info.splits.values())
    with Progress(total, unit="photos", label="inspecting") as progress:
        for split, split_info in info.splits.items():
            found.shown[split] = []
            lengths: Counter[int] = Counter()
            longest: Counter[int] = Counter()
            for shard in split_info.shards:
                for record in _read_shard(folder, shard, found.faults):
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
                    found.faults.append(f"{split}: {read:,} {unit}, {records.DATASET_FILE} says {expected:,}")
            if (lengths, longest) != (split_info.caption_lengths, split_info.longest_caption_lengths):
                found.faults.append(f"{split}: the caption lengths are not those in {records.DATASET_FILE}")
    try:
        words = records.load_vocabulary(folder)
        if len(words) != info.vocabulary_size:
            found.faults.append(f"{records.VOCABULARY_FILE}: {len(words):,} words, not {info.vocabulary_size:,}")
    except RecordError as error:
        found.faults.append(str(error))
    found.faults += _rejected_faults(folder, info)
    return found


def _read_shard(folder: Path, shard: records.ShardInfo, faults: list[str]) -> list[PhotoRecord]:
    """The shard's readable records; whatever is wrong with the file goes to `faults`."""
    path = folder / shard.name
    if not path.is_file():
        faults.append(f"{shard.name}: no such file")
        return []
    content = path.read_bytes()
    if len(content) != shard.bytes:
        faults.append(f"{shard.name}: {len(content):,} bytes, not {shard.bytes:,}")
    elif hashlib.sha256(content).hexdigest() != shard.sha256:
        faults.append(f"{shard.name}: its sha256 is not the one in {records.DATASET_FILE}")
    read: list[PhotoRecord] = []
    try:
        read += (records.decode_record(data) for data in tfrecord.read_frames(io.BytesIO(content), shard.name))
    except RecordError as error:
        faults.append(str(error))
    if len(read) != shard.records:
        faults.append(f"{shard.name}: {len(read):,} readable records, not {shard.records:,}")
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
        if len(ids) < 3 or ids[0] != records.START or ids[-1] != records.END:
            faults.append(f"a caption does not run from <start> to <end>: {ids}")
        elif any(not (t == records.OOV or len(records.SPECIAL_TOKENS) <= t < info.vocabulary_size) for t in ids[1:-1]):
            faults.append(f"a token id is out of range: {ids}")
        if len(ids) > info.max_length:
            faults.append(f"a caption has {len(ids)} tokens, more than {info.max_length}")
    return faults


def _rejected_faults(folder: Path, info: DatasetInfo) -> list[str]:
    path = folder / records.REJECTED_FILE
    if not path.is_file():
        return [f"{records.REJECTED_FILE}: no such file"]
    try:
        kinds = Counter(json.loads(line)["kind"] for line in path.read_text(encoding="utf-8").splitlines())
    except (ValueError, KeyError) as error:
        return [f"{records.REJECTED_FILE}: not readable: {error}"]
    expected = {
        "photo": sum(info.rejected_photos.values()),
        "caption": sum(info.rejected_captions.values()),
        "unused": sum(info.unused_photos.values()),
    }
    return [
        f"{records.REJECTED_FILE}: {kinds[kind]:,} lines of kind {kind}, {records.DATASET_FILE} says {count:,}"
        for kind, count in expected.items()
        if kinds[kind] != count
    ]


def contact_sheet(photos: Sequence[PhotoRecord]) -> Any:
    """A picture of photos with their captions below, as a `PIL.Image.Image`."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(12)
    wrapped = [
        "\n".join(line for caption in photo.captions for line in textwrap.wrap("- " + caption, 42)[:LINES_PER_CAPTION])
        for photo in photos
    ]
    text_height = 15 * (2 + max((text.count("\n") + 1 for text in wrapped), default=0))
    rows = -(-len(photos) // COLUMNS)
    cell_height = CELL_WIDTH + text_height
    sheet = Image.new("RGB", (COLUMNS * CELL_WIDTH, rows * cell_height), "white")
    canvas = ImageDraw.Draw(sheet)
    for index, (photo, text) in enumerate(zip(photos, wrapped, strict=True)):
        x, y = index % COLUMNS * CELL_WIDTH, index // COLUMNS * cell_height
        with Image.open(io.BytesIO(photo.jpeg)) as image:
            sheet.paste(image.resize((CELL_WIDTH - 12, CELL_WIDTH - 12), Image.Resampling.BICUBIC), (x + 6, y + 6))
        canvas.text((x + 6, y + CELL_WIDTH), photo.photo_id, fill="gray", font=font)
        canvas.multiline_text((x + 6, y + CELL_WIDTH + 15), text, fill="black", font=font, spacing=2)
    return sheet


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


def main(argv: Sequence[str] | None = None) -> int:
    """The command; exit code 1 if anything is wrong with the records."""
    parser = terminal.command_parser("tfcaption.inspect", EXAMPLES)
    parser.add_argument("records", help="folder that build_records wrote")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="write SPLIT.png with N photos of each split")
    parser.add_argument("--output", default=".", help="folder for those pictures (default: here)")
    arguments = parser.parse_args(argv)
    try:
        found = inspect_records(arguments.records, show=arguments.show)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(summary(found))
    for split, shown in found.shown.items():
        if shown:
            path = files.as_path(arguments.output) / f"{split}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as stream:
                contact_sheet(shown).save(stream, "PNG")
            print(f"pictures: {path}")
    if found.faults:
        for fault in found.faults[:20]:
            print(f"fault: {fault}", file=sys.stderr)
        print(f"{len(found.faults):,} fault(s); build these records again with --overwrite", file=sys.stderr)
        return 1
    print("no faults")
    return 0


if __name__ == "__main__":
    sys.exit(main())
