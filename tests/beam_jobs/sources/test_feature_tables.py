"""Features in Parquet files: their columns, their layouts, and rows that cannot be used."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs.errors import SourceError
from beam_jobs.sources.feature_tables import FeatureColumns, photo_names, read_rows
from beam_jobs.sources.feature_values import FeatureError

PHOTOS = {"a.jpg": np.float16([[1, 2], [3, 4], [5, 6]]), "b.jpg": np.float16([[7, 8]])}
NO_COLUMNS = FeatureColumns()


def written(tmp_path, **columns):
    pq.write_table(pa.table(columns), tmp_path / "features.parquet", row_group_size=1)
    return tmp_path / "features.parquet"


def padded(values):
    return np.pad(values, ((0, 4 - len(values)), (0, 0))).tolist()


LISTS = [values.tolist() for values in PHOTOS.values()]
FLAT = [values.ravel().tolist() for values in PHOTOS.values()]
PADDED = [padded(values) for values in PHOTOS.values()]


@pytest.mark.parametrize(
    "columns",
    [
        {"features": LISTS},
        {"features": pa.array(LISTS, pa.list_(pa.list_(pa.float16(), 2)))},
        {"features": pa.array(LISTS, pa.large_list(pa.large_list(pa.float32())))},
        {"features": pa.array(PADDED, pa.list_(pa.list_(pa.float32(), 2), 4)), "num_boxes": [3, 1]},
        {"features": PADDED},
        {"features": FLAT, "shape": [[3, 2], [1, 2]]},
        {"features": FLAT, "num_bbox": [3, 1]},
    ],
)
def test_every_layout_of_lists_gives_the_same_regions(columns, tmp_path):
    path = written(tmp_path, image=list(PHOTOS), **columns)
    assert list(photo_names(path, NO_COLUMNS)) == list(PHOTOS)
    found = dict(read_rows(path, NO_COLUMNS, PHOTOS))
    assert found.keys() == PHOTOS.keys()
    for photo, expected in PHOTOS.items():
        np.testing.assert_array_equal(found[photo], expected)


def test_tensors_of_a_fixed_shape_are_read_with_it(tmp_path):
    values = np.arange(1, 13, dtype=np.float32).reshape(2, 3, 2)
    path = written(tmp_path, image=["a", "b"], features=pa.FixedShapeTensorArray.from_numpy_ndarray(values))
    found = dict(read_rows(path, NO_COLUMNS, {"a", "b"}))
    np.testing.assert_array_equal(found["b"], values[1])


def test_a_flat_list_alone_is_one_vector_and_unwanted_rows_are_passed_over(tmp_path):
    path = written(tmp_path, number=[3, 4], vector=[[1.0, 2.0], [3.0, 4.0]])
    columns = FeatureColumns(photo="number", features="vector")
    assert list(photo_names(path, columns)) == ["3", "4"]
    ((name, features),) = read_rows(path, columns, {"4"})
    assert name == "4" and features.tolist() == [3, 4]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (None, "no array of features"),
        ([[1.0, 2.0], [3.0]], "wrong rank"),
        ([[1.0, None]], "NaN or infinity"),
        ([[1.0, float("nan")]], "NaN or infinity"),
        ([], "wrong rank"),
    ],
)
def test_a_row_that_cannot_be_used_has_its_reason(cell, reason, tmp_path):
    kind = pa.list_(pa.list_(pa.float64()))
    path = written(tmp_path, image=["bad", "good"], features=pa.array([cell, [[1.0, 2.0]]], kind))
    found = dict(read_rows(path, NO_COLUMNS, {"bad", "good"}))
    assert isinstance(found["bad"], FeatureError) and found["bad"].reason == reason
    assert found["good"].tolist() == [[1, 2]]


def test_a_shape_that_does_not_fit_and_integers_are_refused(tmp_path):
    path = written(tmp_path, image=["a"], features=[[1.0, 2.0, 3.0]], shape=[[2, 2]])
    ((_, found),) = read_rows(path, NO_COLUMNS, {"a"})
    assert found.reason == "wrong rank"
    path = written(tmp_path, image=["a"], features=[[1, 2, 3]])
    ((_, found),) = read_rows(path, NO_COLUMNS, {"a"})
    assert found.reason == "not floating point"


def test_missing_columns_and_damaged_files_are_errors_that_name_them(tmp_path):
    path = written(tmp_path, image=["a"], vector=[[1.0]])
    with pytest.raises(
        SourceError, match="no column for the features; it has image, vector; .* --columns features=NAME"
    ):
        list(photo_names(path, NO_COLUMNS))
    with pytest.raises(SourceError, match="no column boxes; it has image, vector"):
        list(photo_names(path, FeatureColumns(features="vector", count="boxes")))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SourceError, match="cannot be read as Parquet"):
        list(photo_names(path, NO_COLUMNS))
