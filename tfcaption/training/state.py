"""Training state that is saved with the weights: epoch, best score, running sums; decides early stopping."""

import math
from collections.abc import Sequence
from typing import Any

from tfcaption.runs.directory import CHECKPOINTS, Run
from tfcaption.runs.metrics_log import METRICS_FILE, STEPS_FILE, append_lines, truncate_lines

_SUMS = ("loss", "correct", "tokens", "captions", "seconds")


def _save(checkpoints: Any) -> None:
    """Save under a number that no checkpoint has, since a file that is current must never be written again."""
    import tensorflow as tf

    latest = checkpoints.latest_checkpoint
    try:
        checkpoints.save(checkpoint_number=int(latest.rpartition("-")[2]) + 1 if latest else 1)
    except tf.errors.OpError as error:
        raise OSError(
            f"{checkpoints.directory}: the checkpoint cannot be written: {error.message}; mend that, and give the same "
            "command again: the checkpoint before it is kept"
        ) from error


class TrainingState:
    """Epochs done, the best of them and the running epoch's sums; saved and restored with the weights.

    Args:
        trainer: whose state is saved.
        run: where to.
        writes: whether this host writes; all read.
    """

    def __init__(self, trainer: Any, run: Run, *, writes: bool = True) -> None:
        import tensorflow as tf

        self._run, self._config, self._trainer, self._writes = run, run.config.train, trainer, writes
        self._score = self._config.early_stopping_metric
        self._epoch = tf.Variable(0, trainable=False, name="epoch")
        self._best_epoch = tf.Variable(0, trainable=False, name="best_epoch")
        self._best = tf.Variable(-math.inf, dtype=tf.float64, trainable=False, name="best")  # greater is better
        self._sums = tf.Variable(tf.zeros(len(_SUMS), tf.float64), trainable=False, name="sums")
        self.sums = dict.fromkeys(_SUMS, 0.0)  # of the running epoch
        checkpoint = tf.train.Checkpoint(
            **trainer.checkpoint_objects(),
            epoch=self._epoch,
            best_epoch=self._best_epoch,
            best=self._best,
            sums=self._sums,
        )
        self._last_checkpoints, self._best_checkpoints = (
            tf.train.CheckpointManager(checkpoint, str(run.path / CHECKPOINTS / name), max_to_keep=1)
            for name in ("last", "best")
        )
        if latest := self._last_checkpoints.latest_checkpoint:
            checkpoint.restore(latest).assert_consumed()
            self.sums = dict(zip(_SUMS, self._sums.numpy().tolist(), strict=True))
            print(f"resuming in epoch {self.epoch + 1} after step {self.step:,} from {latest}", flush=True)
        if writes:
            truncate_lines(run.path / METRICS_FILE, "epoch", self.epoch)
            truncate_lines(run.path / STEPS_FILE, "step", self.step)
            self._summaries = tf.summary.create_file_writer(str(run.path / "tensorboard"))

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return int(self._epoch.numpy())

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self._trainer.step.numpy())

    @property
    def position(self) -> int:
        """Batches taken from the data, over all epochs."""
        return int(self._trainer.position.numpy())

    @property
    def finished(self) -> bool:
        """All epochs are done, or the dev result has not improved for long enough."""
        return self.epoch >= self._config.epochs or self._stopped_early

    @property
    def _stopped_early(self) -> bool:
        return self.epoch - int(self._best_epoch.numpy()) >= self._config.early_stopping_epochs

    def add(self, outcomes: Sequence[Any], seconds: float) -> None:
        """Count the steps of one call, and write their losses down."""
        lines: list[dict[str, Any]] = []
        steps = [outcome for outcome in outcomes if outcome.tokens and outcome.finite]
        for index, outcome in enumerate(steps):
            for name in ("loss", "correct", "tokens", "captions"):
                self.sums[name] += getattr(outcome, name)
            step = self.step - len(steps) + index + 1
            lines.append({"step": step, "epoch": self.epoch + 1, "loss": outcome.loss / outcome.tokens})
        self.sums["seconds"] += seconds
        if self._writes and lines:
            append_lines(self._run.path / STEPS_FILE, lines)
            with self._summaries.as_default(step=self.step):
                self._scalars({"step_loss": lines[-1]["loss"]})

    def save(self) -> None:
        """Save a checkpoint that the training can go on from."""
        self._sums.assign([self.sums[name] for name in _SUMS])
        if self._writes:
            _save(self._last_checkpoints)

    def end_epoch(self, *, left_out: Sequence[str] = (), **dev: float) -> None:
        """Record an epoch's figures and save its checkpoint; the dev result decides which is best.

        Args:
            left_out: damaged records that the training does without, each named.
            dev: figures of the dev split.
        """
        sums = self.sums
        figures = {
            "train_loss": sums["loss"] / max(sums["tokens"], 1),
            "train_accuracy": sums["correct"] / max(sums["tokens"], 1),
            **dev,
            "train_seconds": sums["seconds"],
        }
        self.sums = dict.fromkeys(_SUMS, 0.0)
        self._epoch.assign_add(1)
        score = -dev["dev_loss"] if self._score == "dev_loss" else dev[self._score]
        best = score > float(self._best.numpy())
        if best:
            self._best.assign(score)
            self._best_epoch.assign(self.epoch)
            if self._writes:
                with self._trainer.averaged_weights():
                    _save(self._best_checkpoints)
        if self._writes:
            line: dict[str, Any] = {"epoch": self.epoch, "step": self.step, **figures}
            if left_out:
                line |= {"left_out_records": len(left_out), "left_out": list(left_out)}
            append_lines(self._run.path / METRICS_FILE, [line])
            with self._summaries.as_default(step=self.step):
                self._scalars(figures)
            self._summaries.flush()
        self.save()
        shown = f", BLEU-4 {dev['dev_bleu_4']:.4f}, CIDEr {dev['dev_cider']:.4f}" if "dev_cider" in dev else ""
        print(
            f"epoch {self.epoch}: train loss {figures['train_loss']:.4f}, dev loss {dev['dev_loss']:.4f}, "
            f"dev accuracy {dev['dev_accuracy']:.4f}{shown}, {figures['train_seconds']:.0f} s"
            + (", best so far" if best else ""),
            flush=True,
        )

    def _scalars(self, figures: dict[str, float]) -> None:
        import tensorflow as tf

        for name, value in figures.items():
            tf.summary.scalar(name, value)

    def verdict(self) -> str:
        """Why the run ended and which epoch was best."""
        why = "stopped early" if self._stopped_early and self.epoch < self._config.epochs else "finished"
        best = abs(float(self._best.numpy()))
        return (
            f"{why} after epoch {self.epoch}; best {self._score.replace('_', ' ')} {best:.4f} "
            f"in epoch {int(self._best_epoch.numpy())}"
        )
