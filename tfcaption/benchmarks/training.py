"""Benchmark of training: seconds per epoch, beside Keras fit."""

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from tfcaption.benchmarks.baselines import KerasSequence, fit_seconds, keras_captioner
from tfcaption.benchmarks.costs import count_gru_flops
from tfcaption.benchmarks.harness import SECONDS_PER_EPOCH, Row, find_jpegs, seconds_of
from tfcaption.benchmarks.profiling import profiled
from tfcaption.config import DEFAULT_ENCODER, Config, load_config
from tfcaption.records.vocabulary import END, START
from tfcaption.runs.directory import Run, plan_run
from tfcaption.runtime.errors import UsageError
from tfcaption.training.assemble import assemble

KERAS_BATCH_SIZE = 64


def measure_train(
    *,
    images: Path,
    configs: Sequence[str],
    overrides: Sequence[str],
    steps: int,
    naive_steps: int,
    profile: Path | None,
    repeats: int,
) -> list[Row]:
    """Seconds per epoch, from a stated number of steps, against Keras fit with ResNet50 in the graph.

    Args:
        images: folder of JPEG photos, for Keras fit.
        configs: YAML files of the runs to measure.
        overrides: KEY=VALUE for fields of every config.
        steps: steps of ours per repeat.
        naive_steps: steps of Keras fit per repeat.
        profile: folder for a TensorBoard trace of our steps.
        repeats: measurements of each.
    """
    paths = find_jpegs(images)
    rows: list[Row] = []
    for path in configs:
        config = load_config(path, list(overrides))
        rows += _train_rows(config, paths, steps=steps, naive_steps=naive_steps, profile=profile, repeats=repeats)
    return rows


def _train_rows(
    config: Config, paths: Sequence[Path], *, steps: int, naive_steps: int, profile: Path | None, repeats: int
) -> list[Row]:
    """The two rows of one config; Keras fit is the reference."""
    variant = config.model.variant
    config.train.epochs = 10**4  # more batches than any measurement takes
    run = plan_run(config)
    encoder = " and ".join(run.config.model.encoder_names)
    if encoder != DEFAULT_ENCODER or run.config.model.finetune_from:
        raise UsageError(
            f"model.encoder={encoder}, model.finetune_from={run.config.model.finetune_from or 'null'}: this benchmark "
            f"compares with a Keras model of {DEFAULT_ENCODER} and its default layer; name a config of them"
        )
    training = assemble(run)
    batches, waits = _timed(training.train_batches())
    split = run.info.split("train")
    total = split.captions
    naive = Row(f"Keras fit, encoder in the graph, {variant}", SECONDS_PER_EPOCH)
    ours = Row(f"tfcaption.train from {training.train_split.stage}, {variant}", SECONDS_PER_EPOCH, naive.name)
    training.trainer.train_steps(batches, 3)  # traces
    model, pairs = _keras_fit(run, paths)
    rates = []
    for _ in range(repeats):
        naive.values.append(sum(fit_seconds(model, pairs, naive_steps)) / (KERAS_BATCH_SIZE * naive_steps) * total)
        waits.clear()
        start = time.monotonic()
        with profiled(profile):
            sums = training.trainer.train_steps(batches, steps)
        seconds = time.monotonic() - start
        captions, tokens = sum(step.captions for step in sums), sum(step.tokens for step in sums)
        ours.values.append(seconds / captions * total)
        rates.append((captions / seconds, tokens / seconds, sum(waits) / seconds))
    rate, token_rate, wait = (statistics.median(column) for column in zip(*rates, strict=True))
    arithmetic = ""
    if config.model.decoder == "gru":
        precision = training.trainer.mode.precision
        counted = count_gru_flops(
            training.trainer.captioner, precision=precision, photos=rate * split.photos / total, tokens=token_rate
        )
        arithmetic = (
            f"{sum(counted.values()) / 1e9:,.0f} GFLOP/s for real tokens; "
            f"a matrix product {_matrix_product(precision) / 1e9:,.0f} in {precision.removeprefix('mixed_')}; "
        )
    ours.note = (
        f" ({rate:,.0f} captions/s, {token_rate:,.0f} real tokens/s, {wait:.1%} of the time waiting for input, "
        f"{arithmetic}from {steps} steps)"
    )
    naive.note = (
        f" (from {naive_steps} steps of {KERAS_BATCH_SIZE} captions, {pairs.workers} worker processes, "
        f"XLA {'on' if model.jit_compile else 'off'} as Keras chose)"
    )
    keras.backend.clear_session()
    return [naive, ours]


def _keras_fit(run: Run, paths: Sequence[Path]) -> tuple[keras.Model, KerasSequence]:
    """The Keras model as large as the run's, and its batches."""
    model, size = run.config.model, run.info.settings.image_size
    pairs = KerasSequence(
        paths,
        [[START, *[4 + k % 50 for k in range(10)], END]] * 100_000,
        longest=run.info.max_length,
        image_size=size,
        batch_size=KERAS_BATCH_SIZE,
        workers=os.cpu_count() or 1,
    )
    captioner = keras_captioner(
        vocabulary_size=len(run.vocabulary.words),
        image_size=size,
        weights=model.weights or "imagenet",  # `plan_run` has filled it in
        gru_units=model.gru_units,
        dense_units=model.dense_units,
        finetuned=model.variant == "finetuned",
    )
    return captioner, pairs


def _timed(batches: tf.data.Iterator) -> tuple[tf.data.Iterator, list[float]]:
    """An iterator over the same batches, and the seconds of waiting for each."""
    waits: list[float] = []

    def one_by_one() -> Iterator[dict[str, tf.Tensor]]:
        for _ in range(10**9):
            start = time.monotonic()
            batch = next(batches)
            waits.append(time.monotonic() - start)
            yield batch

    return iter(tf.data.Dataset.from_generator(one_by_one, output_signature=batches.element_spec)), waits


def _matrix_product(precision: str) -> float:
    """FLOP/s of one large matrix product in the precision that a policy multiplies in."""
    dtype = precision.removeprefix("mixed_")
    a, b = (tf.cast(tf.random.normal(shape), dtype) for shape in ((4096, 1024), (1024, 3072)))
    _wait(tf.matmul(a, b))  # the first one is prepared
    times = [seconds_of(lambda: _wait(tf.matmul(a, b))) for _ in range(7)]
    return 2 * 4096 * 1024 * 3072 / statistics.median(times)


def _wait(result: tf.Tensor) -> None:
    result[0, 0].numpy()
