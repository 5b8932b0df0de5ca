"""`fit`: train a config; `Run`: what came out of it, to evaluate, caption with and export."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tfcaption.api.captioner import Captioner, load
from tfcaption.api.options import search_options
from tfcaption.api.process import tensorflow_quiet
from tfcaption.config import Config, load_config, updated_config
from tfcaption.decoding.options import CaptionOptions
from tfcaption.evaluation.results import EvaluationOptions, split_name
from tfcaption.runs.directory import load_run_dataset, open_run
from tfcaption.runs.metrics_log import METRICS_FILE, read_lines
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.hosts import find_host
from tfcaption.runtime.paths import as_path
from tfcaption.runtime.process import direct_connections, environment
from tfcaption.serving.model_folder import find_run


class Run:
    """A run directory, as `fit` or `python -m tfcaption.train` wrote it.

    Args:
        path: the run directory.

    Raises:
        RunError: the path is no run directory; the message says what it is.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._run = find_run(as_path(path))

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The run directory."""
        return self._run.path

    @property
    def config(self) -> Config:
        """All fields of its config."""
        return self._run.config

    @property
    def history(self) -> dict[str, list[Any]]:
        """Metric -> its value in each epoch, such as `epoch`, `train_loss`, `dev_loss`, `dev_cider`."""
        values: dict[str, list[Any]] = defaultdict(list)
        for line in read_lines(self.path / METRICS_FILE):
            for name, value in line.items():
                values[name].append(value)
        return dict(values)

    def evaluate(
        self,
        split: str = "dev",
        *,
        limit: int | None = None,
        checkpoint: Literal["best", "last"] = "best",
        records: str | os.PathLike[str] | None = None,
        **search: Any,
    ) -> dict[str, Any]:
        """Caption and score every photo of a split; writes `eval-SPLIT/` in the run directory.

        Of several hosts that train together, as TF_CONFIG names them, only the first one writes.

        Args:
            split: "train", "dev" ("val") or "test".
            limit: score only so many photos.
            checkpoint: "best" or "last".
            records: the records, if they moved since training.
            **search: options of `CaptionOptions`, such as `beam=5`.

        Returns:
            Scores: `bleu_1` .. `bleu_4`, `rouge_l`, `cider`, `perplexity`, ...; under `constant` and `human` those of
            the constant caption and of people.

        Raises:
            RunError: the run has no such checkpoint yet.
            RecordError: there is no such split, or the records are damaged.
        """
        options = EvaluationOptions(
            split_name(split), search_options(CaptionOptions(), search, all_shown=True), limit, checkpoint
        )
        dataset = load_run_dataset(self._run, None if records is None else as_path(records))
        with tensorflow_quiet():
            from tfcaption.evaluation.evaluator import evaluate_run  # here: imports TensorFlow

            return evaluate_run(self._run, dataset, options, writes=_writes())

    def captioner(self, *, checkpoint: Literal["best", "last"] = "best") -> Captioner:
        """The trained captioner, in float32.

        Raises:
            RunError: the run has no such checkpoint yet.
        """
        return load(self.path, checkpoint=checkpoint)

    def export(
        self, path: str | os.PathLike[str], *, checkpoint: Literal["best", "last"] = "best", **search: Any
    ) -> Path:
        """Write a SavedModel from the bytes of photo files to captions; `tfcaption.load` reads it.

        Args:
            path: a new folder; TensorFlow Serving expects a number as its name.
            checkpoint: "best" or "last".
            **search: options of `CaptionOptions`, such as `beam=5`, which the export then uses.

        Raises:
            RunError: the folder exists, or the run has no such checkpoint yet.
        """
        options = search_options(CaptionOptions(), search)
        with tensorflow_quiet():
            from tfcaption.serving.export import export_captioner  # here: imports TensorFlow

            return export_captioner(self._run, as_path(path), options=options, checkpoint=checkpoint)


def fit(config: str | os.PathLike[str] | Config, *, callbacks: Sequence[Any] = (), **fields: Any) -> Run:
    """Train a captioner; the same call again resumes a run that was stopped.

        run = tfcaption.fit("small", run="runs/mine", data__features="features/pooled", train__epochs=10)
        print(run.history["dev_loss"], run.evaluate()["cider"])

    Args:
        config: a config that comes with tfcaption, by its name; the path of a YAML file; or a `Config`.
        callbacks: Keras callbacks, or objects with an `on_epoch_end(epoch, logs)`; epochs count from 0, and `logs`
            holds the metrics. One that sets `self.model.stop_training`, or returns True, ends the run after the epoch.
        **fields: replace fields of the config: `train__epochs=3`, or `train={"epochs": 3}`.

    Returns:
        The run. Nothing global has changed: precision policy, random states, signal handlers and logging are what they
        were.

    Raises:
        ConfigError: the config or a field is wrong; the message names it.
        TfcaptionError: the data, weights or run directory cannot be used; training failed; or Ctrl-C stopped it, after
            a checkpoint was saved.
    """
    overrides = _flat(fields)
    if isinstance(config, Config):
        settings = updated_config(config, overrides)
    else:
        settings = load_config(os.fspath(config), overrides)
    host = find_host()
    with open_run(settings, host) as run, tensorflow_quiet(), environment(**direct_connections()):
        from tfcaption.training.loop import train_run  # here: imports TensorFlow

        path = train_run(run, host, callbacks, command="tfcaption.fit")
    return Run(path)


def _writes() -> bool:
    """Whether this process writes what all hosts compute; one that cannot train, such as an evaluator, is alone."""
    try:
        return find_host().writes
    except UsageError:
        return True


def _flat(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments as `section.field` -> value."""
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": each for inner, each in value.items()}
        else:
            flat[name.replace("__", ".")] = value
    return {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in flat.items()}
