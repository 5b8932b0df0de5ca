"""`metrics.jsonl` and `steps.jsonl`: written line by line, truncated on resume, read tolerantly."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfcaption.runtime.paths import atomic_path

METRICS_FILE = "metrics.jsonl"
STEPS_FILE = "steps.jsonl"


class MetricsLog:
    """The metrics of a run, a line per epoch and a line per step.

    A resumed run writes its lines again, so lines after the point where it resumes are dropped first.

    Args:
        run: the run directory.
        epoch: epochs done.
        step: steps done.
    """

    def __init__(self, run: Path, *, epoch: int, step: int) -> None:
        self._epochs, self._steps = run / METRICS_FILE, run / STEPS_FILE
        truncate_lines(self._epochs, "epoch", epoch)
        truncate_lines(self._steps, "step", step)

    def add_epoch(self, metrics: dict[str, Any]) -> None:
        """Write the line of an epoch; `epoch` is its number."""
        append_lines(self._epochs, [metrics])

    def add_steps(self, steps: Sequence[dict[str, Any]]) -> None:
        """Write the lines of some steps; `step` is the number of each."""
        append_lines(self._steps, steps)


def append_lines(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Add lines to a JSONL file."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(_jsonl(lines))


def _jsonl(lines: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def truncate_lines(path: Path, key: str, last: int) -> None:
    """Drop the lines of a JSONL file whose `key` is greater than `last`, and a line that was cut short."""
    if not path.is_file():
        return
    kept = [line for line in read_lines(path) if line[key] <= last]
    with atomic_path(path) as temporary:
        temporary.write_text(_jsonl(kept), encoding="utf-8")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSONL file up to one that a kill cut short; [] where there is no file."""
    lines: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").split("\n") if path.is_file() else ():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines
