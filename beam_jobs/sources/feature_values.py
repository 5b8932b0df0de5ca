"""Features that others computed, one photo's at a time: what is accepted, and as which float16 values it is stored."""

import io
import zipfile
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from beam_jobs.execution.paths import open_file
from tfcaption.runtime.errors import TfcaptionError

ARRAY_SUFFIXES = (".npy", ".npz")
MAX_BYTES = 1 << 28  # of one photo's file, or of its array
# Names of arrays and columns in use, the first one that there is counts.
FEATURES_NAMES = ("features", "x", "feat", "feature")
NO_ARRAY = "no array of features"  # a reason of `FeatureError`
COUNT_NAMES = ("num_bbox", "num_boxes")  # of the regions that a padded array holds


class FeatureLocation(NamedTuple):
    """Where a photo's features are: in a file of their own, or float16 values in a larger file."""

    path: str  # any that Beam's filesystems know
    offset: int = 0  # bytes
    shape: tuple[int, ...] = ()  # of the values at that offset; empty: a whole .npy or .npz file


class FeatureError(TfcaptionError, ValueError):
    """Features of a photo that cannot be used.

    Attributes:
        reason: one of a short fixed list, for counting.
        detail: the exact fault.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


def read_features(path: str, key: str | None = None) -> np.ndarray:
    """The features in a .npy or .npz file; see `checked_features` for what comes back.

    Args:
        path: any that Beam's filesystems know.
        key: name of the array in a .npz file; None: `features` or another usual name, or else the only array of
            floating point numbers.

    Raises:
        FeatureError: the file cannot be read, or holds no usable features. Pickled objects are never loaded.
    """
    try:
        with open_file(path) as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise FeatureError("too large", f"{path}: more than {MAX_BYTES:,} bytes")
        if path.lower().endswith(".npy"):
            return checked_features(_array(content))
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _from_archive(archive, key)
    except FeatureError as error:
        raise FeatureError(error.reason, f"{path}: {error.detail}" if error.detail else path) from error
    except Exception as error:  # NumPy and zipfile raise errors of many kinds for damaged files
        raise FeatureError("unreadable file", f"{path}: {error}") from error


def _array(content: bytes) -> np.ndarray:
    try:
        return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except ValueError as error:
        reason = "pickled objects" if "Object arrays" in str(error) else "unreadable file"
        raise FeatureError(reason, str(error).partition("\n")[0]) from error


def _from_archive(archive: zipfile.ZipFile, key: str | None) -> np.ndarray:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}

    def load(name: str) -> np.ndarray:
        if members[name].file_size > MAX_BYTES:
            raise FeatureError("too large", f"{name} has more than {MAX_BYTES:,} bytes")
        return _array(archive.read(members[name]))

    chosen = key or next((name for name in FEATURES_NAMES if name in members), None)
    if chosen is None:
        arrays = {name: array for name in members if (array := _array_or_none(load, name)) is not None}
        return checked_features(_only(arrays, list(members)))
    if chosen not in members:
        raise FeatureError(NO_ARRAY, f"no array {chosen}; it holds {', '.join(members)}")
    count = next((load(name) for name in COUNT_NAMES if name in members), None)
    if count is not None and (count.size != 1 or count.dtype.kind not in "iuf"):
        raise FeatureError("wrong number of regions", f"{' or '.join(COUNT_NAMES)} is {count!s:.40}")
    return checked_features(load(chosen), count=None if count is None else int(count.item()))


def _array_or_none(load: Callable[[str], np.ndarray], name: str) -> np.ndarray | None:
    """An array of features, if it can be one: not pickled objects, text, integers or a single number."""
    try:
        array = load(name)
    except FeatureError as error:
        if error.reason == "pickled objects":
            return None
        raise
    return array if array.dtype.kind == "f" and array.ndim in (1, 2, 3) else None


def _only(arrays: Mapping[str, np.ndarray], names: list[str]) -> np.ndarray:
    if len(arrays) != 1:
        found = f"several arrays of floating point numbers: {', '.join(arrays)}" if arrays else f"of {', '.join(names)}"
        raise FeatureError(NO_ARRAY, f"{found}; name one with --key")
    (array,) = arrays.values()
    return array


def checked_features(array: np.ndarray, *, count: int | None = None) -> np.ndarray:
    """Features as they are stored.

    Args:
        array: any floating point numbers: (channels,), (regions, channels) or (height, width, channels).
        count: of the regions that are real, the first ones; None: all up to the last one that is not all zeros.

    Returns:
        The values as little-endian float16, contiguous, of the same rank and without regions that are padding.

    Raises:
        FeatureError: the array has another rank, or values that cannot be stored.
    """
    shape = "x".join(map(str, array.shape))
    if array.dtype.kind != "f":
        raise FeatureError("not floating point", f"{array.dtype}")
    if array.ndim not in (1, 2, 3) or 0 in array.shape:
        raise FeatureError("wrong rank", f"{shape or 'a single number'}; features are C, NxC or HxWxC")
    if count is not None:
        if array.ndim != 2 or not 1 <= count <= len(array):
            raise FeatureError("wrong number of regions", f"{count:,} of {shape}")
        array = array[:count]
    if not np.isfinite(array).all():
        raise FeatureError("NaN or infinity")
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(array, "<f2")
    if not np.isfinite(values).all():
        raise FeatureError("beyond float16", f"{np.abs(array).max():g}, the most is 65504")
    return _without_padding(values) if values.ndim == 2 else values


def _without_padding(regions: np.ndarray) -> np.ndarray:
    """Regions up to the last one that is not all zeros, among which none is all zeros."""
    real = np.flatnonzero(regions.any(axis=1))
    if not len(real):
        raise FeatureError("no region", f"all {len(regions):,} are all zeros")
    if len(real) <= real[-1]:
        first = int(np.argmax(real != np.arange(len(real))))
        raise FeatureError("all-zero region", f"number {first + 1:,}, before others")
    return regions[: len(real)]
