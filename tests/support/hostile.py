"""What must hold whatever bytes come in: the checks that the property tests and the fuzzer share."""

import functools
import io
import json
import re
import tarfile
from pathlib import Path

from PIL import Image

from beam_jobs.sources import SourceError
from beam_jobs.sources.text_files import normal_name
from tests.support.sources import read_source
from tfcaption.preprocessing import photos
from tfcaption.records import tfrecord
from tfcaption.records.dataset_info import SPLITS, rejected_lines
from tfcaption.records.examples import captions_of, decode_record, features_of, photo_of, token_ids_of
from tfcaption.records.tfrecord import RecordError

PHOTO_REASONS = {"empty file", "too large", "not an image", "truncated", "decompression bomb", "unreadable"}
LISTED_REASONS = {
    "photo": {"no captions", "missing photo", "ambiguous photo", "unsafe member"},
    "unused": {"in no split", "no captions"},
    "file": {"hidden file", "no photo beside it", "neither photo nor captions", "photo in another place"},
    "caption": {
        *("malformed line", "duplicate id", "not UTF-8", "not text", "unsafe name", "empty caption"),
        *("unknown photo", "unsafe member", "marked by the data set"),
    },
}
CAPTION_FILES = {
    "flickr8k": "Flickr8k.token.txt",
    "flickr30k": "results_20130124.token",
    "karpathy": "dataset_any.json",
    "coco": "captions_train2017.json",
    "folder": "a.txt",
    "csv": "any.csv",
    "tsv": "any.tsv",
    "txt": "any.txt",
    "jsonl": "any.jsonl",
    "webdataset": "any.tar",
}
SPLIT_FILE = "Flickr_8k.testImages.txt"


def photo_folder(folder):
    """Files in which a caption may find its photo, and others."""
    folder = Path(folder) / "photos"
    folder.mkdir()
    for name in ("README", "._a.jpg", "lone.txt", "a.xml"):
        (folder / name).write_bytes(b"no photo")
    for name in ("a.jpg", "b.jpg", "c.png"):
        (folder / name).write_bytes(b"a photo")
    return folder


def check_captions(folder, layout, data, splits=b""):
    """Reading `data` as the captions of a layout gives captions, named rejections, or an error that names the file.

    Returns:
        The listing, or the error.
    """
    path = Path(folder) / "photos" / CAPTION_FILES[layout]
    path.write_bytes(data)
    (path.parent / SPLIT_FILE).write_bytes(splits)
    try:
        listing = read_source(path.parent, path.parent if layout in ("folder", "flickr8k") else path)
        assert not unaccounted(path.parent, listing, path if layout == "webdataset" else None)
    except SourceError as error:
        assert path.parent.name in str(error) or path.name in str(error), error
        return error
    finally:
        path.unlink()
        (path.parent / SPLIT_FILE).unlink()
    for photo in listing.photos:
        assert photo.split in SPLITS and photo.captions
        assert normal_name(photo.id) == photo.id
        for caption in photo.captions:
            assert caption.encode() and any(character.isalnum() for character in caption)
    for rejection in listing.rejections:
        assert rejection.reason in LISTED_REASONS[rejection.kind], rejection
    accepted = sum(len(photo.captions) for photo in listing.photos)
    rejected = sum(rejection.captions + (rejection.kind == "caption") for rejection in listing.rejections)
    assert listing.captions_in == accepted + rejected
    lines = rejected_lines(listing.rejections).encode().decode().splitlines()
    assert len(list(map(json.loads, lines))) == len(listing.rejections)
    return listing


def unaccounted(folder, listing, tar=None):
    """What is below a folder, or in a tar file, and neither read nor named: listed - written - rejected - unused."""
    named = [f"{rejection.id} {rejection.detail}" for rejection in listing.rejections]
    used = {Path(photo.location.path) for photo in listing.photos} | listing.accounted
    left = {path.name for path in folder.iterdir() if path not in used}
    if tar:
        offsets = {photo.location.offset for photo in listing.photos}
        with tarfile.open(tar) as stream:
            members = [member for member in stream if not member.isdir()]
        left |= {member.name for member in members if member.offset_data not in offsets}
        left -= {member.name for member in members if member.isfile() and _has_captions(member.name, members)}
    return {name for name in left if not any(name.removeprefix("./") in words for words in named)}


def _has_captions(name, members):
    """Whether a text lies beside a photo, which shares its name up to the first dot."""
    key = re.match("(.*/)?[^/.]*", name)[0]
    beside = [member.name for member in members if member.name.startswith(key) and member.name != name]
    return name.endswith((".txt", ".json")) and any(not other.endswith((".txt", ".json")) for other in beside)


def check_photo(data, image_size=32, resize="squash"):
    """Preparing `data` gives a JPEG of the right size or a reason of the list; returns which."""
    try:
        prepared = photos.prepare_photo(data, image_size=image_size, resize=resize)
    except photos.PhotoError as error:
        assert error.reason in PHOTO_REASONS
        return error.reason
    with Image.open(io.BytesIO(prepared)) as image:
        image.load()
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (image_size, image_size))
    return "kept" if prepared == data else "prepared"


def check_record(data):
    """Every reader of one record gives what it says it gives, or a RecordError."""
    for read in (
        decode_record,
        captions_of,
        token_ids_of,
        photo_of,
        features_of,
    ):
        try:
            read(data)
        except RecordError:
            pass
        else:
            assert read is not decode_record or decode_record(data).photo_id


def check_shard(data):
    """Reading `data` as a shard gives the records that it begins with, whole, and a RecordError if there is more.

    Returns:
        The records, and whether they are all.
    """
    found, whole = [], False
    try:
        found.extend(tfrecord.read_frames(io.BytesIO(data), "shard"))
        whole = True
    except RecordError as error:
        assert "shard" in str(error)
    written = b"".join(map(tfrecord.frame_record, found))
    assert written == data if whole else data.startswith(written)
    return found, whole


def targets(folder):
    """Name -> what checks any bytes; `folder` must be empty."""
    photo_folder(folder)
    readers = {name: functools.partial(check_captions, folder, name) for name in CAPTION_FILES}
    return {**readers, "photo": check_photo, "record": check_record, "shard": check_shard}
