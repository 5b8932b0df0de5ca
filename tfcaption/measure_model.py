"""Benchmarks of input, training and search, beside what a user would write with Keras."""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tfcaption import baselines
from tfcaption.config import Config, load_config
from tfcaption.measurement import Row, scratch_folder, seconds_of
from tfcaption.records.dataset_info import load_dataset_info, load_features_info
from tfcaption.records.vocabulary import END, START
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import create_run, load_run
from tfcaption.runtime.process import StopRequest, start_tensorflow


def measure_input(arguments: argparse.Namespace) -> list[Row]:
    """Photos and captions a second of our pipelines against a Keras sequence and a pipeline over the files."""
    start_tensorflow()
    from tfcaption.config import TrainConfig
    from tfcaption.input_pipeline.batches import make_batches
    from tfcaption.input_pipeline.split import open_split
    from tfcaption.models.token_layout import uses_packed_tokens
    from tfcaption.training.precision import resolve_mode

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


def measure_train(arguments: argparse.Namespace) -> list[Row]:
    """Seconds of an epoch, from a stated number of steps, against Keras fit with the encoder in the graph."""
    start_tensorflow()
    rows: list[Row] = []
    for path in arguments.configs:
        config = load_config(path, arguments.set)
        rows += _train_rows(config, arguments)
    return rows


def _train_rows(config: Config, arguments: argparse.Namespace) -> list[Row]:
    import keras

    from tfcaption.training.loop import TrainingRun

    variant = config.model.variant
    with scratch_folder() as scratch:
        config.run = str(scratch / "run")
        config.train.epochs = 10**4
        run = create_run(config)
        training = TrainingRun(run, 0, 1, StopRequest())
        batches, waits = _timed(training.iterator(training.train_split, shuffled=True), arguments.profile)
        total = run.info.split("train").captions
        naive = Row(f"Keras fit, encoder in the graph, {variant}", "s an epoch")
        name = f"tfcaption.train from {training.train_split.stage}, {variant}"
        ours = Row(name, "s an epoch", naive.name)
        training.trainer.train_steps(batches, 3)  # traces

        pairs = baselines.keras_sequence(
            baselines.find_photos(arguments.images),
            [[START, *[4 + k % 50 for k in range(10)], END]] * 100_000,
            longest=run.info.max_length,
            image_size=run.info.settings.image_size,
            batch_size=64,
        )
        model = baselines.keras_captioner(
            vocabulary_size=len(run.words),
            image_size=run.info.settings.image_size,
            weights=config.model.weights,
            gru_units=config.model.gru_units,
            dense_units=config.model.dense_units,
            finetuned=variant == "finetuned",
        )
        model.fit(pairs, steps_per_epoch=1, verbose=0)  # traces
        figures = []
        for _ in range(arguments.repeats):
            seconds = seconds_of(lambda: model.fit(pairs, steps_per_epoch=arguments.naive_steps, verbose=0))
            naive.values.append(seconds / (64 * arguments.naive_steps) * total)
            waits.clear()
            start = time.monotonic()
            with _profile(arguments.profile):
                outcomes = training.trainer.train_steps(batches, arguments.steps)
            seconds = time.monotonic() - start
            captions = sum(outcome.captions for outcome in outcomes)
            tokens = sum(outcome.tokens for outcome in outcomes)
            ours.values.append(seconds / captions * total)
            figures.append((captions / seconds, tokens / seconds, sum(waits) / seconds))
        rate, token_rate, wait = (statistics.median(column) for column in zip(*figures, strict=True))
        arithmetic = ""
        if config.model.decoder == "gru":
            arithmetic = (
                f"{_flops(training) * token_rate / 1e9:,.0f} GFLOP/s for real tokens; "
                f"a matrix product {_matrix_product() / 1e9:,.0f}; "
            )
        ours.note = (
            f" ({rate:,.0f} captions/s, {token_rate:,.0f} real tokens/s, {wait:.1%} of the time waiting for input, "
            f"{arithmetic}from {arguments.steps} steps)"
        )
        naive.note = f" (from {arguments.naive_steps} steps of 64 captions)"
        keras.backend.clear_session()
        return [naive, ours]


def measure_search(arguments: argparse.Namespace) -> list[Row]:
    """Captions a second from pooled features: search in the graph against `model.predict` word by word."""
    start_tensorflow()
    import tensorflow as tf

    from tfcaption.decoding.beam_search import beam_search
    from tfcaption.input_pipeline.batches import make_batches
    from tfcaption.input_pipeline.split import open_split

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


def _timed(batches: Any, profile: str | None) -> tuple[Any, list[float]]:
    """The same batches, and the seconds that each was waited for."""
    import tensorflow as tf

    waits: list[float] = []

    def one_by_one() -> Iterator[Any]:
        for _ in range(10**9):
            start = time.monotonic()
            batch = next(batches)
            waits.append(time.monotonic() - start)
            yield batch

    return iter(tf.data.Dataset.from_generator(one_by_one, output_signature=batches.element_spec)), waits


@contextmanager
def _profile(folder: str | None) -> Iterator[None]:
    import tensorflow as tf

    if folder:
        tf.profiler.experimental.start(folder)
    yield
    if folder:
        tf.profiler.experimental.stop()


def _flops(training: Any) -> float:
    """Floating point operations that training a real token takes, with the GRU decoder: forward, twice that backward.

    The head's are spread over the tokens of all captions of a photo.
    """
    model, info = training.config.model, training.run.info
    words, units = len(training.run.words), model.gru_units
    embedding = training.trainer.captioner.decoder.embedding.output_dim
    decoder = 2 * (3 * units * (embedding + units) + units * model.dense_units + model.dense_units * words)
    if training.train_split.stage != "trunk":
        return 3 * decoder
    positions = training.train_split.shape[0] * training.train_split.shape[1]
    block = 2 * positions * (2 * 2048 * 512 + 9 * 512 * 512)
    split = info.split("train")
    return 3 * (decoder + 2 * block * split.photos / (split.tokens - split.captions))


def _matrix_product() -> float:
    """Floating point operations a second of one large float32 matrix product."""
    import tensorflow as tf

    a, b = tf.random.normal((4096, 1024)), tf.random.normal((1024, 3072))
    times = [seconds_of(lambda: tf.matmul(a, b).numpy()) for _ in range(7)]
    return 2 * 4096 * 1024 * 3072 / statistics.median(times)
