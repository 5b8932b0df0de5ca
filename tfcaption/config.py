"""Config of a training run: typed fields with working defaults, read from YAML, with `section.field=value` overrides.

Unknown keys and values of the wrong type are errors. A config file lists only the fields that differ from the defaults
here, or from another config that it names as its `base`. The text below a field is its help: `tfcaption.train
--print_config` and docs/configs.md show it.
"""

import difflib
import os
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

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
from pydantic.fields import FieldInfo

from tfcaption.backbones.families import EncoderInput, encoder_name
from tfcaption.backbones.settings import IMPORTED, EncoderSettings
from tfcaption.runtime.errors import TfcaptionError
from tfcaption.runtime.paths import as_path

DEFAULT_ENCODER = "resnet50"
BEAM = 3  # default beam width of evaluation, export and captioning

# The configs that come with tfcaption: setup.py copies configs/ of the repository into the package, under this name.
_INSTALLED = Path(__file__).parent / "config_files"
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[1] / "configs"


class _Loader(yaml.SafeLoader):
    """YAML without dates, which no field is; one such as `2024-02-30` would be an error."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith((":timestamp", ":value"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class ConfigError(TfcaptionError, ValueError):
    """A config cannot be used; the message names the file or override, the field and the fix."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True, use_attribute_docstrings=True)


class DataConfig(_Section):
    """The records to train on, and how they are batched."""

    records: str = "records"
    """Folder written by build_records."""
    features: str | None = None
    """Folder written by extract_features (or import_features) from these records. null: run the encoder on the photos
    in every step."""
    batch_size_photos: PositiveInt = 64
    """Photos per batch over all replicas, each with its captions."""
    captions: Literal["all", "one"] = "all"
    """Captions per photo and epoch: all, or one sampled in each epoch."""
    augment: Literal["none", "crop_flip"] = "none"
    """Training photos in every step: as they are, or crop_flip: a random crop of each in each epoch, half of them
    mirrored. Not with features, which can be stored in several views (extract_features --views)."""
    length_buckets: PositiveInt = 8
    """Number of padded caption lengths with XLA or on a GPU; a CPU packs captions."""
    cache: bool | Literal["auto"] = "auto"
    """Keep encoded records in memory. auto: splits within cache_limit_mb."""
    cache_limit_mb: PositiveInt = 2048
    """Megabytes per split and host, all stored views counted."""
    shuffle_buffer_photos: PositiveInt = 2048
    """Size of the shuffle buffer when the data is streamed."""
    deterministic: bool = True
    """Batches depend on the seed alone."""
    damaged: Literal["stop", "skip"] = "stop"
    """Damaged records: stop at the first one, or skip them, counted and named in the log."""


class ModelConfig(_Section):
    """The captioner."""

    variant: Literal["frozen", "finetuned"] = "frozen"
    """The encoder as it is, or finetuned: its layers above finetune_from train, too."""
    encoder: str | list[str] | None = None
    """Image encoder: a name that `tfcaption encoders` lists, a .keras file or a SavedModel folder; a list joins the
    regions of several. null: that of data.features, of the run in train.start_from, or resnet50."""
    encoder_input: EncoderInput | None = None
    """What the encoder takes: caffe, tf or torch (as Keras' preprocess_input calls them), 0..255 (RGB), or inside (its
    own layers normalize). null: that of data.features, of the name, or of a file that begins with such layers. Of
    several encoders, for the files."""
    finetune_from: str | None = None
    """Layer of the encoder; those above it train (finetuned). null: that of data.features of stage trunk, otherwise
    the encoder's default, conv5_block1_out of resnet50."""
    weights: str | None = None
    """Weights of a named encoder: imagenet (downloaded by Keras), a file, or random; or a run directory, for its
    fine-tuned encoder. null: those that data.features were made with, if they are still there; otherwise imagenet."""
    glove: str | None = None
    """Word vectors in the GloVe text format. null: random initial embedding."""
    embedding_units: PositiveInt = 100
    """Embedding width without glove; with glove, the vectors set the width."""
    train_embedding: bool = True
    """Train the word vectors, too."""
    decoder: Literal["gru", "attention", "transformer"] = "gru"
    """gru reads the photo as one vector; attention and transformer attend to its regions."""
    gru_units: PositiveInt = 1024
    """Of each GRU and of the photo context that initialises it (gru, attention)."""
    dense_units: PositiveInt = 1024
    """Width of the dense layer before the logits (gru, attention)."""
    attention_score: Literal["bahdanau", "luong"] = "bahdanau"
    """Additive or multiplicative attention (attention)."""
    attention_units: PositiveInt = 512
    """Width of attention keys and queries (attention)."""
    attention_penalty: NonNegativeFloat = 0.0
    """Weight of the doubly stochastic attention penalty in the loss, against captions that ignore regions
    (attention)."""
    attention_sentinel: bool = False
    """Adaptive attention: beside the regions a word may take a sentinel, what the words before it say (attention)."""
    transformer_units: PositiveInt = 512
    """Width of the decoder (transformer)."""
    transformer_layers: PositiveInt = 2
    """Number of decoder blocks (transformer)."""
    transformer_heads: PositiveInt = 8
    """Attention heads of each block (transformer)."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """After the context, the embedding, the GRU and the dense layer."""

    @property
    def encoders(self) -> list[str]:
        """The encoders, one or several."""
        encoder = DEFAULT_ENCODER if self.encoder is None else self.encoder
        return [encoder] if isinstance(encoder, str) else list(encoder)

    @property
    def encoder_names(self) -> list[str]:
        """The encoders by names that stay the same when their files move."""
        return [encoder_name(encoder) for encoder in self.encoders]

    @property
    def imports_features(self) -> bool:
        """Whether the features were made elsewhere, by an encoder that is not known here."""
        return self.encoders == [IMPORTED]

    @property
    def encoder_settings(self) -> EncoderSettings:
        """The fields that name the encoder."""
        return EncoderSettings(tuple(self.encoders), self.weights, self.encoder_input, self.finetune_from)


class TrainConfig(_Section):
    """Objective and optimizer."""

    start_from: str | None = None
    """Run whose best weights initialise this one. Its vocabulary may be another: weights of words go by the words."""
    objective: Literal["cross_entropy", "cider"] = "cross_entropy"
    """cider: self-critical sequence training (SCST) with a CIDEr-D reward on sampled captions. Start from a
    cross-entropy checkpoint with a fraction of its learning rate. Dropout applies to photo features only."""
    drawn_captions: int = Field(default=5, ge=2)
    """Sampled captions per photo (cider)."""
    bleu_weight: NonNegativeFloat = 0.0
    """Weight of the mean of BLEU-1 to BLEU-4 (0 to 1) in the reward, beside CIDEr-D (0 to 10) with weight 1 (cider)."""
    epochs: PositiveInt = 12
    """Passes over the training split, unless early stopping ends the run."""
    learning_rate: PositiveFloat = 1e-3
    """Of Adam for the decoder."""
    encoder_learning_rate: PositiveFloat = 2e-5
    """Of Adam for the fine-tuned layers of the encoder."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Of both learning rates; cosine decays to zero over all epochs."""
    warm_up_steps: NonNegativeInt = 0
    """Steps of linear warm-up from zero, for both learning rates."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled (AdamW); not applied to biases and BatchNorm."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of each target's probability that is spread over the vocabulary (cross_entropy)."""
    accumulate_steps: PositiveInt = 1
    """Batches per update: N batches of B photos give the update of one batch of N * B photos in the memory of B."""
    gradient_clip_norm: PositiveFloat = 5.0
    """Global norm over all trained weights."""
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    """Decay of the exponential moving average of the weights. The average is scored and saved as the best. 0: off."""
    early_stopping_epochs: PositiveInt = 3
    """Epochs without a better dev metric before the run ends."""
    early_stopping_metric: Literal["dev_loss", "dev_bleu_4", "dev_cider"] = "dev_loss"
    """Dev metric for early stopping and for the best checkpoint. BLEU-4 and CIDEr-D are of greedy captions."""
    shown_photos: NonNegativeInt = 8
    """Dev photos that TensorBoard shows with their greedy captions after each epoch. 0: none."""
    checkpoint_minutes: PositiveFloat = 15.0
    """Between checkpoints within an epoch; each epoch ends with one."""
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    """auto: mixed_float16 on a GPU, mixed_bfloat16 on a CPU with bfloat16 instructions, else float32."""
    xla: bool | Literal["auto"] = "auto"
    """auto: on a GPU only; on a CPU XLA's convolutions are slower than oneDNN's."""
    seed: int = 0
    """Of initial weights, dropout and the order of photos."""


class Config(_Section):
    """All fields of one training run."""

    run: str = "runs/captioner"
    """Run directory: config.yaml, checkpoints/, metrics.jsonl, tensorboard/."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()


_SECTIONS = {name for name, field in Config.model_fields.items() if isinstance(field.default, _Section)}
# Fields of text, and whether they may be null; `base` names another config.
_TEXTS = {"base": False} | {
    f"{prefix}{name}": field.annotation is not str
    for prefix, model in (("", Config), ("data.", DataConfig), ("model.", ModelConfig), ("train.", TrainConfig))
    for name, field in model.model_fields.items()
    if field.annotation in (str, str | None)
}
_NULLS = ("", "~", "null", "Null", "NULL")  # as YAML writes it


def named_configs() -> dict[str, Path]:
    """The configs that come with tfcaption: name -> file, by name."""
    return {path.stem: path for path in sorted(CONFIGS.glob("*.yaml"))}


def find_config(name: str | Path) -> Path:
    """The file of a config that a user names.

    Args:
        name: a config that comes with tfcaption, by its bare name (`flickr8k_frozen`), which means the same in every
            folder; otherwise the path of a file (`my.yaml`, `./flickr8k_frozen`).

    Raises:
        ConfigError: there is no such config; the message suggests one.
    """
    return named_configs().get(str(name)) or _existing(as_path(name))


def load_config(name: str | Path, overrides: Iterable[str] | Mapping[str, Any] = ()) -> Config:
    """Read a config, and apply overrides.

    Args:
        name: see `find_config`. Fields that are missing in the file come from its `base: OTHER`, a config by name or a
            path relative to the file's folder, if it has one.
        overrides: `KEY=VALUE` as in `--set train.epochs=3`, with values in YAML, but text as it is; or a mapping such
            as `{"train.epochs": 3}`.

    Raises:
        ConfigError: the file or its base is missing or not YAML, a key is unknown (the nearest one is suggested), or a
            value is invalid. The message names the faulty file, even in a chain of bases, or the override.
    """
    path = find_config(name)
    return _overridden(_read(path, ()), overrides, str(path))


def updated_config(config: Config, overrides: Mapping[str, Any]) -> Config:
    """A config with other values in some fields, such as `{"train.epochs": 3}`.

    Raises:
        ConfigError: a key is unknown (the nearest one is suggested), or a value is invalid.
    """
    return _overridden(config.model_dump(), overrides, "config")


def _overridden(content: dict[str, Any], overrides: Iterable[str] | Mapping[str, Any], source: str) -> Config:
    if isinstance(overrides, Mapping):
        set_by = {key: (f"{key}={value!r}", value) for key, value in overrides.items()}
    else:
        set_by = dict(map(_parsed, overrides))
    for key, (set_here, value) in set_by.items():
        _apply(content, key, value, set_here)
    return _validated(content, source, {key: set_here for key, (set_here, _) in set_by.items()})


def save_config(config: Config, path: str | Path) -> None:
    """Write all fields of a config as YAML; `load_config` reads it back unchanged."""
    as_path(path).write_text(yaml.safe_dump(config.model_dump(), sort_keys=False), encoding="utf-8")


def describe_config(config: Config | None = None) -> str:
    """A config as YAML that `load_config` reads, with the help, the type and, where another value is set, the default
    of every field; None: the defaults."""
    lines = []
    for name, field in Config.model_fields.items():
        value = getattr(config or Config(), name)
        if isinstance(value, _Section):
            lines += ["", f"# {value.__doc__}", f"{name}:"]
            for inner, described in type(value).model_fields.items():
                lines += _field_lines(inner, described, getattr(value, inner), indent="  ")
        else:
            lines += _field_lines(name, field, value)
    return "\n".join(lines) + "\n"


def _field_lines(name: str, field: FieldInfo, value: Any, indent: str = "") -> list[str]:
    text = " ".join((field.description or "").split())
    default = "" if value == field.default else f"; default: {_yaml(field.default)}"
    return [
        *textwrap.wrap(text, 100, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "),
        f"{indent}{name}: {_yaml(value)}  # {_type_words(field)}{default}",
    ]


def _yaml(value: object) -> str:
    """A single value in YAML, on one line."""
    return yaml.safe_dump(value, width=float("inf")).removesuffix("\n").removesuffix("\n...")


def _type_words(field: FieldInfo) -> str:
    """The type of a field for people: `integer > 0`, `text or null`, `all | one`."""
    names = {bool: "true | false", int: "integer", float: "number", str: "text", NoneType: "null"}
    symbols = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}

    def words(annotation: Any) -> str:
        if get_origin(annotation) is Literal:
            return " | ".join(get_args(annotation))
        if get_origin(annotation) in (Union, UnionType):
            parts = [words(part) for part in get_args(annotation)]
            return " or ".join(parts) if "null" in parts else " | ".join(parts)
        if get_origin(annotation) is list:
            return f"list of {words(*get_args(annotation))}"
        return names[annotation]

    bounds = [
        f"{symbol} {getattr(bound, name)}"
        for bound in field.metadata
        for name, symbol in symbols.items()
        if hasattr(bound, name)
    ]
    return " ".join([words(field.annotation), ", ".join(bounds)]).rstrip()


def _existing(path: Path, role: str = "") -> Path:
    """The path, if it is that of a file; `role` tells in messages what it is for."""
    if path.is_file():
        return path
    if path.exists():
        kind = "is a folder" if path.is_dir() else "is not a regular file"
        raise ConfigError(f"{path}{role}: {kind}; name a YAML file, or a config that `tfcaption configs` lists")
    names = list(named_configs())
    beside = path.with_name(f"{path.name}.yaml")
    close = difflib.get_close_matches(path.name.removesuffix(".yaml"), names, n=1)
    if beside.is_file():
        hint = f"did you mean {beside}?"
    elif close:
        hint = f"did you mean {close[0]}?"
    elif path.suffix:
        hint = "`tfcaption configs` lists those that come with tfcaption"
    else:
        hint = f"those that come with tfcaption are {', '.join(names)}"
    raise ConfigError(f"{path}{role}: no such config file; {hint}")


def _read(path: Path, read_by: tuple[Path, ...]) -> dict[str, Any]:
    """The content of a config file, merged over its base."""
    if os.path.normpath(path) in map(os.path.normpath, read_by):
        raise ConfigError(f"{path}{_role(read_by)}, is its own base")
    try:
        text = path.read_text(encoding="utf-8")
        content, written = yaml.load(text, _Loader) or {}, yaml.load(text, yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not YAML: {_in_one_line(error)}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold sections such as `train:`, not {type(content).__name__}")
    _take_texts_as_written(content, written)
    # `train:` with nothing under it, as when all its fields are comments, is null in YAML.
    content = {key: {} if value is None and key in _SECTIONS else value for key, value in content.items()}
    if "base" not in content:
        return content
    base = content.pop("base")
    if not isinstance(base, str):
        raise ConfigError(f"{path}: base: must be the name of a config file, not {base!r}")
    read_by = (*read_by, path)
    base_path = named_configs().get(base) or _existing(path.parent / base, _role(read_by))
    merged = _read(base_path, read_by)
    _validated(merged, str(base_path))  # before the merge, so that errors in the base name the base
    for key, value in content.items():
        section = merged.get(key)
        merged[key] = section | value if isinstance(section, dict) and isinstance(value, dict) else value
    return merged


def _take_texts_as_written(content: dict[str, Any], written: Mapping[str, Any]) -> None:
    """Give fields of text what the file says: YAML takes `2024` and `1.0` for numbers, `no` for false.

    Args:
        content: of a file, with values as YAML takes them; changed.
        written: the same with the text of each value, as `yaml.BaseLoader` reads it.
    """
    for key in _TEXTS:
        section, _, name = key.rpartition(".")
        values, texts = (part.get(section) if section else part for part in (content, written))
        if not isinstance(values, dict) or not isinstance(texts, dict) or isinstance(values.get(name), str):
            continue  # a quoted text is taken as it is
        if isinstance(texts.get(name), str):
            values[name] = _text(key, texts[name])


def _text(key: str, written: str) -> str | None:
    """The value of a field of text; None where nothing is written, or null and the field may be null."""
    return None if written in (_NULLS if _TEXTS[key] else ("",)) else written


def _role(read_by: tuple[Path, ...]) -> str:
    return f", the base of {read_by[-1]}" if read_by else ""


def _parsed(override: str) -> tuple[str, tuple[str, Any]]:
    """`KEY=VALUE` -> (KEY, (what messages call it, the value))."""
    key, equals, value = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override}: write KEY=VALUE, as in train.epochs=3")
    try:
        as_written = key in _TEXTS and not value.startswith(("'", '"'))
        return key, (f"--set {override}", _text(key, value) if as_written else yaml.load(value, _Loader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"--set {override}: {_in_one_line(error)}") from error


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _apply(content: dict[str, Any], key: str, value: Any, source: str) -> None:
    *sections, name = key.split(".")
    target = content
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise ConfigError(f"{source}: {section} is a field, not a section")
    target[name] = value


def _validated(content: dict[str, Any], origin: str, set_by: Mapping[str, str] | None = None) -> Config:
    """The config; errors name the override that set the field (`set_by`: key -> what messages call it), or the
    origin of all others."""
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        clauses: dict[str, list[str]] = {}
        for item in error.errors():
            field = ".".join(str(part) for part in item["loc"])
            set_here = [key for key in set_by or () if f"{key}.".startswith(f"{field}.") or field.startswith(f"{key}.")]
            source = (set_by or {})[set_here[-1]] if set_here else origin
            if item["type"] == "extra_forbidden":
                clause = f"unknown key {field}{_nearest(field)}"
            else:
                clause = f"{field}: {item['msg']}, not {item['input']!r}"
            clauses.setdefault(source, []).append(clause)
        raise ConfigError("; ".join(f"{source}: {'; '.join(found)}" for source, found in clauses.items())) from None


def _nearest(key: str) -> str:
    """The field that an unknown key may stand for: the same name in another section, or a similar name."""
    section, _, name = key.rpartition(".")
    fields: dict[str, str] = {}  # name of a field or section -> its key
    for top, field in Config.model_fields.items():
        inner = getattr(field.annotation, "model_fields", {})
        fields |= {top: top} | {inner_name: f"{top}.{inner_name}" for inner_name in inner}
    known = [known for known, known_key in fields.items() if known_key.rpartition(".")[0] == section]
    close = [name] if name in fields else difflib.get_close_matches(name, known if section else fields, n=1, cutoff=0.5)
    return f", did you mean {fields[close[0]]}?" if close else f"; known keys: {', '.join(known)}"


def flat_config(config: Config) -> dict[str, Any]:
    """All fields by the names that `--set` takes: `section.field` -> value."""
    flat: dict[str, Any] = {}
    for key, value in config.model_dump().items():
        flat |= {f"{key}.{name}": field for name, field in value.items()} if isinstance(value, dict) else {key: value}
    return flat
