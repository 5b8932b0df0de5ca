"""The data contract: feature keys, special tokens, (de)serialising, shard names, `dataset.json`, `rejected.jsonl`.

The only place that knows them. Imports no TensorFlow, so that a worker that writes records never pays for it.
"""

import hashlib
import json
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 1

PHOTO_ID = "photo/id"  # bytes
PHOTO_JPEG = "photo/jpeg"  # bytes, image_size x image_size x RGB
CAPTIONS_TEXT = "captions/text"  # bytes list: the raw captions
CAPTIONS_TOKENS = "captions/tokens"  # int64 list: the token ids of all captions, end to end
CAPTIONS_LENGTHS = "captions/lengths"  # int64 list: tokens of each caption, counting <start> and <end>

SPECIAL_TOKENS = ("<pad>", "<oov>", "<start>", "<end>")
PAD, OOV, START, END = range(len(SPECIAL_TOKENS))

SPLITS = ("train", "dev", "test")

DATASET_FILE = "dataset.json"
VOCABULARY_FILE = "vocabulary.txt"
REJECTED_FILE = "rejected.jsonl"
_SHARD_PATTERN = re.compile(r"(?P<split>[a-z]+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.tfrecord")


class RecordError(ValueError):
    """A record, shard or `dataset.json` that breaks the contract; the message names the file."""


# --- photos and captions -------------------------------------------------------------------------------


class Rejection(BaseModel):
    """One photo or caption that was not written, as a line of `rejected.jsonl`."""

    kind: str  # "photo", "caption", or "unused": left out by the data set's own split files
    id: str  # the photo's id, or FILE:LINE of a caption
    reason: str  # one of a short fixed list, to count by
    detail: str = ""  # what exactly was wrong
    captions: int = 0  # of a photo: the captions that went with it


class PhotoRecord(BaseModel):
    """One photo with all its captions, as stored in one record."""

    photo_id: str
    jpeg: bytes
    captions: list[str]
    token_ids: list[list[int]]  # one list per caption, from <start> to <end>


def _example_class() -> Any:
    """The protocol buffer `tensorflow.Example`, declared here so that no TensorFlow import is needed.

    Field numbers are those of tensorflow/core/example/{example,feature}.proto; the bytes are the same.
    """
    file = descriptor_pb2.FileDescriptorProto(name="tfcaption_example.proto", package="tfcaption", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto

    def message(name: str, parent: Any = None) -> Any:
        return (parent.nested_type if parent else file.message_type).add(name=name)

    def add(target: Any, name: str, number: int, kind: int, *, repeated: bool = False, of: str = "") -> Any:
        label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
        return target.field.add(
            name=name, number=number, type=kind, label=label, type_name=f".tfcaption.{of}" if of else None
        )

    for name, kind in (
        ("BytesList", field.TYPE_BYTES),
        ("FloatList", field.TYPE_FLOAT),
        ("Int64List", field.TYPE_INT64),
    ):
        add(message(name), "value", 1, kind, repeated=True)
    feature = message("Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, of) in enumerate(
        (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")), start=1
    ):
        add(feature, name, number, field.TYPE_MESSAGE, of=of).oneof_index = 0
    features = message("Features")
    entry = message("FeatureEntry", features)
    entry.options.map_entry = True
    add(entry, "key", 1, field.TYPE_STRING)
    add(entry, "value", 2, field.TYPE_MESSAGE, of="Feature")
    add(features, "feature", 1, field.TYPE_MESSAGE, repeated=True, of="Features.FeatureEntry")
    add(message("Example"), "features", 1, field.TYPE_MESSAGE, of="Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tfcaption.Example"))


_Example = _example_class()


def encode_record(record: PhotoRecord) -> bytes:
    """Serialise one photo as a `tf.train.Example`; the same record always gives the same bytes."""
    example = _Example()
    feature = example.features.feature
    feature[PHOTO_ID].bytes_list.value.append(record.photo_id.encode())
    feature[PHOTO_JPEG].bytes_list.value.append(record.jpeg)
    feature[CAPTIONS_TEXT].bytes_list.value.extend(caption.encode() for caption in record.captions)
    feature[CAPTIONS_TOKENS].int64_list.value.extend(token for ids in record.token_ids for token in ids)
    feature[CAPTIONS_LENGTHS].int64_list.value.extend(len(ids) for ids in record.token_ids)
    return example.SerializeToString(deterministic=True)


def decode_record(serialized: bytes) -> PhotoRecord:
    """Parse one record; the inverse of `encode_record`.

    Raises:
        RecordError: a key is missing or the lengths do not add up to the tokens.
    """
    try:
        feature = _Example.FromString(serialized).features.feature
    except Exception as error:
        raise RecordError(f"not a tf.train.Example: {error}") from error
    missing = {PHOTO_ID, PHOTO_JPEG, CAPTIONS_TEXT, CAPTIONS_TOKENS, CAPTIONS_LENGTHS} - set(feature)
    if missing:
        raise RecordError(f"keys missing in a record: {', '.join(sorted(missing))}")
    tokens = list(feature[CAPTIONS_TOKENS].int64_list.value)
    lengths = list(feature[CAPTIONS_LENGTHS].int64_list.value)
    texts = [text.decode() for text in feature[CAPTIONS_TEXT].bytes_list.value]
    if sum(lengths) != len(tokens) or len(lengths) != len(texts) or min(lengths, default=0) < 0:
        raise RecordError(f"{len(texts)} captions, lengths {lengths}, but {len(tokens)} tokens in a record")
    remaining = iter(tokens)
    return PhotoRecord(
        photo_id=feature[PHOTO_ID].bytes_list.value[0].decode(),
        jpeg=feature[PHOTO_JPEG].bytes_list.value[0],
        captions=texts,
        token_ids=[[next(remaining) for _ in range(length)] for length in lengths],
    )


# --- TFRecord framing ----------------------------------------------------------------------------------


def _masked_crc(data: bytes) -> int:
    """CRC-32C, rotated and offset as TFRecord files store it (tensorflow/core/lib/hash/crc32c.h)."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame_record(data: bytes) -> bytes:
    """One record as it stands in a TFRecord file: length, its CRC, the data, its CRC."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, struct.pack("<I", _masked_crc(length)), data, struct.pack("<I", _masked_crc(data))))


def read_frames(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield the records of an open TFRecord file, checking both CRCs of each.

    Raises:
        RecordError: the file `name` is cut short or a CRC does not match; says at which record.
    """
    index = 0
    while header := stream.read(12):
        if len(header) < 12 or struct.unpack("<I", header[8:])[0] != _masked_crc(header[:8]):
            raise RecordError(f"{name}: record {index} has a damaged header; rebuild this shard")
        (length,) = struct.unpack("<Q", header[:8])
        data, footer = stream.read(length), stream.read(4)
        if len(data) < length or len(footer) < 4:
            raise RecordError(f"{name}: cut short in record {index}; rebuild this shard")
        if struct.unpack("<I", footer)[0] != _masked_crc(data):
            raise RecordError(f"{name}: record {index} fails its checksum; rebuild this shard")
        yield data
        index += 1


# --- shards --------------------------------------------------------------------------------------------


def shard_name(split: str, index: int, count: int) -> str:
    """`train-00000-of-00008.tfrecord`."""
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord"


def is_shard_name(name: str) -> bool:
    """True for a name that `shard_name` gives."""
    return _SHARD_PATTERN.fullmatch(name) is not None


def automatic_shard_count(photos: int) -> int:
    """Smallest power of two that keeps a shard at 512 photos or fewer (about 10 MB at 224 pixels), at most 1,024.

    Small enough that the work spreads evenly over the processes, large enough for long sequential reads.
    """
    count = 1
    while count * 512 < photos and count < 1024:
        count *= 2
    return count


def _digest(seed: int, purpose: str, photo_id: str) -> int:
    text = f"{seed}/{purpose}/{photo_id}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def shard_index(photo_id: str, *, shards: int, seed: int) -> int:
    """The shard of a photo: a hash of its id, the same on every machine."""
    return _digest(seed, "shard", photo_id) % shards


def order_key(photo_id: str, *, seed: int) -> tuple[int, str]:
    """Sort key of a photo inside its shard: a seeded hash, so that shards are already shuffled."""
    return _digest(seed, "order", photo_id), photo_id


def hash_share(photo_id: str, *, seed: int) -> float:
    """A number in [0, 1) that depends only on the photo's id and the seed; decides splits without split files."""
    return _digest(seed, "split", photo_id) / 2**64


# --- dataset.json and its neighbours -------------------------------------------------------------------


class ShardInfo(BaseModel):
    """One shard file as `dataset.json` lists it."""

    model_config = ConfigDict(extra="forbid")
    name: str
    records: int
    bytes: int
    sha256: str


class SplitInfo(BaseModel):
    """One split as `dataset.json` describes it."""

    model_config = ConfigDict(extra="forbid")
    photos: int
    captions: int
    tokens: int  # all tokens, counting <start> and <end>
    oov_rate: float  # share of words outside the vocabulary
    truncated_captions: int  # longer than max_words, cut but ended with <end>
    caption_lengths: dict[int, int]  # tokens of a caption (with <start> and <end>) -> how many captions
    shards: list[ShardInfo]


class RecordSettings(BaseModel):
    """The options of `build_records` that decide the bytes of the records."""

    model_config = ConfigDict(extra="forbid")
    source: str
    image_size: int  # pixels, both sides
    resize: str  # squash, crop or pad
    min_count: int
    max_words: int
    seed: int
    shards: int | None  # of the largest split; None: by the number of photos
    shares: dict[str, float]  # of the splits, where no split file decides
    pillow_version: str  # the decoder and resize filter


class DatasetInfo(BaseModel):
    """`dataset.json`: written last, so its presence means that the records are complete."""

    model_config = ConfigDict(extra="forbid")
    schema_version: int = SCHEMA_VERSION
    settings: RecordSettings
    splits: dict[str, SplitInfo]
    vocabulary_size: int
    max_length: int  # tokens of the longest caption, counting <start> and <end>
    captions_per_photo: int  # the most that any photo has
    photos_in: int  # written + rejected
    captions_in: int
    rejected_photos: dict[str, int]  # reason -> count
    rejected_captions: dict[str, int]
    unused_photos: dict[str, int]
    word_counts: list[int]  # in the training split, by token id (0 for <pad>)

    def split(self, name: str) -> SplitInfo:
        """The split `name`; an error that lists the splits there are, if it is missing or empty."""
        if name not in self.splits or not self.splits[name].photos:
            there = ", ".join(split for split, info in self.splits.items() if info.photos)
            raise RecordError(f"there is no split '{name}' in these records; there is: {there}")
        return self.splits[name]


def load_dataset_info(records: str | Path) -> DatasetInfo:
    """Read `dataset.json` of a records (or run) folder.

    Raises:
        RecordError: the folder or file is missing, incomplete, or of another schema version.
    """
    path = Path(records) / DATASET_FILE
    if not Path(records).is_dir():
        raise RecordError(f"{records}: no such folder; build records with python -m beam_jobs.build_records")
    if not path.is_file():
        raise RecordError(f"{records}: no {DATASET_FILE}, so these records are incomplete; run build_records again")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("schema_version") != SCHEMA_VERSION:
            raise RecordError(
                f"{path}: schema version {content.get('schema_version')}, this tfcaption reads {SCHEMA_VERSION}; "
                "build the records again"
            )
        return DatasetInfo.model_validate(content)
    except (json.JSONDecodeError, AttributeError) as error:
        raise RecordError(f"{path}: not a dataset description: {error}") from error
    except ValueError as error:
        raise error if isinstance(error, RecordError) else RecordError(f"{path}: {error}") from error


def rejected_lines(rejections: Iterable[Rejection]) -> str:
    """The text of `rejected.jsonl`, in an order that does not depend on which worker met what."""
    ordered = sorted(
        rejections, key=lambda rejection: (rejection.kind, rejection.id, rejection.reason, rejection.detail)
    )
    return "".join(json.dumps(rejection.model_dump(), ensure_ascii=False) + "\n" for rejection in ordered)


def vocabulary_words(counts: Mapping[str, int], min_count: int) -> list[str]:
    """The vocabulary: special tokens, then words seen `min_count` times or more by falling count, ties by spelling."""
    kept = [word for word, count in counts.items() if count >= min_count and word not in SPECIAL_TOKENS]
    return [*SPECIAL_TOKENS, *sorted(kept, key=lambda word: (-counts[word], word))]


def load_vocabulary(folder: str | Path) -> list[str]:
    """Read `vocabulary.txt` (one word a line, in the order of the token ids) of a records or run folder."""
    path = Path(folder) / VOCABULARY_FILE
    if not path.is_file():
        raise RecordError(f"{path}: no such file")
    words = path.read_text(encoding="utf-8").split("\n")[:-1]
    if tuple(words[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS or len(set(words)) != len(words):
        raise RecordError(f"{path}: must begin with {' '.join(SPECIAL_TOKENS)} and hold each word once")
    return words


def encode_words(words: Sequence[str], index: Mapping[str, int], max_words: int) -> list[int]:
    """Token ids of one caption: <start>, its first `max_words` words (unknown ones as <oov>), <end>."""
    return [START, *(index.get(word, OOV) for word in words[:max_words]), END]
