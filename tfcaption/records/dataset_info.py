"""The descriptions of records and features: `dataset.json`, `features.json`, `rejected.jsonl`."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tfcaption.records.examples import Precision, Stage
from tfcaption.records.sharding import SHARD_PATTERN
from tfcaption.records.tfrecord import RecordError
from tfcaption.records.vocabulary import TOKENIZER_PATTERN, WORDS

SCHEMA_VERSION = 1
SPLITS = ("train", "dev", "test")
DEFAULT_SHARES = {"train": 0.75, "dev": 0.125, "test": 0.125}  # of photos whose split the data set does not name
NAMED_WEIGHTS = ("imagenet", "random")  # of an encoder; any other name is a path
IMPORTED = "imported"  # stands for encoder and weights of features made elsewhere

DATASET_FILE = "dataset.json"
REJECTED_FILE = "rejected.jsonl"
FEATURES_FILE = "features.json"
PARTIAL_FEATURES_FILE = "features.incomplete.json"  # settings of the feature shards until features.json is written
CAPTIONS_FILE = "captions.json"


class Rejection(BaseModel):
    """One photo or caption that was not written, as a line of `rejected.jsonl`."""

    # "photo", "caption", "unused" (a photo that no caption or none of the data set's split files names) or "file" (one
    # below the user's folders, or a member of a tar, that is neither captions nor a photo)
    kind: str
    id: str  # the photo's id, FILE:LINE of a caption, the path of a file, or TAR/MEMBER
    reason: str  # one of a short fixed list, for counting
    detail: str = ""  # the exact fault
    captions: int = 0  # of a photo: its captions, rejected with it


class ShardInfo(BaseModel):
    """One shard file as `dataset.json` lists it."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(pattern=f"^{SHARD_PATTERN.pattern}$")]  # checked, since it names a file to read or write
    records: int
    bytes: int
    sha256: str


class SplitInfo(BaseModel):
    """One split as `dataset.json` describes it."""

    model_config = ConfigDict(extra="forbid")
    photos: int
    captions: int
    tokens: int  # with <start> and <end>
    oov_rate: float  # share of words outside the vocabulary
    truncated_captions: int  # captions of more than max_words words, cut before <end>
    caption_lengths: dict[int, int]  # tokens of a caption, with <start> and <end> -> number of captions
    longest_caption_lengths: dict[int, int]  # tokens of a photo's longest caption -> number of photos
    shards: list[ShardInfo]


class RecordSettings(BaseModel):
    """The options of `build_records` that determine the bytes of the records."""

    model_config = ConfigDict(extra="forbid")
    source: str
    image_size: int  # pixels, both sides
    resize: str  # squash, crop or pad
    # Names the tokenizer, see `preprocessing.tokenizer`; data sets of earlier versions do not, they have words.
    tokenizer: str = Field(default=WORDS, pattern=TOKENIZER_PATTERN, exclude_if=lambda value: value == WORDS)
    min_count: int
    max_words: int
    seed: int
    shards: int | None  # of the largest split; None: from the number of photos
    shares: dict[str, float]  # of each split, where no split file decides
    pillow_version: str  # its decoder and resize filter
    # sha256 of the words of another data set that the vocabulary begins with; empty: of none.
    vocabulary: str = Field(default="", exclude_if=lambda value: not value)


class DatasetInfo(BaseModel):
    """`dataset.json`: written last, so the records are complete if it exists."""

    model_config = ConfigDict(extra="forbid")
    schema_version: int = SCHEMA_VERSION
    settings: RecordSettings
    splits: dict[Annotated[str, Field(pattern="^[a-z]+$")], SplitInfo]
    vocabulary_size: int
    max_length: int  # tokens of the longest caption, with <start> and <end>
    captions_per_photo: int  # the maximum over all photos
    photos_in: int  # written + rejected
    captions_in: int
    rejected_photos: dict[str, int]  # reason -> count
    rejected_captions: dict[str, int]
    unused_photos: dict[str, int]
    unused_files: dict[str, int] = {}  # neither captions nor photos
    word_counts: list[int]  # in the training split, by token id (0 for <pad>)
    duplicates: list[dict[str, str]] = []  # photos with byte-identical files in several splits: id -> split

    def split(self, name: str, folder: Path | str = "these records") -> SplitInfo:
        """The split `name`.

        Args:
            name: train, dev or test.
            folder: of the records, for the message.

        Raises:
            RecordError: it is missing or empty; the message lists the available splits.
        """
        if name not in self.splits or not self.splits[name].photos:
            available = ", ".join(split for split, info in self.splits.items() if info.photos)
            raise RecordError(
                f"{folder}: no split '{name}'; available: {available}; build_records divides the photos anew where "
                "--shares is given"
            )
        return self.splits[name]

    def fingerprint(self) -> str:
        """sha256 of the description, and so of every shard; leaves out fields that older descriptions lack."""
        return hashlib.sha256(self.model_dump_json(exclude={"duplicates", "unused_files"}).encode()).hexdigest()


class FeatureSettings(BaseModel):
    """The settings that determine the bytes of features."""

    model_config = ConfigDict(extra="forbid")
    stage: Stage
    layers: list[str] = []  # of each encoder, whose output the stage is; `pooled`: the mean of it over the regions
    shape: list[int]  # of one photo's features
    dtype: str = "float16"
    weights: str  # sha256 of the encoder's weights up to the stage
    preprocessing: str  # of the pixels
    records: str  # fingerprint of the records
    made_from: Stage = "photo"  # or the stage of stored features, which were rounded to float16
    views: int = Field(default=1, ge=1)  # of each training photo; other photos have one
    sides: list[int] = []  # token ids of "left" and "right", which are swapped in mirrored views
    batch_size: int  # photos per call, since the last bit of a float32 may depend on it
    # In which the encoder computed. bfloat16: most of its layers.
    precision: Precision = Field(default="float32", exclude_if=lambda value: value == "float32")
    varying: bool = Field(default=False, exclude_if=lambda value: not value)  # regions: shape[0] is the most of a photo

    @model_validator(mode="after")
    def _layers_of_resnet50(self) -> "FeatureSettings":
        """Features of earlier versions do not name layers; those were always ResNet50's."""
        if not self.layers:
            self.layers = ["conv5_block1_out" if self.stage == "trunk" else "conv5_block3_out"]
        return self

    def __str__(self) -> str:
        views = f", {self.views} views of each training photo" if self.views > 1 else ""
        precision = ", computed in bfloat16" * (self.precision == "bfloat16")
        return f"{self.stage} {'up to ' * self.varying}{'x'.join(map(str, self.shape))} {self.dtype}{precision}{views}"

    def views_of(self, split: str) -> int:
        """Views of each photo of a split."""
        return self.views if split == "train" else 1


class FeaturesInfo(BaseModel):
    """`features.json`: written last, so the features are complete if it exists."""

    model_config = ConfigDict(extra="forbid")
    schema_version: int = SCHEMA_VERSION
    settings: FeatureSettings
    # The paths of files are absolute if they are local.
    encoder: list[str] = ["resnet50"]  # names or files, see `EncoderSettings`
    encoder_input: list[str] = ["caffe"]  # of each encoder, see `tfcaption.backbones.preprocessing`
    # One of NAMED_WEIGHTS, IMPORTED, a file, or the run directory whose encoder made them; null: the encoder's own, or,
    # in those of earlier versions, unknown.
    weights: str | None = None
    name: str = Field(default="", exclude_if=lambda value: not value)  # of what made imported features, for people
    splits: dict[str, list[ShardInfo]]  # of each photo as it is
    # Of the training photos: view 1, view 2, ..., each in as many shards, of the same photos in the same order.
    further_views: list[list[ShardInfo]] = Field(default=[], exclude_if=lambda value: not value)

    @model_validator(mode="after")
    def _views_of_the_same_photos(self) -> "FeaturesInfo":
        photos = [shard.records for shard in self.splits.get("train", [])]
        views = len(self.further_views)
        # None are named by earlier versions, which stored all views of a photo in one record.
        if views not in (0, self.settings.views - 1):
            raise ValueError(f"further_views: {views}, not the {self.settings.views - 1} that settings say")
        if any([shard.records for shard in shards] != photos for shards in self.further_views):
            raise ValueError("further_views: other numbers of records than the shards of train")
        return self

    def shards(self, split: str, view: int = 0) -> list[ShardInfo]:
        """The shards of one view of a split; view 0 is the photos as they are."""
        return self.further_views[view - 1] if view else self.splits[split]

    @property
    def all_shards(self) -> list[ShardInfo]:
        """The shards of all splits and views."""
        return [shard for shards in (*self.splits.values(), *self.further_views) for shard in shards]

    @property
    def encoder_names(self) -> list[str]:
        """The encoders by names that stay the same when their files move."""
        return [PurePath(encoder).name for encoder in self.encoder]


Description = TypeVar("Description", DatasetInfo, FeaturesInfo)


def load_dataset_info(records: Path) -> DatasetInfo:
    """Read `dataset.json` of a records (or run) folder.

    Raises:
        RecordError: the folder or file is missing, incomplete, or of another schema version.
    """
    return _load_description(records, DATASET_FILE, DatasetInfo, "records", "build_records")


def load_features_info(features: Path) -> FeaturesInfo:
    """Read `features.json` of a features folder.

    Raises:
        RecordError: the folder or file is missing, incomplete, or of another schema version or layout of views.
    """
    info = _load_description(features, FEATURES_FILE, FeaturesInfo, "features", "extract_features")
    if info.settings.views > 1 and not info.further_views:
        raise RecordError(
            f"{features}: an earlier version wrote these features, with all {info.settings.views} views of a photo in "
            "one record, which is no longer read; run the same extract_features again, which replaces them"
        )
    return info


def _load_description(folder: Path, name: str, kind: type[Description], content: str, command: str) -> Description:
    path = folder / name
    if not folder.is_dir():
        raise RecordError(f"{folder}: no such folder; make {content} with python -m beam_jobs.{command}")
    if not path.is_file():
        raise RecordError(f"{folder}: {name} is missing, so these {content} are incomplete; run {command} again")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        version = description.get("schema_version")
    except (ValueError, AttributeError, RecursionError) as error:
        raise RecordError(f"{path}: not a description of {content}: {error}; run {command} again") from error
    if version != SCHEMA_VERSION:
        raise RecordError(
            f"{path}: schema version {version}, but this tfcaption reads {SCHEMA_VERSION}; run {command} again"
        )
    try:
        return kind.model_validate(description)
    except (ValidationError, RecursionError) as error:
        raise RecordError(f"{path}: {error}; run {command} again") from error


def rejection_order(rejection: Rejection) -> tuple[str, str, str, str]:
    """Sort key of a line of `rejected.jsonl`, so that the order does not depend on the workers."""
    return rejection.kind, rejection.id, rejection.reason, rejection.detail


def rejected_lines(rejections: Iterable[Rejection]) -> str:
    """The text of `rejected.jsonl`, in its order."""
    ordered = sorted(rejections, key=rejection_order)
    lines = "".join(json.dumps(rejection.model_dump(), ensure_ascii=False) + "\n" for rejection in ordered)
    # Some readers of lines end a line at these, which JSON leaves as they are; a file's name may have them.
    lines = lines.translate({ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"})
    # A file name that is not valid UTF-8 contains surrogates in Python; write them as JSON escapes.
    return lines.encode(errors="backslashreplace").decode()
