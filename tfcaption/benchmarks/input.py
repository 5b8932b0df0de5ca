"""Benchmark of the input pipeline, beside a Keras sequence and a plain tf.data pipeline over the photo files."""

import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from tfcaption.benchmarks.baselines import KerasSequence, list_files_pipeline
from tfcaption.benchmarks.harness import Row, find_jpegs
from tfcaption.config import DataConfig, TrainConfig
from tfcaption.input_pipeline.batches import make_batches
from tfcaption.input_pipeline.options import BatchOptions, CachePolicy
from tfcaption.input_pipeline.split import open_split
from tfcaption.models.token_layout import uses_packed_tokens
from tfcaption.records.dataset import Dataset, load_dataset
from tfcaption.records.vocabulary import END, START
from tfcaption.training.precision import resolve_mode

BATCH_SIZE = 64  # photos, or pairs of a photo and a caption
WARM_UP_BATCHES = 3


def measure_input(*, images: Path, records: Path, features: Sequence[Path], repeats: int, seconds: float) -> list[Row]:
    """Photos/s and captions/s of our pipelines, a Keras sequence and a tf.data pipeline over the files.

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
        for cache in (False, True):
            name = f"tfcaption from {dataset.stage}, {'in memory' if cache else 'streamed'}"
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
    return [row for row, _ in candidates]


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
    buckets = 1 if uses_packed_tokens(resolve_mode(TrainConfig()).xla) else DataConfig().length_buckets
    split = open_split("train", dataset, buckets=buckets, cache=CachePolicy(cache), further_views=True)
    for batch in make_batches(split, BatchOptions(BATCH_SIZE, shuffle_seed=0, epochs=10**6)):
        # Rows of the few batches at an epoch's end that are not full count as if they were.
        yield len(batch["inputs"]) if unit == "photos" else batch["tokens"].shape[0] * batch["tokens"].shape[1]
