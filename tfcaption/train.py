"""Trains a captioner: records + config -> run directory.

Prints a line per epoch and the path of the run directory. The same command again resumes after the last epoch.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tfcaption import config as configs
from tfcaption import runs, terminal
from tfcaption.config import Config
from tfcaption.progress import Progress
from tfcaption.runs import Run

EXAMPLES = """examples:
  python -m tfcaption.train --config configs/flickr8k_frozen.yaml
  python -m tfcaption.train --config configs/flickr8k_finetuned.yaml \\
      --set data.records=/data/records model.weights=/data/resnet50.weights.h5 train.epochs=3
  # again, after it was stopped: goes on after the last whole epoch
  python -m tfcaption.train --config configs/flickr8k_frozen.yaml"""


class TrainingFailed(RuntimeError):
    """A training that must not go on; the last checkpoint is kept."""


def train(config: Config) -> Path:
    """Train to the end, or from the last checkpoint on.

    Args:
        config: the run.

    Returns:
        The run directory.

    Raises:
        ValueError: (ConfigError, RunError, RecordError, GloveError, EncoderError) what cannot be trained, before
            any long work.
        TrainingFailed: the loss is no longer a number.
    """
    run = runs.create_run(config)
    terminal.start_tensorflow()
    import keras
    import tensorflow as tf

    from tfcaption import input_pipeline
    from tfcaption.training import Trainer, resolve_mode

    strategy = tf.distribute.MirroredStrategy()
    if config.data.batch_size_photos % strategy.num_replicas_in_sync:
        raise configs.ConfigError(
            f"data.batch_size_photos={config.data.batch_size_photos} cannot be split evenly over "
            f"{strategy.num_replicas_in_sync} replicas"
        )
    lengths = input_pipeline.bucket_lengths(run.info, config.data.length_buckets)
    dev_batches = _batches(run, "dev", lengths)
    mode = resolve_mode(config.train)
    keras.mixed_precision.set_dtype_policy(mode.precision)
    keras.utils.set_random_seed(config.train.seed)
    with strategy.scope():
        trainer = Trainer(_new_captioner(run, compiled=mode.xla), strategy, config.train, mode)
    print(
        f"{strategy.num_replicas_in_sync} replica(s) on {tf.config.list_logical_devices()[-1].device_type}, "
        f"{mode.precision}, XLA {'on' if mode.xla else 'off'}, padded to {lengths} tokens, "
        f"{sum(int(tf.size(v)) for v in trainer.variables):,} weights train ({config.model.variant})",
        flush=True,
    )
    history = History(trainer, run)
    # Splits batches over replicas and prefetches them to GPUs. On one CPU there is nothing to do of either, and closing
    # such an iterator can take ten seconds: it autotunes, with longer and longer pauses that closing waits for.
    alone = strategy.num_replicas_in_sync == 1 and not tf.config.list_physical_devices("GPU")
    distribute = (lambda dataset: dataset) if alone else strategy.experimental_distribute_dataset
    dev = distribute(dev_batches)
    while not history.finished:
        epoch = history.epoch + 1
        start = time.monotonic()
        seed = config.train.seed * 1_000_003 + epoch
        shuffled = _batches(run, "train", lengths, shuffle_seed=seed)
        distributed = distribute(shuffled)
        train_means = _run_epoch(run, "train", distributed, trainer.train_step, f"epoch {epoch}")
        trained = time.monotonic()
        dev_means = _run_epoch(run, "dev", dev, trainer.evaluate_step, f"epoch {epoch}, dev")
        history.end_epoch(
            train_loss=train_means["loss"],
            train_accuracy=train_means["accuracy"],
            dev_loss=dev_means["loss"],
            dev_accuracy=dev_means["accuracy"],
            train_seconds=trained - start,
            dev_seconds=time.monotonic() - trained,
        )
    print(history.verdict())
    return run.path


def _batches(run: Run, split: str, lengths: Sequence[int], shuffle_seed: int | None = None) -> Any:
    from tfcaption import input_pipeline

    data = run.config.data
    return input_pipeline.batches(
        data.records,
        run.info,
        split,
        batch_size_photos=data.batch_size_photos,
        length_buckets=lengths,
        captions=data.captions if split == "train" else "all",
        shuffle_seed=shuffle_seed,
        shuffle_buffer_photos=data.shuffle_buffer_photos,
        deterministic=data.deterministic,
    )


def _new_captioner(run: Run, *, compiled: bool) -> Any:
    import numpy as np

    from tfcaption import text
    from tfcaption.captioner import Captioner

    model, seed = run.config.model, run.config.train.seed
    if model.glove:
        embedding, coverage = text.embedding_matrix(run.words, model.glove, word_counts=run.info.word_counts, seed=seed)
        print(coverage, flush=True)
    else:
        shape = (len(run.words), model.embedding_units)
        embedding = np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)
    if model.weights == "random":
        print("ResNet50 has random weights: good for a trial of the whole way, not for real photos", flush=True)
    return Captioner(
        model,
        image_size=run.info.settings.image_size,
        embedding=embedding,
        encoder_weights=model.weights,
        compiled=compiled,
    )


def _run_epoch(run: Run, split: str, batches: Any, step: Callable[[Any], Any], label: str) -> dict[str, float]:
    """One pass over a split; token means of loss and accuracy over the whole of it.

    Raises:
        TrainingFailed: the loss is no longer a number.
    """
    loss = correct = tokens = 0.0
    total = run.info.split(split).captions
    if split == "train" and run.config.data.captions == "one":
        total = run.info.split(split).photos
    done = 0
    with Progress(total, unit="captions", label=label) as progress:
        for batch in batches:
            sums = step(batch)
            loss, correct, tokens = (
                loss + float(sums.loss),
                correct + float(sums.correct),
                tokens + float(sums.tokens),
            )
            if loss != loss:
                raise TrainingFailed(f"{label}: the loss is not a number; lower train.learning_rate and start again")
            done += _captions_in(batch)
            progress.update(done, f"loss {loss / max(tokens, 1):.3f}")
    return {"loss": loss / max(tokens, 1), "accuracy": correct / max(tokens, 1)}


def _captions_in(batch: Any) -> int:
    import tensorflow as tf

    rows = batch["tokens"].values if hasattr(batch["tokens"], "values") else (batch["tokens"],)
    return sum(int(tf.math.count_nonzero(tokens[..., 0])) for tokens in rows)


class History:
    """Epochs done, the best of them, checkpoints, and when to stop; restored from the last checkpoint.

    Args:
        trainer: whose state is saved.
        run: where to.
    """

    def __init__(self, trainer: Any, run: Run) -> None:
        import tensorflow as tf

        self._run, self._config = run, run.config.train
        self._epoch = tf.Variable(0, trainable=False, name="epoch")
        self._best_epoch = tf.Variable(0, trainable=False, name="best_epoch")
        self._best_loss = tf.Variable(float("inf"), dtype=tf.float64, trainable=False, name="best_dev_loss")
        self._trainer = trainer
        checkpoint = tf.train.Checkpoint(
            **trainer.checkpoint_objects(),
            epoch=self._epoch,
            best_epoch=self._best_epoch,
            best_dev_loss=self._best_loss,
        )
        self._last, self._best = (
            tf.train.CheckpointManager(checkpoint, str(run.path / runs.CHECKPOINTS / name), max_to_keep=1)
            for name in ("last", "best")
        )
        if self._last.latest_checkpoint:
            checkpoint.restore(self._last.latest_checkpoint).assert_consumed()
            print(f"resuming after epoch {self.epoch} from {self._last.latest_checkpoint}", flush=True)
        self._summaries = tf.summary.create_file_writer(str(run.path / "tensorboard"))

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return int(self._epoch.numpy())

    @property
    def finished(self) -> bool:
        """All epochs are done, or the dev loss has not improved for long enough."""
        return self.epoch >= self._config.epochs or self._stopped_early

    @property
    def _stopped_early(self) -> bool:
        return self.epoch - int(self._best_epoch.numpy()) >= self._config.early_stopping_epochs

    def end_epoch(self, **figures: float) -> None:
        """Record an epoch's figures and save its checkpoint; `dev_loss` decides which is best."""
        import tensorflow as tf

        self._epoch.assign_add(1)
        best = figures["dev_loss"] < float(self._best_loss.numpy())
        if best:
            self._best_loss.assign(figures["dev_loss"])
            self._best_epoch.assign(self.epoch)
            self._best.save(checkpoint_number=self.epoch)
        self._last.save(checkpoint_number=self.epoch)
        step = int(self._trainer.step.numpy())
        runs.append_metrics(self._run.path, epoch=self.epoch, step=step, **figures)
        with self._summaries.as_default(step=step):
            for name, value in figures.items():
                tf.summary.scalar(name, value)
        self._summaries.flush()
        print(
            f"epoch {self.epoch}: train loss {figures['train_loss']:.4f}, dev loss {figures['dev_loss']:.4f}, "
            f"dev accuracy {figures['dev_accuracy']:.4f}, {figures['train_seconds']:.0f} s"
            + (", best so far" if best else ""),
            flush=True,
        )

    def verdict(self) -> str:
        """Why the run ended and which epoch was best."""
        why = "stopped early" if self._stopped_early and self.epoch < self._config.epochs else "finished"
        loss = float(self._best_loss.numpy())
        return f"{why} after epoch {self.epoch}; best dev loss {loss:.4f} in epoch {int(self._best_epoch.numpy())}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tfcaption.train",
        description=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, help="YAML file; see configs/")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override fields of the config",
    )
    arguments = parser.parse_args(argv)
    try:
        path = train(configs.load_config(arguments.config, arguments.set))
    except (ValueError, TrainingFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"run: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
