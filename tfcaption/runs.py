"""The run directory: what is in it, and the captioner back from it.

`config.yaml`, `vocabulary.txt` and `dataset.json` (copies of those of the records), `checkpoints/last/` and
`checkpoints/best/`, `metrics.jsonl`, `tensorboard/`, `eval-SPLIT/`.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfcaption import records
from tfcaption.config import Config, load_config, save_config
from tfcaption.records import DatasetInfo

CONFIG_FILE = "config.yaml"
CHECKPOINTS = "checkpoints"
METRICS_FILE = "metrics.jsonl"


class RunError(ValueError):
    """A run directory that cannot be used; the message names it and the cure."""


@dataclass(frozen=True)
class Run:
    """What a run directory says of itself."""

    path: Path
    config: Config
    info: DatasetInfo
    words: list[str]


def create_run(config: Config) -> Run:
    """Make the run directory, or find it again to be resumed.

    Raises:
        RunError: the directory holds a run with another config (epochs and patience may change) or other records.
        RecordError: the records are missing or incomplete.
    """
    path, source = Path(config.run), Path(config.data.records)
    info, words = records.load_dataset_info(source), records.load_vocabulary(source)
    if (path / CONFIG_FILE).is_file():
        run = load_run(path)
        _check_same(run, config, info)
    elif path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"{path}: is no run directory and not empty; choose another with --set run=DIR")
    else:
        path.mkdir(parents=True, exist_ok=True)
        for name in (records.VOCABULARY_FILE, records.DATASET_FILE):
            shutil.copyfile(source / name, path / name)
    temporary = path / f"{CONFIG_FILE}.incomplete"
    save_config(config, temporary)
    temporary.replace(path / CONFIG_FILE)
    return Run(path, config, info, words)


def load_run(path: str | Path) -> Run:
    """Read a run directory.

    Raises:
        RunError: it is none.
    """
    path = Path(path)
    if not (path / CONFIG_FILE).is_file():
        raise RunError(f"{path}: is no run directory (it has no {CONFIG_FILE}); train one with tfcaption.train")
    return Run(path, load_config(path / CONFIG_FILE), records.load_dataset_info(path), records.load_vocabulary(path))


def _check_same(run: Run, config: Config, info: DatasetInfo) -> None:
    old, new = _flat(run.config), _flat(config)
    free = {"run", "data.records", "train.epochs", "train.early_stopping_epochs"}
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


def append_metrics(path: Path, **figures: Any) -> None:
    """Add a line to `metrics.jsonl`."""
    with (path / METRICS_FILE).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(figures) + "\n")


def load_captioner(run: Run, checkpoint: str = "best") -> tuple[Any, str]:
    """The trained `Captioner` of a run, in float32.

    Args:
        run: as `load_run` gives it.
        checkpoint: `best` (by dev loss) or `last`.

    Returns:
        The captioner, and the path of the checkpoint it was read from.

    Raises:
        RunError: there is no such checkpoint.
    """
    import tensorflow as tf

    from tfcaption.captioner import Captioner

    found = tf.train.latest_checkpoint(str(run.path / CHECKPOINTS / checkpoint))
    if not found:
        raise RunError(f"{run.path}: has no {checkpoint} checkpoint yet; train it for at least one epoch")
    captioner = Captioner(
        run.config.model,
        image_size=run.info.settings.image_size,
        embedding=np.zeros((len(run.words), embedding_units(found)), np.float32),
        encoder_weights=None,  # the checkpoint holds them all, so none has to be found or downloaded again
        compiled=False,
    )
    tf.train.Checkpoint(captioner=captioner).restore(found).assert_existing_objects_matched().expect_partial()
    return captioner, found


def embedding_units(checkpoint: str) -> int:
    """Width of the word vectors in a checkpoint."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(checkpoint)
    shapes = reader.get_variable_to_shape_map()
    return next(shape[1] for name, shape in shapes.items() if name.startswith("captioner/decoder/embedding/"))
