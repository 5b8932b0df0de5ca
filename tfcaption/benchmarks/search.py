"""Benchmark of beam search, beside `model.predict` word by word."""

import argparse
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfcaption.benchmarks import baselines
from tfcaption.benchmarks.harness import Row, seconds_of
from tfcaption.decoding.beam_search import beam_search
from tfcaption.input_pipeline.batches import make_batches
from tfcaption.input_pipeline.split import open_split
from tfcaption.records.dataset_info import load_features_info
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import load_run


def measure_search(arguments: argparse.Namespace) -> list[Row]:
    """Captions a second from pooled features: search in the graph against `model.predict` word by word."""

    run = load_run(arguments.run)
    captioner, _ = load_captioner(run)
    info = load_features_info(arguments.features)
    split = open_split("dev", run.info, arguments.features, info, buckets=1, cache=False)
    batches = list(make_batches(split, batch_size_photos=min(arguments.photos, split.photos)).take(1))
    features = tf.cast(batches[0]["inputs"], tf.float32)
    longest, count = run.info.max_length, len(features)
    predict = baselines.keras_word_by_word(captioner, longest=longest)
    naive = Row("model.predict word by word, greedy", "captions/s")
    rows: list[tuple[Row, Callable[[], object], int]] = [
        (naive, lambda: [predict(features[i : i + 1]) for i in range(arguments.naive_photos)], arguments.naive_photos)
    ]
    for compiled in (False, True):
        for beam in (1, 3, 5):

            @tf.function(jit_compile=compiled, autograph=False, reduce_retracing=True)
            def find(batch: tf.Tensor, beam: int = beam, compiled: bool = compiled) -> tf.Tensor:
                return beam_search(captioner, batch, max_tokens=longest, beam=beam, compiled=compiled).tokens

            def caption_all(find: Any = find) -> None:
                for start in range(0, count - arguments.batch_size + 1, arguments.batch_size):
                    find(features[start : start + arguments.batch_size]).numpy()

            name = f"{'greedy' if beam == 1 else f'beam {beam}'}, XLA {'on' if compiled else 'off'}"
            rows.append((Row(name, "captions/s", naive.name), caption_all, count - count % arguments.batch_size))
            find(features[: arguments.batch_size])  # traces
    predict(features[:1])
    for _ in range(arguments.repeats):
        for row, work, photos in rows:
            row.values.append(photos / seconds_of(work))
    return [row for row, _, _ in rows]
