"""The data contract: feature keys, special tokens, (de)serialising, shard names, `dataset.json`, `features.json`.

The only place that knows them. Imports no TensorFlow, so that a worker that writes records never pays for it.
"""

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from tfcaption.runtime.paths import as_path
from tfcaption.tfrecord import Example, RecordError, parse_example

SCHEMA_VERSION = 1

PHOTO_ID = "photo/id"  # bytes
PHOTO_JPEG = "photo/jpeg"  # bytes, image_size x image_size x RGB
CAPTIONS_TEXT = "captions/text"  # bytes list: the raw captions
CAPTIONS_TOKENS = "captions/tokens"  # int64 list: the token ids of all captions, end to end
CAPTIONS_LENGTHS = "captions/lengths"  # int64 list: tokens of each caption, counting <start> and <end>
# bytes, in a feature record instead of photo/jpeg: little-endian float16 of `features.json`'s shape, view after view
FEATURES = "features"

Stage = Literal["photo", "trunk", "map", "pooled"]
"""How far a photo has come through ResNet50: pixels, `conv5_block1_out`, `conv5_block3_out`, its mean over all."""

SPECIAL_TOKENS = ("<pad>", "<oov>", "<start>", "<end>")
PAD, OOV, START, END = range(len(SPECIAL_TOKENS))

SPLITS = ("train", "dev", "test")

DATASET_FILE = "dataset.json"
VOCABULARY_FILE = "vocabulary.txt"
REJECTED_FILE = "rejected.jsonl"
FEATURES_FILE = "features.json"
PARTIAL_FEATURES_FILE = "features.incomplete.json"  # settings of feature shards, until features.json is written
CAPTIONS_FILE = "captions.json"
_SHARD_PATTERN = re.compile(r"(?P<split>[a-z]+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.(tfrecord|jsonl)")


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


def encode_record(record: PhotoRecord) -> bytes:
    """Serialise one photo as a `tf.train.Example`; the same record always gives the same bytes."""
    example = Example()
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
    feature = parse_example(serialized)
    missing = {PHOTO_ID, PHOTO_JPEG, CAPTIONS_TEXT, CAPTIONS_TOKENS, CAPTIONS_LENGTHS} - set(feature)
    if missing:
        raise RecordError(f"keys missing in a record: {', '.join(sorted(missing))}")
    captions, token_ids = _texts(feature, CAPTIONS_TEXT), _token_ids(feature)
    if len(captions) != len(token_ids):
        raise RecordError(f"{len(captions)} captions, but tokens of {len(token_ids)} in a record")
    return PhotoRecord(
        photo_id=_photo_id(feature), jpeg=_one(feature, PHOTO_JPEG), captions=captions, token_ids=token_ids
    )


def captions_of(serialized: bytes) -> tuple[str, list[str]]:
    """Photo id and raw captions of a photo record or feature record.

    Raises:
        RecordError: it is neither.
    """
    feature = parse_example(serialized)
    return _photo_id(feature), _texts(feature, CAPTIONS_TEXT)


def token_ids_of(serialized: bytes) -> list[list[int]]:
    """Token numbers of each caption of a photo record or feature record, from <start> to <end>.

    Raises:
        RecordError: it is neither.
    """
    return _token_ids(parse_example(serialized))


def _token_ids(feature: Any) -> list[list[int]]:
    tokens = list(feature[CAPTIONS_TOKENS].int64_list.value)
    lengths = list(feature[CAPTIONS_LENGTHS].int64_list.value)
    if sum(lengths) != len(tokens) or min(lengths, default=0) < 0:
        raise RecordError(f"captions of {lengths} tokens, but {len(tokens)} tokens in a record")
    ends = itertools.accumulate(lengths)
    return [tokens[start:end] for start, end in itertools.pairwise([0, *ends])]


def _photo_id(feature: Any) -> str:
    _one(feature, PHOTO_ID)
    return _texts(feature, PHOTO_ID)[0]


def _one(feature: Any, key: str) -> bytes:
    values = feature[key].bytes_list.value
    if len(values) != 1:
        raise RecordError(f"a record holds {len(values)} times {key}, not once")
    return values[0]


def _texts(feature: Any, key: str) -> list[str]:
    try:
        return [value.decode() for value in feature[key].bytes_list.value]
    except UnicodeDecodeError as error:
        raise RecordError(f"{key} of a record is not UTF-8: {error}") from error


def photo_of(serialized: bytes) -> tuple[str, bytes]:
    """Photo id and JPEG of a photo record.

    Raises:
        RecordError: it is no photo record.
    """
    feature = parse_example(serialized)
    if PHOTO_JPEG not in feature:
        raise RecordError(f"a record has no {PHOTO_JPEG}: not records that build_records wrote")
    return _photo_id(feature), _one(feature, PHOTO_JPEG)


def inputs_of(serialized: bytes, stage: Stage) -> tuple[str, bytes]:
    """Photo id and what a record holds of the photo: its JPEG, or its features.

    Raises:
        RecordError: it is no photo record, or no feature record.
    """
    if stage == "photo":
        return photo_of(serialized)
    feature = parse_example(serialized)
    return _photo_id(feature), _stored(feature)


def features_of(serialized: bytes) -> bytes:
    """The features of a feature record, as stored.

    Raises:
        RecordError: it is no feature record.
    """
    return _stored(parse_example(serialized))


def _stored(feature: Any) -> bytes:
    if FEATURES not in feature:
        raise RecordError(f"a record has no {FEATURES}: not features that extract_features wrote")
    return _one(feature, FEATURES)


def feature_record(serialized: bytes, features: bytes) -> bytes:
    """The feature record of a photo record or of one with other features: the same, with float16 features in their
    place."""
    example = Example.FromString(serialized)
    for key in (PHOTO_JPEG, FEATURES):
        if key in example.features.feature:
            del example.features.feature[key]
    example.features.feature[FEATURES].bytes_list.value.append(features)
    return example.SerializeToString(deterministic=True)


def features_size(shape: Sequence[int]) -> int:
    """Bytes of the float16 features of one view."""
    return 2 * math.prod(shape)


# --- shards --------------------------------------------------------------------------------------------


def shard_name(split: str, index: int, count: int, *, suffix: str = "tfrecord") -> str:
    """`train-00000-of-00008.tfrecord`."""
    return f"{split}-{index:05d}-of-{count:05d}.{suffix}"


def is_shard_name(name: str) -> bool:
    """True for a name that `shard_name` gives."""
    return _SHARD_PATTERN.fullmatch(name) is not None


def automatic_shard_count(photos: int) -> int:
    """Smallest power of two that keeps a shard at 512 photos or fewer (about 10 MB at 224 pixels), at most 65,536.

    Small enough that the work spreads evenly over the processes, large enough for long sequential reads.
    """
    count = 1
    while count * 512 < photos and count < 65_536:
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
    name: Annotated[str, Field(pattern=f"^{_SHARD_PATTERN.pattern}$")]  # a file of that name is read, and written
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
    longest_caption_lengths: dict[int, int]  # tokens of a photo's longest caption -> how many photos
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
    splits: dict[Annotated[str, Field(pattern="^[a-z]+$")], SplitInfo]
    vocabulary_size: int
    max_length: int  # tokens of the longest caption, counting <start> and <end>
    captions_per_photo: int  # the most that any photo has
    photos_in: int  # written + rejected
    captions_in: int
    rejected_photos: dict[str, int]  # reason -> count
    rejected_captions: dict[str, int]
    unused_photos: dict[str, int]
    word_counts: list[int]  # in the training split, by token id (0 for <pad>)
    duplicates: list[
        dict[str, str]
    ] = []  # photos whose files are the same, byte for byte, in several splits: id -> split

    def split(self, name: str) -> SplitInfo:
        """The split `name`; an error that lists the splits there are, if it is missing or empty."""
        if name not in self.splits or not self.splits[name].photos:
            there = ", ".join(split for split, info in self.splits.items() if info.photos)
            raise RecordError(f"there is no split '{name}' in these records; there is: {there}")
        return self.splits[name]

    def fingerprint(self) -> str:
        """sha256 of the description, and so of every shard; without what older descriptions lack."""
        return hashlib.sha256(self.model_dump_json(exclude={"duplicates"}).encode()).hexdigest()


class FeatureSettings(BaseModel):
    """What decides the bytes of features."""

    model_config = ConfigDict(extra="forbid")
    stage: Stage
    shape: list[int]  # of one photo's features
    dtype: str = "float16"
    weights: str  # sha256 of the ResNet50 weights up to the stage
    preprocessing: str  # of the pixels
    records: str  # fingerprint of the records they were made of
    made_from: Stage = "photo"  # or stored features, whose rounding to float16 they carry on
    views: int = Field(default=1, ge=1)  # of each training photo, one after the other; of any other there is one
    sides: list[int] = []  # tokens that change places where a view is mirrored
    batch_size: int  # photos a call, since the last bit of a float32 may depend on it

    def __str__(self) -> str:
        views = f", {self.views} views of each training photo" if self.views > 1 else ""
        return f"{self.stage} {'x'.join(map(str, self.shape))} {self.dtype}{views}"

    def views_of(self, split: str) -> int:
        """Views of each photo of a split."""
        return self.views if split == "train" else 1


class FeaturesInfo(BaseModel):
    """`features.json`: written last, so its presence means that the features are complete."""

    model_config = ConfigDict(extra="forbid")
    schema_version: int = SCHEMA_VERSION
    settings: FeatureSettings
    splits: dict[str, list[ShardInfo]]


Description = TypeVar("Description", DatasetInfo, FeaturesInfo)


def load_dataset_info(records: str | Path) -> DatasetInfo:
    """Read `dataset.json` of a records (or run) folder.

    Raises:
        RecordError: the folder or file is missing, incomplete, or of another schema version.
    """
    return _load_description(as_path(records), DATASET_FILE, DatasetInfo, "records", "build_records")


def load_features_info(features: str | Path) -> FeaturesInfo:
    """Read `features.json` of a features folder.

    Raises:
        RecordError: the folder or file is missing, incomplete, or of another schema version.
    """
    return _load_description(as_path(features), FEATURES_FILE, FeaturesInfo, "features", "extract_features")


def _load_description(folder: Path, name: str, kind: type[Description], what: str, command: str) -> Description:
    path = folder / name
    if not folder.is_dir():
        raise RecordError(f"{folder}: no such folder; make {what} with python -m beam_jobs.{command}")
    if not path.is_file():
        raise RecordError(f"{folder}: no {name}, so these {what} are incomplete; run {command} again")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("schema_version") != SCHEMA_VERSION:
            raise RecordError(
                f"{path}: schema version {content.get('schema_version')}, this tfcaption reads {SCHEMA_VERSION}; "
                f"run {command} again"
            )
        return kind.model_validate(content)
    except (json.JSONDecodeError, AttributeError, RecursionError) as error:
        raise RecordError(f"{path}: not a description of {what}: {error}") from error
    except ValueError as error:
        raise error if isinstance(error, RecordError) else RecordError(f"{path}: {error}") from error


def rejected_lines(rejections: Iterable[Rejection]) -> str:
    """The text of `rejected.jsonl`, in an order that does not depend on which worker met what."""
    ordered = sorted(
        rejections, key=lambda rejection: (rejection.kind, rejection.id, rejection.reason, rejection.detail)
    )
    lines = "".join(json.dumps(rejection.model_dump(), ensure_ascii=False) + "\n" for rejection in ordered)
    # File systems hold names that are no text; what Python makes of them can only be written as JSON's own escapes.
    return lines.encode(errors="backslashreplace").decode()


def vocabulary_words(counts: Mapping[str, int], min_count: int) -> list[str]:
    """The vocabulary: special tokens, then words seen `min_count` times or more by falling count, ties by spelling."""
    kept = [word for word, count in counts.items() if count >= min_count and word not in SPECIAL_TOKENS]
    return [*SPECIAL_TOKENS, *sorted(kept, key=lambda word: (-counts[word], word))]


def load_vocabulary(folder: str | Path) -> list[str]:
    """Read `vocabulary.txt` (one word a line, in the order of the token ids) of a records or run folder."""
    path = as_path(folder) / VOCABULARY_FILE
    if not path.is_file():
        raise RecordError(f"{path}: no such file")
    words = path.read_text(encoding="utf-8").split("\n")[:-1]
    if tuple(words[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS or len(set(words)) != len(words):
        raise RecordError(f"{path}: must begin with {' '.join(SPECIAL_TOKENS)} and hold each word once")
    return words


def encode_words(words: Sequence[str], index: Mapping[str, int], max_words: int) -> list[int]:
    """Token ids of one caption: <start>, its first `max_words` words (unknown ones as <oov>), <end>."""
    return [START, *(index.get(word, OOV) for word in words[:max_words]), END]
