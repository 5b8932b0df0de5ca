"""The run directory: what is in it, and the captioner back from it.

`config.yaml`, `vocabulary.txt` and `dataset.json` (copies of those of the records), `encoder.weights.h5` (ResNet50 as
the training began with it), `checkpoints/last/` and `checkpoints/best/` (only what trains), `metrics.jsonl` (a line
an epoch), `steps.jsonl` (a line a step), `tensorboard/`, `eval-SPLIT/`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcaption.config import Config, ModelConfig, load_config, save_config
from tfcaption.records.dataset_info import (
    DATASET_FILE,
    DatasetInfo,
    FeaturesInfo,
    load_dataset_info,
    load_features_info,
)
from tfcaption.records.examples import Stage
from tfcaption.records.tfrecord import RecordError
from tfcaption.records.vocabulary import VOCABULARY_FILE, load_vocabulary
from tfcaption.runtime.errors import TfcaptionError
from tfcaption.runtime.folder_lock import LOCK_FILE
from tfcaption.runtime.paths import as_path, copy_file

CONFIG_FILE = "config.yaml"
CHECKPOINTS = "checkpoints"
ENCODER_FILE = "encoder.weights.h5"


class RunError(TfcaptionError, ValueError):
    """A run directory that cannot be used; the message names it and the cure."""


def trainable_stages(model: ModelConfig) -> tuple[Stage, ...]:
    """The stages of features that a model can train from; the first one is the cheapest."""
    if model.variant == "finetuned":
        return ("trunk",)
    return ("pooled", "map", "trunk") if model.decoder == "gru" else ("map", "trunk")


@dataclass(frozen=True)
class Run:
    """What a run directory says of itself."""

    path: Path
    config: Config
    info: DatasetInfo
    words: list[str]
    features: FeaturesInfo | None = None  # that it trains from

    @property
    def data_folder(self) -> Path:
        """Where the shards are that it trains from."""
        return as_path(self.config.data.features or self.config.data.records)


def create_run(config: Config, *, writes: bool = True) -> Run:
    """Make the run directory, or find it again to be resumed.

    Args:
        config: the run.
        writes: whether this host writes; only one of several does.

    Raises:
        RunError: the directory holds a run that has begun with another config (patience may change, and epochs under
            a constant schedule) or other records.
        RecordError: the records or features are missing, incomplete, or do not fit the config.
    """
    path, source = as_path(config.run), as_path(config.data.records)
    info, words = load_dataset_info(source), load_vocabulary(source)
    features = load_features(config, info)
    if not writes:
        return Run(path, config, info, words, features)
    known = (path / CONFIG_FILE).is_file()
    if known and (path / ENCODER_FILE).is_file():  # else it was refused before its first step, and may be mended
        _check_same(load_run(path), config, info)
    elif not known and path.exists() and (not path.is_dir() or any(p.name != LOCK_FILE for p in path.iterdir())):
        raise RunError(f"{path}: is no run directory and not empty; choose another with --set run=DIR")
    else:
        path.mkdir(parents=True, exist_ok=True)
        for name in (VOCABULARY_FILE, DATASET_FILE):
            copy_file(source / name, path / name)
    temporary = path / f"{CONFIG_FILE}.incomplete"
    save_config(config, temporary)
    temporary.replace(path / CONFIG_FILE)
    return Run(path, config, info, words, features)


def load_features(config: Config, info: DatasetInfo) -> FeaturesInfo | None:
    """`features.json` of the features that a config names; None where it names none.

    Raises:
        RecordError: they are missing, incomplete, or of another stage or other records than the config asks for.
    """
    if config.data.features is None:
        return None
    features = load_features_info(config.data.features)
    stage, stages = features.settings.stage, trainable_stages(config.model)
    again = f"python -m beam_jobs.extract_features --records {config.data.records} --stage {stages[0]} ..."
    if stage not in stages:
        raise RecordError(
            f"data.features={config.data.features}: stage is {stage}, but model.variant={config.model.variant} with "
            f"model.decoder={config.model.decoder} trains from {' or '.join(stages)}; make them with {again}"
        )
    if features.settings.records != info.fingerprint():
        raise RecordError(
            f"data.features={config.data.features}: made of other records than data.records={config.data.records}; "
            f"make them again with {again}"
        )
    return features


def check_weights(run: Run, fingerprint: str) -> None:
    """Refuse features that another ResNet50 made.

    Args:
        run: what is to be trained.
        fingerprint: of the weights of `model.weights` up to the features' stage.

    Raises:
        RecordError: they are not those that the features were made with.
    """
    if run.features and run.features.settings.weights != fingerprint:
        raise RecordError(
            f"data.features={run.config.data.features}: made with other weights than model.weights="
            f"{run.config.model.weights}; extract them again with --weights {run.config.model.weights}"
        )


def load_run(path: str | Path) -> Run:
    """Read a run directory.

    Raises:
        RunError: it is none.
    """
    path = as_path(path)
    if not (path / CONFIG_FILE).is_file():
        raise RunError(f"{path}: is no run directory (it has no {CONFIG_FILE}); train one with tfcaption.train")
    return Run(path, load_config(path / CONFIG_FILE), load_dataset_info(path), load_vocabulary(path))


def _check_same(run: Run, config: Config, info: DatasetInfo) -> None:
    old, new = _flat(run.config), _flat(config)
    free = {"run", "data.records", "data.features", "data.damaged"}
    free |= {"train.early_stopping_epochs", "train.checkpoint_minutes"}
    if config.train.schedule == "constant":  # otherwise the number of epochs decides every learning rate
        free.add("train.epochs")
    changed = [f"{key} was {old[key]}, is {new[key]}" for key in old if key not in free and old[key] != new[key]]
    if changed:
        raise RunError(
            f"{run.path}: holds a run with another config ({'; '.join(changed)}); "
            "choose another directory with --set run=DIR, or remove this one"
        )
    if run.info != info:
        raise RunError(
            f"{run.path}: was trained on other records than {config.data.records}; "
            "choose another directory with --set run=DIR, or remove this one"
        )


def _flat(config: Config) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.model_dump().items():
        flat |= {f"{key}.{name}": field for name, field in value.items()} if isinstance(value, dict) else {key: value}
    return flat
