"""What a training run prints: what it is made of, a line per epoch, how it ended."""

import math
import shlex
import time

import numpy as np
import tensorflow as tf

from tfcaption.config import DEFAULT_ENCODER
from tfcaption.models.encoder import Encoder
from tfcaption.models.token_layout import uses_packed_tokens
from tfcaption.runs.directory import Run, is_run, trainable_stages
from tfcaption.training.assemble import Training
from tfcaption.training.state import TrainingState

BYTES_PER_FEATURE = 2  # float16
MAX_ADVISED_GB = 20


def describe(training: Training) -> str:
    """What a run is made of, in one line."""
    split, trainer, strategy = training.train_split, training.trainer, training.strategy
    rows = "captions" if split.by_caption else "photos"
    padding = "packed" if uses_packed_tokens(trainer.mode.xla) else f"padded to {split.lengths} tokens"
    augment = training.run.config.data.augment
    weights = sum(int(tf.size(variable)) for variable in trainer.variables)
    return (
        f"{strategy.num_replicas_in_sync} replica(s) on {training.host.count} host(s), "
        f"{tf.config.list_logical_devices()[-1].device_type}, {trainer.captioner.compute_dtype} compute, "
        f"XLA {'on' if trainer.mode.xla else 'off'}; from {split.stage}"
        f"{f' in {split.views} views' if split.views > 1 else ''}"
        f"{f' with {augment}' if augment != 'none' else ''}, "
        f"{'in memory' if split.in_memory else 'streamed'}, by {rows}, {padding}; "
        f"{weights:,} trainable weights ({training.run.config.model.variant})"
    )


def extraction_advice(run: Run, encoder: Encoder) -> list[str]:
    """What stored features would save, measured on one batch of random photos, and the command that makes them.

    Returns:
        One line for the console; none if the features would take too much space to be worth it.
    """
    (stage, *_) = trainable_stages(run.config.model)
    size, epochs = run.info.settings.image_size, run.config.train.epochs
    photos = run.info.split("train").photos + run.info.split("dev").photos
    gigabytes = photos * math.prod(encoder.feature_shape(stage)) * BYTES_PER_FEATURE / 1e9
    if gigabytes > MAX_ADVISED_GB:
        return []
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (16, size, size, 3)), tf.uint8)
    encode = tf.function(lambda images: encoder(images, end=stage), autograph=False)
    encode(images)  # traces
    start = time.monotonic()
    tf.nest.map_structure(lambda value: value.numpy(), encode(images))
    seconds = (time.monotonic() - start) / 16
    saved = seconds * photos * (epochs - 1)
    return [
        "without data.features each epoch repeats the encoder's frozen layers. Stored features would take "
        f"{gigabytes:.2g} GB and save about {saved / 60:,.1f} minutes of {epochs} epochs: "
        f"python -m beam_jobs.extract_features --records {run.config.data.records} "
        f"--output features/{stage} --stage {stage} {_encoder_options(run)}, "
        f"--set data.features=features/{stage}"
    ]


def _encoder_options(run: Run) -> str:
    """The options of extract_features that name the encoder of a run, without those that are the default."""
    model = run.config.model
    options: list[str] = []
    if model.weights and is_run(model.weights):
        options += ["--run", model.weights]  # which has an encoder, weights and an input convention
    else:
        if model.encoders != [DEFAULT_ENCODER]:
            options += ["--encoder", *model.encoders]
        if model.weights:
            options += ["--weights", model.weights]
        if model.encoder_input:
            options += ["--encoder_input", model.encoder_input]
    if model.finetune_from and model.variant == "finetuned":
        options += ["--finetune_from", model.finetune_from]
    return shlex.join(options)


def epoch_line(epoch: int, metrics: dict[str, float], *, is_best: bool) -> str:
    """The metrics of an epoch, in one line."""
    scores = ""
    if "dev_cider" in metrics:
        scores = f", BLEU-4 {metrics['dev_bleu_4']:.4f}, CIDEr {metrics['dev_cider']:.4f}"
    return (
        f"epoch {epoch}: train loss {metrics['train_loss']:.4f}, dev loss {metrics['dev_loss']:.4f}, "
        f"dev accuracy {metrics['dev_accuracy']:.4f}{scores}, {metrics['train_seconds']:.0f} s"
        f"{', best so far' if is_best else ''}"
    )


def verdict(training: Training, state: TrainingState, *, stopped_by_callback: bool = False) -> str:
    """Why the run ended, and which epoch was best."""
    config = training.run.config.train
    metric = config.early_stopping_metric.replace("_", " ")
    best = f"best {metric} {state.best_score:.4f} in epoch {state.best_epoch}"
    if state.stopped_early and state.epoch < config.epochs:
        patience = f"none better in {config.early_stopping_epochs} epochs (train.early_stopping_epochs)"
        return f"stopped early after epoch {state.epoch}; {best}, {patience}"
    why = "stopped by a callback" if stopped_by_callback and state.epoch < config.epochs else "finished"
    return f"{why} after epoch {state.epoch}; {best}"


def print_lines(*lines: str) -> None:
    """Print lines at once, so that a log shows them while the run goes on."""
    for line in lines:
        print(line, flush=True)
