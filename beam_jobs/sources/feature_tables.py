"""Features in Parquet files: a row for each photo, read a few rows at a time."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute

from beam_jobs.errors import SourceError
from beam_jobs.sources.feature_values import COUNT_NAMES, FEATURES_NAMES, NO_ARRAY, FeatureError, checked_features
from beam_jobs.sources.parquet_file import opened_parquet
from tfcaption.records.photo_names import PHOTO_COLUMNS, usual_column

TABLE_SUFFIX = ".parquet"
_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class FeatureColumns:
    """Names of a table's columns; None: a usual name, or for the last two no such column."""

    photo: str | None = None
    features: str | None = None
    count: str | None = None  # of the photo's regions
    shape: str | None = None  # of features that are stored as one flat list


def photo_names(path: Path, columns: FeatureColumns) -> Iterator[str]:
    """The name or number of the photo of each row, as text.

    Raises:
        SourceError: the file is no table, is damaged, or lacks a column.
    """
    with opened_parquet(path, cure="write it again") as table:
        photo = _columns(path, table.schema_arrow, columns).photo
        for batch in table.iter_batches(_ROWS_AT_ONCE * 64, columns=[photo]):
            yield from map(str, batch.column(0).to_pylist())


def read_rows(
    path: Path, columns: FeatureColumns, wanted: Collection[str]
) -> Iterator[tuple[str, np.ndarray | FeatureError]]:
    """The photo's name and the checked features of each row whose photo is wanted, or what is wrong with them.

    Raises:
        SourceError: as for `photo_names`.
    """
    with opened_parquet(path, cure="write it again") as table:
        found = _columns(path, table.schema_arrow, columns)
        names = [name for name in (found.photo, found.features, found.count, found.shape) if name]
        for batch in table.iter_batches(_ROWS_AT_ONCE, columns=names):
            features, tensor_shape = batch.column(found.features), None
            if isinstance(features, pyarrow.ExtensionArray):
                features, tensor_shape = features.storage, getattr(features.type, "shape", None)
            for row, photo in enumerate(map(str, batch.column(found.photo).to_pylist())):
                if photo not in wanted:
                    continue
                count = batch.column(found.count)[row].as_py() if found.count else None
                shape = batch.column(found.shape)[row].as_py() if found.shape else tensor_shape
                try:
                    yield photo, _features(features[row], count, shape)
                except FeatureError as error:
                    yield photo, error


def _columns(path: Path, schema: Any, given: FeatureColumns) -> FeatureColumns:
    """The columns that a table has, by the given or by usual names."""
    names = list(schema.names)
    found = FeatureColumns(
        photo=given.photo or usual_column(names, PHOTO_COLUMNS),
        features=given.features or usual_column(names, FEATURES_NAMES),
        count=given.count or usual_column(names, COUNT_NAMES),
        shape=given.shape or usual_column(names, ("shape",)),
    )
    for kind in ("photo", "features", "count", "shape"):
        name = getattr(found, kind)
        if name not in names and (name or kind in ("photo", "features")):
            raise SourceError(
                f"{path}: no column {name or f'for the {kind}'}; it has {', '.join(names)}; name it with --columns "
                f"{kind}=NAME"
            )
    return found


def _features(cell: Any, count: int | None, shape: Sequence[int] | None) -> np.ndarray:
    """Checked features of one cell: a list of lists, or a flat list with a shape or a number of regions."""
    if not cell.is_valid or not hasattr(cell, "values"):
        raise FeatureError(NO_ARRAY, "the row has none" if not cell.is_valid else f"a {cell.type}")
    values, sizes = cell.values, [len(cell.values)]
    while _is_list(values.type):
        lengths = pyarrow.compute.unique(pyarrow.compute.list_value_length(values)).to_pylist()
        if len(lengths) != 1 or lengths[0] is None:
            raise FeatureError("wrong rank", "the regions differ in their number of channels")
        sizes.append(lengths[0])
        values = values.flatten()
    if not pyarrow.types.is_floating(values.type):
        raise FeatureError("not floating point", str(values.type))
    if values.null_count:
        raise FeatureError("NaN or infinity", "a number is missing")
    array = values.to_numpy(zero_copy_only=False)
    if len(sizes) == 1 and (shape or count):
        sizes, count = [*shape] if shape else [int(count or 0), -1], None
    try:
        array = array.reshape(sizes)
    except ValueError as error:
        raise FeatureError("wrong rank", f"{len(array):,} numbers are not of shape {sizes}") from error
    return checked_features(array, count=count)


def _is_list(kind: Any) -> bool:
    return any(
        check(kind) for check in (pyarrow.types.is_list, pyarrow.types.is_large_list, pyarrow.types.is_fixed_size_list)
    )
