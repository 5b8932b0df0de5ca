"""Benchmark of the input pipeline, beside a Keras sequence, a plain tf.data pipeline over the photo files, and the
decoding of the records' photos alone.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcaption.benchmarks.baselines import KerasSequence, list_files_pipeline
from tfcaption.benchmarks.harness import Row, cpu_seconds_of, find_jpegs
from tfcaption.config import DataConfig, TrainConfig
from tfcaption.input_pipeline.batches import make_batches
from tfcaption.input_pipeline.options import BatchOptions, CachePolicy
from tfcaption.input_pipeline.parsing import CORES
from tfcaption.input_pipeline.split import Split, open_split
from tfcaption.models.token_layout import uses_packed_tokens
from tfcaption.preprocessing.photos_in_graph import decode_jpeg
from tfcaption.records.dataset import Dataset, load_dataset
from tfcaption.records.examples import decode_record
from tfcaption.records.reading import read_records
from tfcaption.records.vocabulary import END, START
from tfcaption.training.precision import resolve_mode

BATCH_SIZE = 64  # photos, or pairs of a photo and a caption
WARM_UP_BATCHES = 3
SHARDS = 4  # whose photos are decoded alone, from memory


def measure_input(*, images: Path, records: Path, features: Sequence[Path], repeats: int, seconds: float) -> list[Row]:
    """Photos/s and captions/s of our pipelines, a Keras sequence and a tf.data pipeline over the files.

    The last two rows tell what streaming costs beyond decoding, in CPU seconds over all threads.

    Args:
        images: folder of JPEG photos.
        records: folder that build_records wrote.
        features: folders that extract_features wrote from those records.
        repeats: measurements of each.
        seconds: length of each measurement.
    """
    datasets = [load_dataset(records), *(load_dataset(records, folder) for folder in features)]
    candidates = _baselines(find_jpegs(images), datasets[0])
    reference = candidates[0][0].name
    for dataset in datasets:
        unit = "captions" if dataset.stage == "pooled" else "photos"
        views = f" in {dataset.views('train')} views" if dataset.views("train") > 1 else ""
        for cache in (False, True):
            name = f"tfcaption from {dataset.stage}{views}, {'in memory' if cache else 'streamed'}"
            candidates.append((Row(name, f"{unit}/s", reference), _batch_sizes(dataset, cache, unit)))
    for _, sizes in candidates:
        for _ in range(WARM_UP_BATCHES):
            next(sizes)
    for _ in range(repeats):
        for row, sizes in candidates:
            done, start = 0, time.monotonic()
            while time.monotonic() - start < seconds:
                done += next(sizes)
            row.values.append(done / (time.monotonic() - start))
    return [*(row for row, _ in candidates), *_decoding_and_streaming(datasets[0], repeats)]


def _decoding_and_streaming(photos: Dataset, repeats: int) -> list[Row]:
    """An epoch of some shards: decoded with nothing else, and as streamed batches with their captions."""
    split = _training_split(photos, cache=False)
    files = split.files[:SHARDS]
    jpegs = [decode_record(record).jpeg for record in read_records(files)]
    split = replace(split, files=files, photos=len(jpegs), most_photos_of_a_host=len(jpegs))
    decoding = Row("JPEGs of the records in memory, decoded and nothing else", "photos/CPU s")
    streaming = Row("tfcaption from photo, streamed: an epoch", decoding.unit, decoding.name)
    candidates = [
        (decoding, tf.data.Dataset.from_tensor_slices(jpegs).map(decode_jpeg, num_parallel_calls=CORES)),
        (streaming, make_batches(split, BatchOptions(BATCH_SIZE, shuffle_seed=0))),
    ]
    for repeat in range(repeats + 1):
        for row, epoch in candidates:
            seconds = cpu_seconds_of(epoch.reduce, np.int64(0), lambda elements, _: elements + 1)
            if repeat:  # the first one warms up
                row.values.append(len(jpegs) / seconds)
    return [decoding, streaming]


def _training_split(dataset: Dataset, *, cache: bool) -> Split:
    buckets = 1 if uses_packed_tokens(resolve_mode(TrainConfig()).xla) else DataConfig().length_buckets
    return open_split("train", dataset, buckets=buckets, cache=CachePolicy(cache), further_views=True)


def _baselines(paths: Sequence[Path], dataset: Dataset) -> list[tuple[Row, Iterator[int]]]:
    """The alternatives, and the sizes of their batches without end; the first one is the reference."""
    size, longest = dataset.info.settings.image_size, dataset.info.max_length
    captions = [[START, *[4] * 10, END]] * 100_000
    pairs = KerasSequence(paths, captions, longest=longest, image_size=size, batch_size=BATCH_SIZE)
    sequence = Row("Keras sequence over files (a photo for each caption)", "captions/s")
    pipeline = Row("tf.data list_files over files", "photos/s", sequence.name)
    return [
        (sequence, (len(pairs[index % len(pairs)][1]) for index in count())),
        (pipeline, (len(batch) for batch in list_files_pipeline(paths, image_size=size, batch_size=BATCH_SIZE))),
    ]


def _batch_sizes(dataset: Dataset, cache: bool, unit: str) -> Iterator[int]:
    """Photos or captions in each training batch of a data set."""
    split = _training_split(dataset, cache=cache)
    for batch in make_batches(split, BatchOptions(BATCH_SIZE, shuffle_seed=0, epochs=10**6)):
        # Rows of the few batches at an epoch's end that are not full count as if they were.
        yield len(batch["inputs"]) if unit == "photos" else batch["tokens"].shape[0] * batch["tokens"].shape[1]
