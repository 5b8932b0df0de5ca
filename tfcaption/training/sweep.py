"""Trials of one config, each in a process of its own, within a budget."""

import itertools
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tfcaption.config import ConfigError, load_config
from tfcaption.runs.metrics_log import METRICS_FILE, read_lines
from tfcaption.runtime.command import EXIT_PREEMPTED
from tfcaption.runtime.hosts import find_host
from tfcaption.runtime.paths import is_local

TABLE_FILE = "sweep.md"
FINISHED_FILE = "finished.json"  # in the directory of a finished run
STOP_SECONDS = 60.0  # for a run to save its checkpoint when the budget ends


class Trial(NamedTuple):
    """One combination of values."""

    name: str  # of its run directory
    overrides: list[str]


def trials(grid: Sequence[str]) -> list[Trial]:
    """All combinations of KEY=VALUE,VALUE,... in the order in which they are trained.

    Raises:
        ConfigError: an entry has another form, or names a key twice.
    """
    fields: dict[str, list[str]] = {}
    for entry in grid:
        key, equals, values = entry.partition("=")
        if not equals or not all(values.split(",")):
            raise ConfigError(f"--grid {entry}: write KEY=VALUE,VALUE,... as in model.dropout=0.3,0.5")
        if key in fields:
            raise ConfigError(f"--grid {entry}: {key} appears twice; name all its values at once")
        fields[key] = values.split(",")
    combinations = itertools.product(*([(key, value) for value in values] for key, values in fields.items()))
    return [
        Trial(
            ",".join(f"{key.rpartition('.')[2]}={value.replace('/', '_')}" for key, value in combination),
            [f"{key}={value}" for key, value in combination],
        )
        for combination in combinations
    ]


def sweep(
    config: str | Path,
    grid: Sequence[str],
    output: str | Path,
    *,
    overrides: Sequence[str] = (),
    budget_minutes: float | None = None,
) -> str:
    """Train every combination in turn, each in a process of its own; a failed one does not stop the others.

    Args:
        config: YAML file.
        grid: see `trials`.
        output: folder for the run directories, their logs and the table.
        overrides: of the config, for all runs.
        budget_minutes: training stops after this time; None: when all are done.

    Returns:
        The table.

    Raises:
        ConfigError: a combination is not a valid config, the output is not a local folder, or TF_CONFIG names several
            machines.
    """
    if find_host().count > 1:
        raise ConfigError("TF_CONFIG: names several machines, but a sweep runs on one; unset it")
    if not is_local(output):
        raise ConfigError(f"--output {output}: the runs' logs are written here; name a local folder")
    output = Path(output)
    end = time.monotonic() + 60 * budget_minutes if budget_minutes else float("inf")
    fixed = [*overrides, "train.early_stopping_metric=dev_cider"]
    planned = trials(grid)
    for trial in planned:  # check all before the first one costs time
        try:
            load_config(config, [*fixed, *trial.overrides])
        except ConfigError as error:
            message = str(error)
            for override in trial.overrides:
                message = message.replace(f"--set {override}:", f"--grid {override}:")
            raise ConfigError(message) from None
    output.mkdir(parents=True, exist_ok=True)
    states: dict[str, str] = {}
    for number, trial in enumerate(planned, 1):
        path = output / trial.name
        if (path / FINISHED_FILE).is_file():
            states[trial.name] = "finished"
            continue
        if time.monotonic() >= end:
            states[trial.name] = "stopped" if path.is_dir() else "not started"
            continue
        print(f"{number} of {len(planned)}: {trial.name}, log in {path}.log", flush=True)
        states[trial.name] = _train(config, [*fixed, *trial.overrides, f"run={path}"], path, end)
    table = _table([(trial.name, states[trial.name], _best_epoch(output / trial.name)) for trial in planned])
    (output / TABLE_FILE).write_text(table + "\n", encoding="utf-8")
    return table


def _train(config: str | Path, overrides: Sequence[str], path: Path, end: float) -> str:
    """Train one combination until the budget ends; returns finished, stopped or failed."""
    command = [sys.executable, "-m", "tfcaption.train", "--config", str(config), "--set", *overrides]
    with Path(f"{path}.log").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            code = process.wait(None if end == float("inf") else max(end - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.terminate()  # it saves a checkpoint
            code = process.wait(STOP_SECONDS)
        except BaseException:
            process.terminate()
            process.wait(STOP_SECONDS)
            raise
    if code == 0:
        (path / FINISHED_FILE).write_text("{}\n", encoding="utf-8")
        return "finished"
    if code == EXIT_PREEMPTED:
        return "stopped"
    lines = Path(f"{path}.log").read_text(encoding="utf-8", errors="replace").splitlines()
    print(
        f"  {next((line for line in reversed(lines) if line.startswith('error: ')), f'exit code {code}')}", flush=True
    )
    return "failed"


def _best_epoch(run: Path) -> dict[str, Any]:
    """Metrics of the best epoch of a run, and the minutes that its epochs took; {} before the first epoch ended."""
    epochs = read_lines(run / METRICS_FILE)
    if not epochs:
        return {}
    best = max(epochs, key=lambda epoch: epoch["dev_cider"])
    minutes = sum(epoch["train_seconds"] + epoch["dev_seconds"] for epoch in epochs) / 60
    return {**best, "epochs": len(epochs), "minutes": minutes}


def _table(rows: Sequence[tuple[str, str, dict[str, Any]]]) -> str:
    """Markdown, the best dev CIDEr first (greedy search, as training scores)."""
    lines = [
        "| run | dev CIDEr | dev BLEU-4 | dev loss | best epoch | epochs | minutes | |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, state, best in sorted(rows, key=lambda row: -row[2].get("dev_cider", -1)):
        cells = ["-"] * 6
        if best:
            cells = [f"{best[key]:.4f}" for key in ("dev_cider", "dev_bleu_4", "dev_loss")]
            cells += [str(best["epoch"]), str(best["epochs"]), f"{best['minutes']:.1f}"]
        lines.append(f"| {' | '.join([name, *cells, state])} |")
    return "\n".join(lines)
