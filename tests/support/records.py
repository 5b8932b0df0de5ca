"""Records for tests: built, read, rewritten and damaged."""

import hashlib

from PIL import Image

from beam_jobs.build_records import main
from tests.conftest import IN_MEMORY
from tests.support.photos import encoded, truncated
from tfcaption.records import tfrecord
from tfcaption.records.dataset_info import (
    DATASET_FILE,
    DatasetInfo,
    RecordSettings,
    ShardInfo,
    SplitInfo,
    load_dataset_info,
)
from tfcaption.records.examples import PhotoRecord, decode_record, encode_record
from tfcaption.records.sharding import shard_name


def build(source, output, *flags, beam=IN_MEMORY):
    (source.texts / "Flickr8k.token.txt").write_bytes(b"\n".join([*source.lines, b""]))
    arguments = ["--images", str(source.images), "--captions", str(source.texts), "--output", str(output)]
    return main([*arguments, "--image_size=32", "--min_count=2", *flags, *beam])


def read_all(folder):
    info = load_dataset_info(folder)
    found = {}
    for split, split_info in info.splits.items():
        for shard in split_info.shards:
            with (folder / shard.name).open("rb") as stream:
                for data in tfrecord.read_frames(stream, shard.name):
                    record = decode_record(data)
                    assert record.photo_id not in found
                    found[record.photo_id] = (split, record)
    return info, found


def damage(source):
    """Add photos and captions that cannot be used, each for another reason; returns photo -> reason."""
    bad = {
        "empty.jpg": (b"", "empty file"),
        "cut.jpg": (truncated(), "truncated"),
        "page.jpg": (b"<html>404</html>", "not an image"),
        "bomb.png": (encoded(Image.new("1", (12_000, 12_000))), "decompression bomb"),
    }
    for name, (data, _) in bad.items():
        (source.images / name).write_bytes(data)
        source.lines.append(f"{name}#0\tA photo of damage .".encode())
    with (source.texts / "Flickr_8k.trainImages.txt").open("a") as stream:
        stream.writelines(f"{name}\n" for name in bad)
    source.lines += [b"phantom.jpg.1#0\tA ghost .", b"no tab", b"../up.jpg#0\tUp .", b"a.jpg#9\t.", b"a.jpg#8\tcaf\xe9"]
    return {name: reason for name, (_, reason) in bad.items()} | {"phantom.jpg.1": "missing photo"}


def rewrite(copy, change):
    """Change records of the first dev shard; dataset.json agrees, so that only the content is wrong."""
    info = load_dataset_info(copy)
    shard = info.splits["dev"].shards[0]
    with (copy / shard.name).open("rb") as stream:
        read = [decode_record(data) for data in tfrecord.read_frames(stream, shard.name)]
    change(read)
    content = b"".join(tfrecord.frame_record(encode_record(record)) for record in read)
    (copy / shard.name).write_bytes(content)
    shard.bytes, shard.sha256 = len(content), hashlib.sha256(content).hexdigest()
    (copy / "dataset.json").write_text(info.model_dump_json())


def write_plain_records(folder, splits):
    """Records without pixels, in no time: split -> photo -> (captions, numbers in COCO's files)."""
    folder.mkdir(parents=True)
    described = {}
    for split, photos in splits.items():
        records = [
            PhotoRecord(photo_id=photo, jpeg=b"", captions=captions, token_ids=[[2, 3]], source_ids=numbers)
            for photo, (captions, numbers) in photos.items()
        ]
        content = b"".join(tfrecord.frame_record(encode_record(record)) for record in records)
        shard = ShardInfo(name=shard_name(split, 0, 1), records=len(records), bytes=len(content), sha256="")
        (folder / shard.name).write_bytes(content)
        described[split] = SplitInfo(
            photos=len(records), captions=1, tokens=1, oov_rate=0, truncated_captions=0, caption_lengths={},
            longest_caption_lengths={}, shards=[shard],
        )  # fmt: skip
    settings = RecordSettings(
        source="test", image_size=32, resize="squash", min_count=1, max_words=40, seed=0, shards=1, shares={},
        pillow_version="0",
    )  # fmt: skip
    info = DatasetInfo(
        settings=settings, splits=described, vocabulary_size=4, max_length=8, captions_per_photo=1, photos_in=1,
        captions_in=1, rejected_photos={}, rejected_captions={}, unused_photos={}, word_counts=[],
    )  # fmt: skip
    (folder / DATASET_FILE).write_text(info.model_dump_json())
    return folder
