"""Training state that is saved with the weights: epoch, best score, running sums; decides early stopping."""

import math
import zlib
from collections.abc import Sequence

import tensorflow as tf

from tfcaption.config import TrainConfig
from tfcaption.runs.directory import CHECKPOINTS
from tfcaption.runtime.errors import TfcaptionError
from tfcaption.runtime.paths import LocalMirror
from tfcaption.training.step import StepSums, Trainer

_SUMS = ("loss", "correct", "tokens", "captions", "seconds")


class TrainingState:
    """Epochs done, the best of them, and the sums of the running epoch; restored from the last checkpoint.

    Args:
        trainer: whose weights and optimizers are saved with it.
        config: number of epochs and early stopping.
        run: the run directory, where libraries can write into it.
        writes: whether this host saves checkpoints; all hosts restore them.
    """

    def __init__(self, trainer: Trainer, config: TrainConfig, run: LocalMirror, *, writes: bool = True) -> None:
        self._trainer, self._config, self._run, self._writes = trainer, config, run, writes
        self._epoch = tf.Variable(0, trainable=False, name="epoch")
        self._best_epoch = tf.Variable(0, trainable=False, name="best_epoch")
        self._best = tf.Variable(-math.inf, dtype=tf.float64, trainable=False, name="best")  # greater is better
        self._saved_sums = tf.Variable(tf.zeros(len(_SUMS), tf.float64), trainable=False, name="sums")
        self.sums = dict.fromkeys(_SUMS, 0.0)  # of the running epoch
        checkpoint = tf.train.Checkpoint(
            **trainer.checkpoint_objects(),
            epoch=self._epoch,
            best_epoch=self._best_epoch,
            best=self._best,
            sums=self._saved_sums,
        )
        self._last_checkpoints, self._best_checkpoints = (
            tf.train.CheckpointManager(checkpoint, str(run.folder / CHECKPOINTS / name), max_to_keep=1)
            for name in ("last", "best")
        )
        self.restored_from: str | None = self._last_checkpoints.latest_checkpoint
        if self.restored_from:
            checkpoint.restore(self.restored_from).assert_consumed()
            self.sums = dict(zip(_SUMS, self._saved_sums.numpy().tolist(), strict=True))

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
    def best_epoch(self) -> int:
        """The epoch with the best dev score."""
        return int(self._best_epoch.numpy())

    @property
    def best_score(self) -> float:
        """The dev score of that epoch, by `train.early_stopping_metric`."""
        return abs(float(self._best.numpy()))

    @property
    def stopped_early(self) -> bool:
        """Whether the dev score has not improved for `train.early_stopping_epochs`."""
        return self.epoch - self.best_epoch >= self._config.early_stopping_epochs

    @property
    def finished(self) -> bool:
        """Whether all epochs are done or the run stopped early."""
        return self.epoch >= self._config.epochs or self.stopped_early

    @property
    def loss(self) -> float:
        """Training loss per token in the running epoch."""
        return self.sums["loss"] / max(self.sums["tokens"], 1)

    def facts(self) -> dict[str, int]:
        """What hosts that train together must have in common, by the names that a user reads."""
        weights = b"".join(variable.numpy().tobytes() for variable in self._trainer.variables)
        return {"the step to resume after": self.step, "the sum of the weights": zlib.crc32(weights)}

    def add_steps(self, steps: Sequence[StepSums], seconds: float) -> list[dict[str, float | int]]:
        """Add the steps of one call to the epoch's sums.

        Args:
            steps: as `Trainer.train_steps` returns them.
            seconds: taken by the call.

        Returns:
            For each step that updated the weights: its number, epoch, loss per token and learning rate.
        """
        updates = [step for step in steps if step.tokens and step.finite]
        for update in updates:
            for name in ("loss", "correct", "tokens", "captions"):
                self.sums[name] += getattr(update, name)
        self.sums["seconds"] += seconds
        first = self.step - len(updates) + 1
        return [
            {
                "step": first + index,
                "epoch": self.epoch + 1,
                "loss": update.loss / update.tokens,
                "learning_rate": update.learning_rate,
            }
            for index, update in enumerate(updates)
        ]

    def end_epoch(self, dev: dict[str, float]) -> tuple[dict[str, float], bool]:
        """End the running epoch; saves its weights if they are the best so far.

        Args:
            dev: metrics of the dev split.

        Returns:
            The metrics of the epoch, and whether it is the best so far.
        """
        metrics = {
            "train_loss": self.loss,
            "train_accuracy": self.sums["correct"] / max(self.sums["tokens"], 1),
            **dev,
            "train_seconds": self.sums["seconds"],
        }
        self.sums = dict.fromkeys(_SUMS, 0.0)
        self._epoch.assign_add(1)
        metric = self._config.early_stopping_metric
        score = -dev[metric] if metric == "dev_loss" else dev[metric]
        is_best = score > float(self._best.numpy())
        if is_best:
            self._best.assign(score)
            self._best_epoch.assign(self.epoch)
            with self._trainer.optimizers.averaged_weights():
                self._save(self._best_checkpoints)
        return metrics, is_best

    def save(self) -> None:
        """Save the checkpoint from which the run resumes."""
        self._saved_sums.assign([self.sums[name] for name in _SUMS])
        self._save(self._last_checkpoints)
        if self._writes:
            self._run.upload()

    def _save(self, checkpoints: tf.train.CheckpointManager) -> None:
        """Save under a new number, since the current file must never be overwritten."""
        if not self._writes:
            return
        latest = checkpoints.latest_checkpoint
        try:
            checkpoints.save(checkpoint_number=int(latest.rpartition("-")[2]) + 1 if latest else 1)
        except tf.errors.OpError as error:
            raise TfcaptionError(
                f"{checkpoints.directory}: the checkpoint cannot be written: {error.message}; fix that and run the "
                "same command to resume: the checkpoint before it is kept"
            ) from error
