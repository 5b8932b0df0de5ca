"""A data set on disk: records, or features made of them."""

from dataclasses import dataclass
from pathlib import Path

from tfcaption.records.dataset_info import (
    DATASET_FILE,
    FEATURES_FILE,
    IMPORTED,
    DatasetInfo,
    FeaturesInfo,
    ShardInfo,
    load_dataset_info,
    load_features_info,
)
from tfcaption.records.examples import Stage
from tfcaption.records.tfrecord import RecordError
from tfcaption.records.vocabulary import Vocabulary, load_vocabulary


@dataclass(frozen=True)
class Dataset:
    """Records or features: their descriptions, and where their shards lie."""

    info: DatasetInfo
    vocabulary: Vocabulary
    records: Path  # the folder of the records
    features_folder: Path | None = None  # of features made of them, where these are read instead
    features: FeaturesInfo | None = None  # `features.json` of that folder

    @property
    def folder(self) -> Path:
        """The folder of the shards that are read."""
        return self.features_folder or self.records

    @property
    def stage(self) -> Stage:
        """How far the photos have come through the encoder."""
        return self.features.settings.stage if self.features else "photo"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one photo's inputs: pixels or features."""
        size = self.info.settings.image_size
        return tuple(self.features.settings.shape) if self.features else (size, size, 3)

    @property
    def varying(self) -> bool:
        """Whether photos differ in their number of regions; then `shape` has the most."""
        return bool(self.features and self.features.settings.varying)

    @property
    def has_grid(self) -> bool:
        """Whether the regions of a photo form a grid; those of imported features may lie anywhere in it."""
        return not (self.features and self.features.weights == IMPORTED and len(self.shape) == 2)

    @property
    def description_file(self) -> str:
        """The file that lists the shards."""
        return FEATURES_FILE if self.features else DATASET_FILE

    @property
    def job(self) -> str:
        """The job that made the shards, to name in an error."""
        if self.features:
            return "import_features" if self.features.weights == IMPORTED else "extract_features"
        return "build_records"

    def views(self, split: str) -> int:
        """Views of each photo of a split."""
        return self.features.settings.views_of(split) if self.features else 1

    def shards(self, split: str, view: int = 0) -> list[ShardInfo]:
        """All shards of one view of a split; raises RecordError where there is no such split."""
        described = self.info.split(split, self.records)
        return self.features.shards(split, view) if self.features else described.shards

    def shares(self, split: str, hosts: int, view: int = 0) -> list[list[ShardInfo]]:
        """The shards of one view of a split that each of several hosts reads, of the same photos for every view.

        Raises:
            RecordError: there is no such split, or a host would have no photo to train on.
        """
        shards = self.shards(split, view)
        shares = [shards[index::hosts] for index in range(hosts)]
        if split == "train" and not all(any(shard.records for shard in share) for share in shares):
            raise RecordError(
                f"{self.folder}: split {split} has too few shards for {hosts} hosts ({len(shards)}); start fewer "
                f"hosts, or build the records again with --shards {hosts * 8}"
            )
        return shares


def load_dataset(records: Path, features: Path | None = None) -> Dataset:
    """Read the descriptions of records, and of features made of them.

    Raises:
        RecordError: a description is missing, incomplete, or of another schema version.
    """
    info = load_dataset_info(records)
    vocabulary = load_vocabulary(records, info.settings.tokenizer)
    return Dataset(info, vocabulary, records, features, load_features_info(features) if features else None)
