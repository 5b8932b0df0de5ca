"""Finds files of features that others computed: .npy or .npz files named as the photos, or Parquet tables."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from beam_jobs.errors import SourceError
from beam_jobs.execution.paths import as_path
from beam_jobs.sources.feature_tables import TABLE_SUFFIX, FeatureColumns
from beam_jobs.sources.feature_values import ARRAY_SUFFIXES, NO_ARRAY, FeatureError, read_features
from tfcaption.runtime.errors import TfcaptionError, UsageError
from tfcaption.runtime.paths import entries_below, is_hidden


@dataclass(frozen=True)
class ImportRequest:
    """The features that a user has."""

    records: str  # folder of the records
    source: str  # folder of .npy, .npz or .parquet files, or one .parquet file
    columns: FeatureColumns  # of .parquet files
    key: str | None = None  # name of the array in .npz files
    name: str = ""  # what made the features, for people

    def check(self, *, arrays: bool, tables: bool) -> None:
        """Refuse input without features, files of both kinds, and options of the other kind.

        Args:
            arrays: there are .npy or .npz files.
            tables: there are .parquet files.

        Raises:
            SourceError, UsageError: accordingly.
        """
        if arrays == tables:
            found = (
                "both .npy or .npz and .parquet files; name the folder of one kind"
                if tables
                else ("no features; name a folder of .npy or .npz files, one for each photo, or .parquet files")
            )
            raise SourceError(f"--input {self.source}: {found}")
        if self.key and tables:
            raise UsageError(f"--key {self.key}: is for .npz files, and --input {self.source} holds .parquet files")
        if arrays and self.columns != FeatureColumns():
            raise UsageError(f"--columns: is for .parquet files, and --input {self.source} holds .npy or .npz files")

    def check_array(self, path: Path) -> None:
        """Refuse input where the array of features is not found in one of the files.

        Raises:
            SourceError: accordingly; any other fault of the file is one of its photo.
        """
        try:
            read_features(str(path), self.key)
        except FeatureError as error:
            if error.reason == NO_ARRAY:
                raise SourceError(f"--input {error.detail}") from error

    def files(self) -> Iterator[tuple[Path, str]]:
        """The files of features in a folder and below it, or the only one, in no particular order.

        Yields:
            A .npy or .npz file and its name below the folder, without that ending; a Parquet file and "".

        Raises:
            SourceError: there is no such file or folder, or it cannot be listed.
        """
        try:
            yield from self._files(as_path(self.source))
        except OSError as error:
            if isinstance(error, TfcaptionError):
                raise
            raise SourceError(f"--input {self.source}: cannot be read: {error}") from error

    def _files(self, source: Path) -> Iterator[tuple[Path, str]]:
        if not source.exists():
            raise SourceError(f"--input {source}: no such file or folder")
        is_folder = source.is_dir()
        folder = source if is_folder else source.parent
        for path, fault in entries_below(source) if is_folder else [(source, "")]:
            suffix = path.suffix.lower()
            if fault or suffix not in (TABLE_SUFFIX, *ARRAY_SUFFIXES) or is_hidden(path.relative_to(folder)):
                continue
            if suffix == TABLE_SUFFIX:
                yield path, ""
            elif is_folder:
                yield path, path.relative_to(folder).as_posix()[: -len(suffix)]
