"""Metrics of a run on disk: `metrics.jsonl`, `steps.jsonl` and TensorBoard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfcaption.runs.metrics_log import MetricsLog
from tfcaption.training.assemble import Training
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

    def add_steps(self, steps: list[dict[str, Any]]) -> None:
        """Write the loss and learning rate of each step."""
        if self._metrics and self._tensorboard and steps:
            self._metrics.add_steps(steps)
            self._tensorboard.add(steps[-1]["step"], {"step_loss": steps[-1]["loss"]})

    def add_epoch(self, state: TrainingState, metrics: dict[str, float]) -> None:
        """Write the metrics of an epoch, and the records skipped so far."""
        if self._metrics and self._tensorboard:
            line: dict[str, Any] = {"epoch": state.epoch, "step": state.step, **metrics}
            if self._skipper and self._skipper.faults:
                line |= {"left_out_records": len(self._skipper.faults), "left_out": self._skipper.faults}
            self._metrics.add_epoch(line)
            self._tensorboard.add(state.step, metrics)
            self._tensorboard.flush()


class TensorBoardLog:
    """Scalars by step, in `tensorboard/` of a run directory.

    Args:
        run: the run directory.
    """

    def __init__(self, run: Path) -> None:
        self._writer = tf.summary.create_file_writer(str(run / "tensorboard"))

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write some scalars of a step."""
        with self._writer.as_default(step=step):
            for name, value in scalars.items():
                tf.summary.scalar(name, value)

    def flush(self) -> None:
        """Make what was written visible."""
        self._writer.flush()
