"""Losses of the first steps of a training run; alone in a process:

python -m tfcaption.benchmarks.step_losses CONFIG STEPS OUTPUT [SKIPPED...]
"""

import json
import sys
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from tfcaption.config import Config, load_config
from tfcaption.runs.directory import plan_run
from tfcaption.runtime.process import start_tensorflow


@dataclass
class StepLosses:
    """Losses per token, before each update."""

    losses: list[float] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)  # steps without an update, since float16 gradients overflowed


def step_losses(config: Config, steps: int, skipped: Collection[int] = ()) -> StepLosses:
    """Train some steps of a run that is not written.

    Args:
        config: the run.
        steps: number of steps.
        skipped: steps in which no weight is to be changed.
    """
    from tfcaption.training.assemble import assemble  # here: imports TensorFlow, which `main` starts first

    training, found = assemble(plan_run(config)), StepLosses()
    trainer, batches = training.trainer, training.train_batches()
    while (step := len(found.losses)) < steps:
        before = int(trainer.step.numpy())
        (sums,) = (trainer.evaluate_steps if step in skipped else trainer.train_steps)(batches, 1)
        if not sums.tokens:  # a batch that only fills up the epoch
            continue
        found.losses.append(sums.loss / sums.tokens)
        if int(trainer.step.numpy()) == before:
            found.skipped.append(step)
    return found


def main(config: str, steps: str, output: str, *skipped: str) -> None:
    """The command above."""
    start_tensorflow()
    found = step_losses(load_config(config), int(steps), set(map(int, skipped)))
    Path(output).write_text(json.dumps(found.losses), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
