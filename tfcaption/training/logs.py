"""Metrics of a run on disk: `metrics.jsonl`, `steps.jsonl` and TensorBoard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from tfcaption.config import Config, flat_config
from tfcaption.runs.metrics_log import MetricsLog
from tfcaption.training.assemble import Training
from tfcaption.training.shown_photos import ShownPhotos
from tfcaption.training.state import TrainingState


class Logs:
    """`metrics.jsonl`, `steps.jsonl` and TensorBoard; nothing on a host that does not write.

    Args:
        run: the run directory, where libraries can write into it.
        training: what is trained.
        state: where it is; later lines of an interrupted run are dropped.
    """

    def __init__(self, run: Path, training: Training, state: TrainingState) -> None:
        self._skipper, writes = training.skipper, training.host.writes
        self._metrics = MetricsLog(run, epoch=state.epoch, step=state.step) if writes else None
        self._tensorboard = TensorBoardLog(run) if writes else None
        count = training.run.config.train.shown_photos
        shows = count and writes and not state.finished
        self._shown_photos = ShownPhotos(training, count) if shows else None
        if self._tensorboard:
            self._tensorboard.add_config(training.run.config)

    def add_steps(self, steps: list[dict[str, Any]]) -> None:
        """Write the loss and learning rate of each step."""
        if self._metrics and self._tensorboard and steps:
            self._metrics.add_steps(steps)
            last = steps[-1]
            self._tensorboard.add(last["step"], {"step_loss": last["loss"], "learning_rate": last["learning_rate"]})

    def add_epoch(self, state: TrainingState, metrics: dict[str, float]) -> None:
        """Write the metrics of an epoch, the records skipped so far, and captions of a few photos."""
        if self._metrics and self._tensorboard:
            line: dict[str, Any] = {"epoch": state.epoch, "step": state.step, **metrics}
            if self._skipper and self._skipper.faults:
                line |= {"left_out_records": len(self._skipper.faults), "left_out": self._skipper.faults}
            self._metrics.add_epoch(line)
            self._tensorboard.add(state.step, metrics)
            if self._shown_photos:
                self._tensorboard.add_pictures(state.epoch, self._shown_photos.pictures())
            self._tensorboard.flush()


class TensorBoardLog:
    """Scalars by step, pictures by epoch and the config, in `tensorboard/` of a run directory.

    Args:
        run: the run directory.
    """

    def __init__(self, run: Path) -> None:
        self._writer = tf.summary.create_file_writer(str(run / "tensorboard"))

    def add_config(self, config: Config) -> None:
        """Write the fields of the config for the tab HPARAMS, which compares runs by them."""
        values = {
            key: " ".join(value) if isinstance(value, list) else value  # hparams takes no lists
            for key, value in flat_config(config).items()
            if value is not None and key != "run"
        }
        with self._writer.as_default(step=0):
            hparams.hparams(values, trial_id=config.run)

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write some scalars of a step."""
        with self._writer.as_default(step=step):
            for name, value in scalars.items():
                tf.summary.scalar(name, value)

    def add_pictures(self, epoch: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Write pictures of an epoch: id -> (height, width, 3) uint8."""
        with self._writer.as_default(step=epoch):
            for name, picture in pictures.items():
                tf.summary.image(f"dev/{name}", picture[None])

    def flush(self) -> None:
        """Make what was written visible."""
        self._writer.flush()
