"""Features that others computed: which arrays are accepted, and which are refused by name."""

import io
import pickle

import numpy as np
import pytest

from beam_jobs.sources.feature_values import FeatureError, checked_features, read_features

REGIONS = np.arange(1, 13, dtype=np.float32).reshape(3, 4) / 7


def saved(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_float_in_every_byte_order_and_layout_gives_the_same_float16(dtype, order, tmp_path):
    np.save(tmp_path / "a.npy", np.asarray(REGIONS, dtype, order=order))
    found = read_features(str(tmp_path / "a.npy"))
    assert found.dtype == np.dtype("<f2") and found.flags.c_contiguous
    np.testing.assert_array_equal(found, REGIONS.astype(np.float16))


@pytest.mark.parametrize("shape", [(4,), (2, 4), (2, 3, 4)])
def test_vectors_regions_and_grids_keep_their_shape(shape):
    assert checked_features(np.ones(shape)).shape == shape


def test_zeros_at_the_end_are_padding_and_a_count_overrules_them():
    padded = np.concatenate([REGIONS, np.zeros((5, 4), np.float32)])
    np.testing.assert_array_equal(checked_features(padded), REGIONS.astype(np.float16))
    np.testing.assert_array_equal(checked_features(padded, count=2), REGIONS[:2].astype(np.float16))
    assert checked_features(np.zeros((2, 2, 4))).shape == (2, 2, 4)  # a grid has no padding


@pytest.mark.parametrize(
    ("array", "count", "reason"),
    [
        (np.float32(1), None, "wrong rank"),
        (np.ones((1, 2, 3, 4)), None, "wrong rank"),
        (np.ones((0, 4)), None, "wrong rank"),
        (np.ones((2, 4), int), None, "not floating point"),
        (np.array([["a", "b"]]), None, "not floating point"),
        (np.array([[1.0, np.nan]]), None, "NaN or infinity"),
        (np.array([[1.0, -np.inf]]), None, "NaN or infinity"),
        (np.array([[1.0, 65520.0]]), None, "beyond float16"),
        (np.array([[1.0], [0.0], [2.0]]), None, "all-zero region"),
        (np.array([[1.0], [1e-9], [2.0]]), None, "all-zero region"),  # zero once it is float16
        (np.zeros((3, 4)), None, "no region"),
        (np.ones((3, 4)), 0, "wrong number of regions"),
        (np.ones((3, 4)), 4, "wrong number of regions"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_reason(array, count, reason):
    with pytest.raises(FeatureError) as caught:
        checked_features(array, count=count)
    assert caught.value.reason == reason


class Bomb:
    """An object whose pickle writes a file where it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.npy", saved(REGIONS)[:-1], "unreadable file"),
        ("a.npy", saved(REGIONS)[:20], "unreadable file"),
        ("a.npy", b"", "unreadable file"),
        ("a.npy", saved(REGIONS).replace(b"(3, 4)", b"(9, 9)"), "unreadable file"),
        ("a.npz", b"PK\x03\x04 cut short", "unreadable file"),
        ("a.npz", saved(REGIONS), "unreadable file"),
    ],
)
def test_a_damaged_file_is_refused_and_named(name, content, reason, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FeatureError, match=name) as caught:
        read_features(str(tmp_path / name))
    assert caught.value.reason == reason


def test_pickled_objects_are_refused_and_never_loaded(tmp_path):
    bomb = np.array([Bomb(tmp_path / "exploded")], object)
    np.save(tmp_path / "objects.npy", bomb)
    np.savez(tmp_path / "objects.npz", features=bomb)
    (tmp_path / "plain.npy").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    for name, reason in (
        ("objects.npy", "pickled objects"),
        ("objects.npz", "pickled objects"),
        ("plain.npy", "unread"),
    ):
        with pytest.raises(FeatureError) as caught:
            read_features(str(tmp_path / name))
        assert caught.value.reason.startswith(reason)
    assert not (tmp_path / "exploded").exists()


def test_the_array_of_an_archive_is_the_named_or_usual_or_only_one(tmp_path):
    path, other = str(tmp_path / "a.npz"), np.ones((3, 2))
    np.savez(path, patches=REGIONS, boxes=other, size=np.array([2, 3]))
    np.testing.assert_array_equal(read_features(path, "boxes"), other)
    with pytest.raises(
        FeatureError, match="several arrays of floating point numbers: patches, boxes; name one with --key"
    ):
        read_features(path)
    with pytest.raises(FeatureError, match="no array none; it holds patches, boxes, size"):
        read_features(path, "none")
    np.savez(path, patches=REGIONS, size=np.array([2, 3]), note=np.array({"a": 1}, object))
    np.testing.assert_array_equal(read_features(path), REGIONS.astype(np.float16))
    for name, count in (("features", "num_bbox"), ("x", "num_boxes")):  # as detectors write them
        np.savez_compressed(path, **{name: REGIONS, count: np.array(2), "bbox": other})
        np.testing.assert_array_equal(read_features(path), REGIONS[:2].astype(np.float16))
    np.savez(path, size=np.array([2, 3]))
    with pytest.raises(FeatureError, match="of size; name one with --key"):
        read_features(path)
