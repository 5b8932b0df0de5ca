"""Benchmark of the input pipeline, beside what a user would write with Keras."""

import argparse
import time
from collections.abc import Iterator

from tfcaption.benchmarks import baselines
from tfcaption.benchmarks.harness import Row
from tfcaption.config import TrainConfig
from tfcaption.input_pipeline.batches import make_batches
from tfcaption.input_pipeline.split import open_split
from tfcaption.models.token_layout import uses_packed_tokens
from tfcaption.records.dataset_info import load_dataset_info, load_features_info
from tfcaption.records.vocabulary import END, START
from tfcaption.training.precision import resolve_mode


def measure_input(arguments: argparse.Namespace) -> list[Row]:
    """Photos and captions a second of our pipelines against a Keras sequence and a pipeline over the files."""

    buckets = 1 if uses_packed_tokens(resolve_mode(TrainConfig()).xla) else 8  # as a training by default
    info = load_dataset_info(arguments.records)
    size, batch = info.settings.image_size, 64
    paths = baselines.find_photos(arguments.images)
    captions = [[START, *[4] * 10, END]] * 100_000
    sequence = baselines.keras_sequence(paths, captions, longest=info.max_length, image_size=size, batch_size=batch)
    naive = Row("Keras sequence over files (a photo for each caption)", "captions/s")
    candidates: list[tuple[Row, Iterator[int]]] = [
        (naive, ((sequence[index % len(sequence)], batch)[1] for index in range(10**9))),
        (
            Row("tf.data list_files over files", "photos/s", naive.name),
            (len(images) for images in baselines.list_files_pipeline(paths, image_size=size, batch_size=batch)),
        ),
    ]

    def ours(folder: str, cache: bool, photos: bool) -> Iterator[int]:
        features = None if folder == arguments.records else load_features_info(folder)
        split = open_split("train", info, folder, features, buckets=buckets, cache=cache)
        for found in make_batches(split, batch_size_photos=batch, shuffle_seed=0, epochs=10**6):
            # Full batches hold each of these; the few at an epoch's end that are not full count as such too.
            yield len(found["inputs"]) if photos else found["tokens"].shape[0] * found["tokens"].shape[1]

    for folder in (arguments.records, *arguments.features):
        stage = "photo" if folder == arguments.records else load_features_info(folder).settings.stage
        for cache in (False, True):
            kept = "in memory" if cache else "streamed"
            for unit in ("captions",) if stage == "pooled" else ("photos",):
                row = Row(f"tfcaption from {stage}, {kept}", f"{unit}/s", naive.name)
                candidates.append((row, ours(folder, cache, unit == "photos")))
    for _, batches in candidates:
        for _ in range(3):
            next(batches)
    for _ in range(arguments.repeats):
        for row, batches in candidates:
            done, start = 0, time.monotonic()
            while time.monotonic() - start < arguments.seconds:
                done += next(batches)
            row.values.append(done / (time.monotonic() - start))
    return [row for row, _ in candidates]
