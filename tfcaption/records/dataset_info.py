"""The descriptions of records and features: `dataset.json`, `features.json`, `rejected.jsonl`."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from tfcaption.records.examples import Stage
from tfcaption.records.sharding import SHARD_PATTERN
from tfcaption.records.tfrecord import RecordError
from tfcaption.runtime.paths import as_path

SCHEMA_VERSION = 1
SPLITS = ("train", "dev", "test")

DATASET_FILE = "dataset.json"
REJECTED_FILE = "rejected.jsonl"
FEATURES_FILE = "features.json"
PARTIAL_FEATURES_FILE = "features.incomplete.json"  # settings of feature shards, until features.json is written
CAPTIONS_FILE = "captions.json"


class Rejection(BaseModel):
    """One photo or caption that was not written, as a line of `rejected.jsonl`."""

    kind: str  # "photo", "caption", or "unused": left out by the data set's own split files
    id: str  # the photo's id, or FILE:LINE of a caption
    reason: str  # one of a short fixed list, to count by
    detail: str = ""  # what exactly was wrong
    captions: int = 0  # of a photo: the captions that went with it


class ShardInfo(BaseModel):
    """One shard file as `dataset.json` lists it."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(pattern=f"^{SHARD_PATTERN.pattern}$")]  # a file of that name is read, and written
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
