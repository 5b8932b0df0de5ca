"""Damaged records that a training meets: named with the cure, or left out, counted and named."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfcaption.records import tfrecord
from tfcaption.records.dataset_info import FEATURES_FILE
from tfcaption.records.examples import CAPTIONS_TOKENS, PHOTO_ID, features_size
from tfcaption.records.tfrecord import RecordError
from tfcaption.runtime.paths import as_path

if TYPE_CHECKING:
    from tfcaption.input_pipeline import Split


class LeftOut:
    """Reads shards without their damaged records, and remembers those."""

    def __init__(self) -> None:
        self._faults: dict[str, None] = {}  # in the order in which they were met

    @property
    def faults(self) -> list[str]:
        """What was left out so far, named with its file: each record once, however often it was met."""
        return list(self._faults)

    def read(self, path: str) -> Iterator[bytes]:
        """The whole records of a shard; the first time, each other one is named on standard error."""
        for found in tfrecord.salvage_frames(as_path(path).read_bytes(), path):
            if isinstance(found, bytes):
                yield found
            elif str(found) not in self._faults:
                self._faults[str(found)] = None
                print(f"left out: {found}", file=sys.stderr, flush=True)

    def dataset(self, path: tf.Tensor) -> tf.data.Dataset:
        """The same as scalar strings; holds one shard in memory."""

        def read(path: bytes) -> np.ndarray:
            return np.array(list(self.read(path.decode())), object)

        serialized = tf.numpy_function(read, [path], tf.string)
        return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(serialized, (None,)))


@contextmanager
def named(*splits: "Split") -> Iterator[None]:
    """Turn TensorFlow's errors about records into one that names the shard, the record and the cure.

    Args:
        splits: what is read within.

    Raises:
        RecordError: a record is damaged, or a shard has lost some.
    """
    try:
        yield
    except tf.errors.OpError:
        for split in splits:
            _check(split)
        raise


def _check(split: "Split") -> None:
    """Read all shards of a split, and raise RecordError at the first record that is not whole."""
    count = 0
    for file in split.files:
        with as_path(file).open("rb") as stream:
            for index, serialized in enumerate(tfrecord.read_frames(stream, file)):
                example = tfrecord.parse_example(serialized)
                if missing := {split.payload, PHOTO_ID, CAPTIONS_TOKENS} - set(example):
                    raise RecordError(f"{file}: record {index} has no {', '.join(sorted(missing))}; rebuild this shard")
                held = sum(map(len, example[split.payload].bytes_list.value))
                if split.stage != "photo" and held != (size := split.views * features_size(split.shape)):
                    raise RecordError(
                        f"{file}: record {index} holds {held:,} bytes of features, not the {size:,} that "
                        f"{FEATURES_FILE} says; rebuild this shard"
                    )
                count += 1
    if count != split.photos:
        raise RecordError(
            f"{as_path(split.files[0]).parent}: {count:,} records in the shards of {split.name}, "
            f"not {split.photos:,}; see what is wrong with python -m tfcaption.inspect"
        )
