"""What a run is made of: typed fields with defaults that work, a YAML file, dotted overrides.

Unknown keys and values of the wrong type are errors. A config file holds only what differs from the defaults here, or
from another file that it names as its `base`.
"""

import difflib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)

from tfcaption.runtime.errors import TfcaptionError
from tfcaption.runtime.paths import as_path

BEAM = 3  # width of the search, wherever captions are made after training


class ConfigError(TfcaptionError, ValueError):
    """A config that cannot be used; the message names the file or override, the field and the cure."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True)


class DataConfig(_Section):
    """Where the records are and how batches are made of them."""

    records: str = "records"  # folder that build_records wrote
    features: str | None = None  # folder that extract_features made of them; None: photos go through ResNet50 each step
    batch_size_photos: PositiveInt = 64  # global batch: photos a step, over all replicas, each with its captions
    captions: Literal["all", "one"] = "all"  # of each photo in an epoch: all, or one drawn anew
    length_buckets: PositiveInt = 8  # padded caption lengths with XLA or on a GPU; a CPU packs captions instead
    cache: bool | Literal["auto"] = "auto"  # hold the data in memory, encoded; auto: what is within the limit
    cache_limit_mb: PositiveInt = 2048  # of a split, on each host
    shuffle_buffer_photos: PositiveInt = 2048  # encoded photos held to shuffle among, where the data streams
    deterministic: bool = True  # the same seed gives the same batches
    damaged: Literal["stop", "skip"] = "stop"  # records: stop at the first one, or leave them out, counted and named


class ModelConfig(_Section):
    """The captioner."""

    variant: Literal["frozen", "finetuned"] = "frozen"  # finetuned also trains conv5_block2_* and conv5_block3_*
    weights: str = "imagenet"  # of ResNet50: imagenet (Keras downloads them), a file, or random
    glove: str | None = None  # file of word vectors in the GloVe text format; None: drawn at random
    embedding_units: PositiveInt = 100  # without glove; with it, the width of its vectors
    train_embedding: bool = True
    # gru reads the photo as one vector, attention and transformer look at its regions
    decoder: Literal["gru", "attention", "transformer"] = "gru"
    gru_units: PositiveInt = 1024  # of each GRU, and of the context that starts it
    dense_units: PositiveInt = 1024  # before the logits of gru and attention
    attention_score: Literal["bahdanau", "luong"] = "bahdanau"  # of attention: additive or multiplicative
    attention_units: PositiveInt = 512
    attention_penalty: NonNegativeFloat = 0.0  # in training, on captions that leave regions out (doubly stochastic)
    transformer_units: PositiveInt = 512
    transformer_layers: PositiveInt = 2
    transformer_heads: PositiveInt = 8
    dropout: float = Field(default=0.3, ge=0, lt=1)  # after the context, the embedding, the GRU and the dense layer


class TrainConfig(_Section):
    """The optimisation."""

    start_from: str | None = None  # run whose best weights it begins with: to fine-tune later, or by another objective
    # cider: self-critical, by CIDEr-D of captions that the model draws; from a model that cross_entropy has trained,
    # at a fraction of its learning rate; dropout is of the photo, not of the words
    objective: Literal["cross_entropy", "cider"] = "cross_entropy"
    drawn_captions: int = Field(default=5, ge=2)  # of each photo, by cider
    bleu_weight: NonNegativeFloat = 0.0  # of their mean BLEU-1 to 4, 0 to 1, beside their CIDEr-D, 0 to 10, by cider
    epochs: PositiveInt = 12
    learning_rate: PositiveFloat = 1e-3  # Adam, for the decoder
    encoder_learning_rate: PositiveFloat = 2e-5  # Adam, for the fine-tuned blocks
    schedule: Literal["constant", "cosine"] = "constant"  # of both learning rates, down to zero for cosine
    warm_up_steps: NonNegativeInt = 0  # over which both rise from zero
    weight_decay: NonNegativeFloat = 0.0  # decoupled (AdamW), of all but biases and BatchNorm
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    gradient_clip_norm: PositiveFloat = 5.0  # global norm over all trained weights
    ema_decay: float = Field(default=0.0, ge=0, lt=1)  # moving average of the weights that is scored and kept; 0: none
    early_stopping_epochs: PositiveInt = 3  # epochs without a better dev result before the run ends
    # decides which checkpoint is best, too; the scores are those of greedy search
    early_stopping_metric: Literal["dev_loss", "dev_bleu_4", "dev_cider"] = "dev_loss"
    checkpoint_minutes: PositiveFloat = 15.0  # between checkpoints within an epoch; there is one after each epoch too
    # auto: mixed_float16 on a GPU, mixed_bfloat16 on a CPU that multiplies it, float32 elsewhere
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    # auto: on a GPU; on a CPU XLA's convolutions are slower than oneDNN's
    xla: bool | Literal["auto"] = "auto"
    seed: int = 0  # of initial weights, dropout and the order of photos


class Config(_Section):
    """One run."""

    run: str = "runs/captioner"  # run directory: config.yaml, checkpoints/, metrics.jsonl, tensorboard/
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML config and apply overrides such as `train.epochs=3`.

    `base: other.yaml` in it, from the config's own folder, stands for all that is written there and not here.

    Raises:
        ConfigError: the file or its base is missing or not YAML, a key is unknown (names the nearest), a value does
            not fit; it names the file that is wrong, of a chain of bases too.
    """
    path = as_path(path)
    content = _read(path, ())
    for override in overrides:
        _apply(content, override)
    return _validated(content, path)


def save_config(config: Config, path: str | Path) -> None:
    """Write a config that `load_config` reads back unchanged."""
    as_path(path).write_text(yaml.safe_dump(config.model_dump(), sort_keys=False), encoding="utf-8")


def _read(path: Path, read_by: tuple[Path, ...]) -> dict[str, Any]:
    """What a config file says, on top of its base."""
    named = f", the base of {read_by[-1]}" if read_by else ""
    if os.path.normpath(path) in map(os.path.normpath, read_by):
        raise ConfigError(f"{path}{named}, is its own base")
    if not path.is_file():
        raise ConfigError(f"{path}{named}: no such config file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold sections such as `train:`, not {type(content).__name__}")
    if "base" not in content:
        return content
    base = content.pop("base")
    if not isinstance(base, str):
        raise ConfigError(f"{path}: base: must be the name of a config file, not {base!r}")
    merged = _read(path.parent / base, (*read_by, path))
    _validated(merged, path.parent / base)  # here, so that its mistakes are reported under its own name
    for key, value in content.items():
        section = merged.get(key)
        merged[key] = section | value if isinstance(section, dict) and isinstance(value, dict) else value
    return merged


def _validated(content: dict[str, Any], path: Path) -> Config:
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error)}") from None


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override}: write KEY=VALUE, as in train.epochs=3")
    *sections, name = key.split(".")
    target = content
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise ConfigError(f"--set {override}: {section} is a field, not a section")
    try:
        target[name] = yaml.safe_load(value)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"--set {override}: {error}") from error


def _explain(error: ValidationError) -> str:
    """All that is wrong, a clause each."""
    clauses = []
    for item in error.errors():
        field = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            clauses.append(f"unknown key {field}{_nearest(item['loc'])}")
        else:
            clauses.append(f"{field}: {item['msg']}, not {item['input']!r}")
    return "; ".join(clauses)


def _nearest(location: Sequence[int | str]) -> str:
    section: Any = Config
    for part in location[:-1]:
        section = section.model_fields[str(part)].annotation
    close = difflib.get_close_matches(str(location[-1]), section.model_fields, n=1, cutoff=0.5)
    return f", did you mean {close[0]}?" if close else f"; there are {', '.join(section.model_fields)}"
