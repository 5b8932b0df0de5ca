"""Benchmark of the compiled training step: how much of a device's arithmetic and memory it uses, and whether its losses
are those of the CPU.

For GPUs; all of it also runs on a CPU, to try it, or with `train.xla=false` to measure the step that a CPU trains with.
A CPU is measured in CPU seconds of all threads together, which other work changes less.
"""

import json
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from tfcaption.backbones.preprocessing import PREPROCESSING
from tfcaption.benchmarks.costs import count_flops, count_gru_flops, count_kernel_bytes, count_product_bytes
from tfcaption.benchmarks.harness import BenchmarkError, Row, run_module, scratch_folder
from tfcaption.benchmarks.hlo import Program
from tfcaption.benchmarks.profiling import profiled
from tfcaption.benchmarks.step_losses import StepLosses, step_losses
from tfcaption.benchmarks.synthetic import EncoderFacts, write_data_set
from tfcaption.config import Config, load_config, save_config, updated_config
from tfcaption.input_pipeline.parsing import Batch
from tfcaption.models.encoder import open_encoder
from tfcaption.records.dataset_info import load_features_info
from tfcaption.records.examples import Stage
from tfcaption.runs.directory import plan_run, trainable_stages
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.process import environment
from tfcaption.training.assemble import Training, assemble
from tfcaption.training.distribution import device_name
from tfcaption.training.step import Trainer

LOSS_STEPS = 20
WARM_UP_STEPS = 3
# Significant bits of what is multiplied: on a GPU, TensorFlow multiplies float32 as TF32.
SIGNIFICANT_BITS = {"float16": 11, "bfloat16": 8, "float32": 11}
# Passes over each trained weight in float32 outside the compiled part, if each is one kernel: the loss scale is taken
# out (read, write), the norm (read), clipping (read, write), Adam (reads four, writes three).
UPDATE_BYTES = 12 * 4
LEAST_SECONDS = 0.5  # of a measurement of the device itself
MATRIX_SIZE = {"gpu": 8192, "cpu": 1024}
COPIED_VALUES = {"gpu": 2**28, "cpu": 2**24}  # float32, more than caches hold


@dataclass(frozen=True)
class Device:
    """What the device does when it does nothing else."""

    rows: list[Row]
    product: dict[str, str]  # dtype -> the name of the row of its matrix product
    copy: str  # the name of the row of the copy
    clock: "Clock"


class Clock(NamedTuple):
    """What a device is measured by."""

    seconds: Callable[[], float]
    unit: str  # before `s` or `ms`


CLOCKS = {"gpu": Clock(time.monotonic, ""), "cpu": Clock(time.process_time, "CPU ")}


def measure_gpu(
    *,
    configs: Sequence[str],
    overrides: Sequence[str],
    records: Path | None,
    features: Sequence[Path],
    photos: int,
    image_size: int,
    device: str,
    steps: int,
    profile: Path | None,
    repeats: int,
) -> list[Row]:
    """The compiled step of each config beside a plain matrix product and a plain copy, and its losses beside the CPU's.

    Args:
        configs: YAML files of the runs to measure.
        overrides: KEY=VALUE for fields of every config.
        records: folder that build_records wrote; None: random content.
        features: folders that extract_features wrote from those records; each config takes one of its stage.
        photos: in the training split of the random content.
        image_size: of the photos of the random content, in pixels on both sides.
        device: `gpu` or `cpu`.
        steps: of each measurement.
        profile: folder for TensorBoard traces; None: none are written.
        repeats: measurements of each.

    Raises:
        UsageError: there is no GPU, or a config cannot be measured.
    """
    if device == "gpu" and not tf.config.list_physical_devices("GPU"):
        raise UsageError(
            "TensorFlow finds no GPU on this machine (docs/troubleshooting.md, GPU not found); with --device cpu "
            "everything runs on the CPU"
        )
    precision = "mixed_float16" if device == "gpu" else "mixed_bfloat16"  # the one that XLA compiles for every CPU
    loaded = {Path(name).stem: _measurable(load_config(name, list(overrides)), name, precision) for name in configs}
    rows: list[Row] = []
    with scratch_folder() as folder:
        if records is None:
            stages = {trainable_stages(config.model)[0] for config in loaded.values()}
            sizes = {"photos": photos, "image_size": image_size}
            records, found = _random_data(folder, next(iter(loaded.values())), stages, **sizes)
        else:
            found = {load_features_info(path).settings.stage: path for path in features}
        of_device = _measure_device(device, _dtypes(loaded.values()), repeats)
        for name, config in loaded.items():
            config = _with_data(config, records, found, name)
            rows += _measure_steps(name, config, of_device, steps=steps, repeats=repeats, profile=profile)
            rows.append(_compare_losses(name, config, folder))
    return [*of_device.rows, *rows]


def _measurable(config: Config, name: str, precision: str) -> Config:
    """A config of a run from scratch, compiled unless the user says otherwise, and in mixed precision.

    Raises:
        UsageError: it trains for CIDEr-D, or is not compiled and has another decoder than the GRU.
    """
    if config.train.objective != "cross_entropy":
        raise UsageError(f"{name}: train.objective={config.train.objective}; name a config of cross_entropy")
    fixed: dict[str, Any] = {"train.start_from": None, "model.glove": None, "train.epochs": 10**4}
    if config.train.xla == "auto":
        fixed["train.xla"] = True
    elif not config.train.xla and config.model.decoder != "gru":
        raise UsageError(f"{name}: without XLA only the arithmetic of model.decoder=gru is known; leave train.xla out")
    if config.train.precision == "auto":
        fixed["train.precision"] = precision
    return updated_config(config, fixed)


def _dtypes(configs: Iterable[Config]) -> list[str]:
    """What the configs multiply in; the logits are float32 under every policy."""
    return list(dict.fromkeys([*(config.train.precision.removeprefix("mixed_") for config in configs), "float32"]))


def _random_data(
    folder: Path, config: Config, stages: set[Stage], *, photos: int, image_size: int
) -> tuple[Path, dict[Stage, Path]]:
    """Random records, and features of some stages of the encoder of a config."""
    settings = updated_config(config, {"model.weights": "random"}).model.encoder_settings
    encoder = open_encoder(settings, image_size=image_size)
    inputs = [backbone.input for backbone in encoder.backbones]
    facts = EncoderFacts(
        names=list(settings.encoders),
        inputs=list(inputs),
        preprocessing="; ".join(PREPROCESSING[each] for each in inputs),
        layers={stage: encoder.layers_of(stage) for stage in stages},
        shapes={stage: list(encoder.feature_shape(stage)) for stage in stages},
        fingerprints={stage: encoder.fingerprint(stage) for stage in stages},
    )
    return write_data_set(folder / "data", facts, photos=photos, image_size=image_size)


def _with_data(config: Config, records: Path, features: dict[Stage, Path], name: str) -> Config:
    """The config with the records, and with the features of the cheapest stage that it trains from."""
    stage = next((stage for stage in trainable_stages(config.model) if stage in features), None)
    if stage is None:
        wanted = " or ".join(trainable_stages(config.model))
        raise UsageError(f"{name}: none of --features is of stage {wanted}; extract them from --records")
    return updated_config(config, {"data.records": str(records), "data.features": str(features[stage])})


def _measure_device(device: str, dtypes: Sequence[str], repeats: int) -> Device:
    """A matrix product in each dtype, and a copy."""
    size, values = MATRIX_SIZE[device], COPIED_VALUES[device]
    clock = CLOCKS[device]
    rows, product = [], {}
    for dtype in dtypes:
        row = Row(f"matrix product, {dtype}, {size} x {size}", f"GFLOP/{clock.unit}s", note=f"; {device_name()}")
        matrix = tf.cast(tf.random.stateless_normal((size, size), (0, 1)), dtype)
        row.values = [
            2 * size**3 / 1e9 * _rate(partial(tf.matmul, matrix, matrix), clock.seconds) for _ in range(repeats)
        ]
        rows.append(row)
        product[dtype] = row.name
    vector = tf.zeros(values)
    copy = Row(f"copy of {4 * values / 2**20:,.0f} MiB", f"GB/{clock.unit}s")
    copy.values = [2 * 4 * values / 1e9 * _rate(partial(tf.add, vector, 1.0), clock.seconds) for _ in range(repeats)]
    return Device([*rows, copy], product, copy.name, clock)


def _rate(work: Callable[[], tf.Tensor], clock: Callable[[], float]) -> float:
    """How often work is done in a second. A GPU works in order, so that the last result is waited for."""
    _wait(work())
    count = 1
    while True:
        start = clock()
        for _ in range(count):
            result = work()
        _wait(result)
        seconds = clock() - start
        if seconds >= LEAST_SECONDS:
            return count / seconds
        count *= 2


def _wait(result: tf.Tensor) -> None:
    tf.reshape(result, (-1,))[0].numpy()


class _Repeated:
    """An iterator that gives one batch again and again, from the device's memory."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return self._batch


def _measure_steps(
    name: str, config: Config, device: Device, *, steps: int, repeats: int, profile: Path | None
) -> list[Row]:
    """Time, arithmetic, memory traffic and waiting of one config's steps."""
    training = assemble(plan_run(config))
    trainer, dtype = training.trainer, config.train.precision.removeprefix("mixed_")
    lengths, examples = _lengths(training, WARM_UP_STEPS + repeats * steps)
    fixed = {length: _Repeated(batch) for length, batch in examples.items()}
    for repeated in fixed.values():
        trainer.train_steps(repeated, WARM_UP_STEPS)  # traces and compiles
    batches = training.train_batches()
    trainer.train_steps(batches, WARM_UP_STEPS)

    unit, compiled = device.clock.unit, trainer.mode.xla
    fed = Row(f"{name}: step", f"{unit}ms")
    ready = Row(f"{name}: step on batches in memory", fed.unit)
    waiting = Row(f"{name}: waiting for input", f"% of a step's {unit}time")
    arithmetic = Row(f"{name}: arithmetic", f"GFLOP/{unit}s", device.product[dtype])
    traffic = Row(f"{name}: memory traffic", f"GB/{unit}s", device.copy)
    if compiled:
        flops = {length: count_flops(Program(trainer.compiler_ir(batch, "hlo"))) for length, batch in examples.items()}
        commonest = Counter(filter(None, lengths)).most_common(1)[0][0]
        moved, source = _bytes_of_step(trainer, examples[commonest])
    else:  # TensorFlow tells neither
        flops = {length: _flops_without_xla(trainer, batch) for length, batch in examples.items()}
    for repeat in range(repeats):
        taken = [length for length in lengths[WARM_UP_STEPS + repeat * steps :][:steps] if length]
        start = device.clock.seconds()
        sums = trainer.train_steps(batches, steps)
        fed.values.append(1000 * (device.clock.seconds() - start) / len(taken))
        captions, tokens = (
            sum(column) / len(taken) for column in ([s.captions for s in sums], [s.tokens for s in sums])
        )
        positions = statistics.fmean(_positions(examples[length]) for length in taken)
        milliseconds = {length: _milliseconds(trainer, batch, steps, device.clock) for length, batch in fixed.items()}
        ready.values.append(statistics.fmean(milliseconds[length] for length in taken))
        waiting.values.append(100 * (1 - ready.values[-1] / fed.values[-1]))
        counted = sum((flops[length] for length in taken), Counter())
        done = sum(counted.values()) / len(taken)
        arithmetic.values.append(done / 1e6 / ready.values[-1])
        if compiled:
            traffic.values.append(moved / 1e6 / milliseconds[commonest])
    fed.note = (
        f" ({1000 * captions / fed.median:,.0f} captions/{unit}s; {captions:,.0f} captions and {tokens:,.0f} tokens a "
        f"step, {1 - tokens / positions:.0%} of its positions are padding)"
    )
    arithmetic.note = (
        f" ({done / 1e9:,.2f} GFLOP a step, padding {'included' if compiled else 'left out'}, "
        f"{counted['f32'] / sum(counted.values()):.0%} of them in float32)"
    )
    if compiled:
        traffic.note = f" ({moved / 1e6:,.1f} MB a step of length {commonest}: {source})"
    if profile:
        with profiled(profile / name):
            trainer.train_steps(batches, min(steps, 8))
    return [fed, ready, waiting, arithmetic, *([traffic] if compiled else [])]


def _lengths(training: Training, count: int) -> tuple[list[int], dict[int, Batch]]:
    """The padded lengths of the next batches in their order, and one batch of each length.

    The length of a batch that only fills up an epoch is 0; it is no step.
    """
    lengths: list[int] = []
    examples: dict[int, Batch] = {}
    batches = training.train_batches()
    for _ in range(count):
        batch = next(batches)
        filled = bool(tf.reduce_any(batch["tokens"] > 0).numpy())
        lengths.append(int(batch["tokens"].shape[-1]) if filled else 0)
        if filled:
            examples.setdefault(lengths[-1], batch)
    return lengths, examples


def _positions(batch: Batch) -> int:
    """Targets of a batch, padding included."""
    rows, captions, time = batch["tokens"].shape
    return int(rows * captions * (time - 1))


def _flops_without_xla(trainer: Trainer, batch: Batch) -> Counter[str]:
    """Of a step that packs the tokens of its batch."""
    photos = tf.math.count_nonzero(tf.reduce_any(batch["tokens"] > 0, (1, 2)))
    tokens = tf.math.count_nonzero(batch["tokens"][..., 1:])
    return count_gru_flops(
        trainer.captioner, precision=trainer.mode.precision, photos=float(photos), tokens=float(tokens)
    )


def _milliseconds(trainer: Trainer, batches: _Repeated, steps: int, clock: Clock) -> float:
    """Of a step."""
    start = clock.seconds()
    trainer.train_steps(batches, steps)
    return 1000 * (clock.seconds() - start) / steps


def _bytes_of_step(trainer: Trainer, batch: Batch) -> tuple[float, str]:
    """Bytes that a step reads and writes, and in words how they were counted."""
    weights = sum(variable.shape.num_elements() for variable in trainer.variables)
    update = UPDATE_BYTES * weights
    said = f"at least {update / 1e6:,.1f} of them for the update of {weights:,} weights"
    try:
        program = trainer.compiler_ir(batch, "optimized_hlo")
    except (tf.errors.OpError, ValueError, RuntimeError) as error:  # not every version of TensorFlow can, on a GPU
        reason = str(error).strip().partition("\n")[0]
        moved = count_product_bytes(Program(trainer.compiler_ir(batch, "hlo")))
        return moved + update, f"operands and results of products only, as TensorFlow says: {reason}; {said}"
    return count_kernel_bytes(Program(program)) + update, f"what compiled kernels read and write; {said}"


def _compare_losses(name: str, config: Config, folder: Path) -> Row:
    """The largest relative difference between the losses of this device and those of the CPU in float32.

    Dropout is off, since other layouts of a batch draw other masks, and captions have one padded length, so that both
    take the same batches. The learning rate is that of the config from the first step on, so that losses fall at once.
    """
    alike = {"model.dropout": 0.0, "data.length_buckets": 1, "train.warm_up_steps": 0, "train.schedule": "constant"}
    same = updated_config(config, alike)
    found = step_losses(same, LOSS_STEPS)
    file, output = folder / f"{name}.yaml", folder / f"{name}-losses.json"
    save_config(updated_config(same, {"train.precision": "float32", "train.xla": False}), file)
    try:
        with environment(CUDA_VISIBLE_DEVICES="-1"):
            run_module("tfcaption.benchmarks.step_losses", file, LOSS_STEPS, output, *found.skipped)
    except BenchmarkError as error:  # what was measured before is still worth to be seen
        return Row(_losses_row(name), "ppm", values=[math.nan], fault=f"{name}: no losses of the CPU: {error}")
    return compare_losses(name, found, json.loads(output.read_text(encoding="utf-8")), config.train.precision)


def _losses_row(name: str) -> str:
    return f"{name}: largest difference of losses from the CPU's"


def tolerance(precision: str) -> float:
    """The relative difference from float32 losses that a precision explains.

    A product rounds each of its inputs by up to 2 ** -bits, relative to it. The errors of the thousands of tokens of a
    batch largely cancel in its mean, but those of the weights grow with the steps: Adam takes steps of full length also
    where a gradient is so small that rounding decides its sign. Twice the rounding of an input leaves room for that: on
    a CPU, 20 steps of both variants differed by at most 0.6 of it (float16) and 0.1 of it (bfloat16).
    """
    return 2 * 2.0 ** -SIGNIFICANT_BITS[precision.removeprefix("mixed_")]


def compare_losses(name: str, found: StepLosses, expected: Sequence[float], precision: str) -> Row:
    """The row of the comparison.

    It has a fault where the losses differ by more than the tolerance, or fall by less than ten times as much: then they
    would agree whatever is computed.

    Args:
        name: of the config.
        found: losses of the device.
        expected: losses of the CPU in float32.
        precision: of the device's.
    """
    allowed, first, last = tolerance(precision), expected[0], expected[-1]
    differences = [abs(ours - theirs) / theirs for ours, theirs in zip(found.losses, expected, strict=True)]
    row = Row(_losses_row(name), "ppm", values=[1e6 * max(differences)])
    skipped = f", {len(found.skipped)} steps skipped" if found.skipped else ""
    row.note = (
        f" ({1e6 * allowed:,.0f} allowed for {precision}; float32 on the CPU: {first:.4f} to {last:.4f} in "
        f"{len(expected)} steps{skipped})"
    )
    if not all(difference <= allowed for difference in differences):  # one may be no number
        row.fault = f"{name}: losses differ from those of the CPU by {max(differences):.2%}, more than {allowed:.2%}"
    elif first - last < 10 * allowed * first:
        row.fault = f"{name}: the loss fell from {first:.4f} to {last:.4f} only, so that equal losses prove nothing"
    return row
