"""Turns TensorFlow's read errors into errors that name the shard, the record and the fix."""

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from tfcaption.input_pipeline.split import Split
from tfcaption.records.dataset_info import FEATURES_FILE
from tfcaption.records.examples import CAPTIONS_TOKENS, PHOTO_ID, size_problem
from tfcaption.records.reading import read_shard
from tfcaption.records.tfrecord import RecordError, parse_example
from tfcaption.runtime.paths import as_path


@contextmanager
def explain_read_errors(*splits: Split) -> Iterator[None]:
    """Turn TensorFlow's errors about records into one that names the shard, the record and the fix.

    Args:
        splits: read within the block.

    Raises:
        RecordError: a record is damaged, or a shard has lost some.
    """
    try:
        yield
    except tf.errors.OpError:
        for split in splits:
            _check(split)
        raise


def _check(split: Split) -> None:
    """Read all shards of a split, and raise RecordError at the first damaged record."""
    for view, files in enumerate([split.files, *split.further_views]):
        _check_view(split, files, f"{split.name}, view {view}" if view else split.name)


def _check_view(split: Split, files: list[str], name: str) -> None:
    count = 0
    for file in files:
        for index, serialized in enumerate(read_shard(as_path(file))):
            features = parse_example(serialized)
            if missing := {split.payload, PHOTO_ID, CAPTIONS_TOKENS} - set(features):
                raise RecordError(f"{file}: record {index} has no {', '.join(sorted(missing))}; rebuild this shard")
            held = sum(map(len, features[split.payload].bytes_list.value))
            if split.stage != "photo" and (problem := size_problem(held, split.shape, varying=split.varying)):
                raise RecordError(
                    f"{file}: record {index} holds {problem} that {FEATURES_FILE} says; rebuild this shard"
                )
            count += 1
    if count != split.photos:
        raise RecordError(
            f"{as_path(split.files[0]).parent}: {count:,} records in the shards of {name}, "
            f"not {split.photos:,}; see what is wrong with python -m tfcaption.inspect"
        )
