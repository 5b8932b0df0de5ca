"""Config of a training run: typed fields with working defaults, read from YAML, with `section.field=value` overrides.

Unknown keys and values of the wrong type are errors. A config file lists only the fields that differ from the defaults
here, or from another config file that it names as its `base`.
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

BEAM = 3  # default beam width of evaluation, export and captioning


class ConfigError(TfcaptionError, ValueError):
    """A config cannot be used; the message names the file or override, the field and the fix."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True)


class DataConfig(_Section):
    """The records to train on, and how they are batched."""

    records: str = "records"  # folder written by build_records
    # Folder written by extract_features from these records. None: run ResNet50 on the photos in every step.
    features: str | None = None
    batch_size_photos: PositiveInt = 64  # photos per step over all replicas, each with its captions
    captions: Literal["all", "one"] = "all"  # captions per photo and epoch: all, or one sampled in each epoch
    length_buckets: PositiveInt = 8  # number of padded caption lengths with XLA or on a GPU; a CPU packs captions
    cache: bool | Literal["auto"] = "auto"  # keep encoded records in memory; auto: splits within cache_limit_mb
    cache_limit_mb: PositiveInt = 2048  # per split and host
    shuffle_buffer_photos: PositiveInt = 2048  # size of the shuffle buffer when the data is streamed
    deterministic: bool = True  # batches depend on the seed alone
    # Damaged records: stop at the first one, or skip them, counted and named in the log.
    damaged: Literal["stop", "skip"] = "stop"


class ModelConfig(_Section):
    """The captioner."""

    variant: Literal["frozen", "finetuned"] = "frozen"  # finetuned also trains conv5_block2_* and conv5_block3_*
    weights: str = "imagenet"  # ResNet50 weights: imagenet (downloaded by Keras), a file, or random
    glove: str | None = None  # word vectors in the GloVe text format; None: random initial embedding
    embedding_units: PositiveInt = 100  # embedding width without glove; with glove, the vectors set the width
    train_embedding: bool = True
    # gru reads the photo as one vector; attention and transformer attend to its regions.
    decoder: Literal["gru", "attention", "transformer"] = "gru"
    gru_units: PositiveInt = 1024  # of each GRU and of the photo context that initialises it
    dense_units: PositiveInt = 1024  # width of the dense layer before the logits (gru, attention)
    attention_score: Literal["bahdanau", "luong"] = "bahdanau"  # additive or multiplicative attention (attention)
    attention_units: PositiveInt = 512  # width of attention keys and queries (attention)
    # Weight of the doubly stochastic attention penalty in the loss, against captions that ignore regions (attention).
    attention_penalty: NonNegativeFloat = 0.0
    transformer_units: PositiveInt = 512
    transformer_layers: PositiveInt = 2
    transformer_heads: PositiveInt = 8
    dropout: float = Field(default=0.3, ge=0, lt=1)  # after the context, the embedding, the GRU and the dense layer


class TrainConfig(_Section):
    """Objective and optimizer."""

    start_from: str | None = None  # run whose best weights initialise this one
    # cider: self-critical sequence training (SCST) with a CIDEr-D reward on sampled captions. Start from a
    # cross-entropy checkpoint with a fraction of its learning rate. Dropout applies to photo features only.
    objective: Literal["cross_entropy", "cider"] = "cross_entropy"
    drawn_captions: int = Field(default=5, ge=2)  # sampled captions per photo (cider)
    # Weight of the mean of BLEU-1 to BLEU-4 (0 to 1) in the reward, beside CIDEr-D (0 to 10) with weight 1 (cider).
    bleu_weight: NonNegativeFloat = 0.0
    epochs: PositiveInt = 12
    learning_rate: PositiveFloat = 1e-3  # Adam, decoder
    encoder_learning_rate: PositiveFloat = 2e-5  # Adam, fine-tuned blocks of ResNet50
    schedule: Literal["constant", "cosine"] = "constant"  # of both learning rates; cosine decays to zero
    warm_up_steps: NonNegativeInt = 0  # steps of linear warm-up from zero, for both learning rates
    weight_decay: NonNegativeFloat = 0.0  # decoupled (AdamW); not applied to biases and BatchNorm
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    gradient_clip_norm: PositiveFloat = 5.0  # global norm over all trained weights
    # Decay of the exponential moving average of the weights. The average is scored and saved as the best; 0: off.
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    early_stopping_epochs: PositiveInt = 3  # epochs without a better dev metric before the run ends
    # Dev metric for early stopping and for the best checkpoint. BLEU-4 and CIDEr-D are of greedy captions.
    early_stopping_metric: Literal["dev_loss", "dev_bleu_4", "dev_cider"] = "dev_loss"
    checkpoint_minutes: PositiveFloat = 15.0  # between checkpoints within an epoch; each epoch ends with one
    # auto: mixed_float16 on a GPU, mixed_bfloat16 on a CPU with bfloat16 instructions, else float32.
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    # auto: on a GPU only; on a CPU XLA's convolutions are slower than oneDNN's.
    xla: bool | Literal["auto"] = "auto"
    seed: int = 0  # of initial weights, dropout and the order of photos


class Config(_Section):
    """All fields of one training run."""

    run: str = "runs/captioner"  # run directory: config.yaml, checkpoints/, metrics.jsonl, tensorboard/
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML config and apply overrides such as `train.epochs=3`.

    Fields that are missing here come from `base: OTHER.yaml`, a path relative to this config's folder, if it is given.

    Raises:
        ConfigError: the file or its base is missing or not YAML, a key is unknown (the nearest one is suggested), or a
            value is invalid. The message names the faulty file, even in a chain of bases.
    """
    path = as_path(path)
    content = _read(path, ())
    for override in overrides:
        _apply(content, override)
    return _validated(content, path)


def save_config(config: Config, path: str | Path) -> None:
    """Write all fields of a config as YAML; `load_config` reads it back unchanged."""
    as_path(path).write_text(yaml.safe_dump(config.model_dump(), sort_keys=False), encoding="utf-8")


def _read(path: Path, read_by: tuple[Path, ...]) -> dict[str, Any]:
    """The content of a config file, merged over its base."""
    role = f", the base of {read_by[-1]}" if read_by else ""
    if os.path.normpath(path) in map(os.path.normpath, read_by):
        raise ConfigError(f"{path}{role}, is its own base")
    if not path.is_file():
        raise ConfigError(f"{path}{role}: no such config file")
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
    _validated(merged, path.parent / base)  # before the merge, so that errors in the base name the base
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
    """All errors in one line, one clause each."""
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
    return f", did you mean {close[0]}?" if close else f"; known keys: {', '.join(section.model_fields)}"
