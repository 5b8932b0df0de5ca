"""The run directory: created, checked, loaded.

It holds `config.yaml`, `vocabulary.txt`, `dataset.json` and, with SentencePiece, `tokenizer.model` (copies of those of
the records), `encoder.weights.h5` or `encoder/` (the encoder with its initial weights, see `runs.encoders`),
`checkpoints/last/` and `checkpoints/best/` (only trained weights), `metrics.jsonl` (a line per epoch), `steps.jsonl` (a
line per step), `about.json` (machine, versions, command), `tensorboard/`, and `eval-SPLIT/` of each evaluation.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tfcaption.backbones.families import encoder_name, is_file
from tfcaption.config import DEFAULT_ENCODER, Config, ConfigError, ModelConfig, flat_config, load_config, save_config
from tfcaption.records.dataset import Dataset
from tfcaption.records.dataset_info import (
    DATASET_FILE,
    DatasetInfo,
    FeaturesInfo,
    load_dataset_info,
    load_features_info,
)
from tfcaption.records.examples import Stage
from tfcaption.records.folder_kinds import RUN_FILE, describe_folder
from tfcaption.records.tfrecord import RecordError
from tfcaption.records.vocabulary import MODEL_FILE, SPECIAL_TOKENS, VOCABULARY_FILE, Vocabulary, load_vocabulary
from tfcaption.runs.encoder_choice import (
    check_encoder,
    check_imported,
    check_tuned_encoder,
    default_input,
    encoder_text,
    resolve_encoder,
)
from tfcaption.runtime.errors import TfcaptionError
from tfcaption.runtime.folder_lock import LOCK_FILE, locked
from tfcaption.runtime.hosts import Host
from tfcaption.runtime.paths import as_path, atomic_path, copy_file

CONFIG_FILE = RUN_FILE
CHECKPOINTS = "checkpoints"
ENCODER_FILE = "encoder.weights.h5"
ENCODER_FOLDER = "encoder"


class RunError(TfcaptionError, ValueError):
    """A run directory that cannot be used; the message names it and the fix."""


def trainable_stages(model: ModelConfig) -> tuple[Stage, ...]:
    """The feature stages that a model can train from, the cheapest first."""
    if model.variant == "finetuned":
        return ("trunk",)
    if model.imports_features:
        return ("pooled", "map") if model.decoder == "gru" else ("map",)
    return ("pooled", "map", "trunk") if model.decoder == "gru" else ("map", "trunk")


@dataclass(frozen=True)
class Run:
    """A run directory: its config, and the data set it trains on."""

    path: Path
    config: Config
    info: DatasetInfo
    vocabulary: Vocabulary
    features: FeaturesInfo | None = None  # that it trains from

    @property
    def dataset(self) -> Dataset:
        """The shards that it trains from."""
        data = self.config.data
        features = as_path(data.features) if self.features and data.features else None
        return Dataset(self.info, self.vocabulary, as_path(data.records), features, self.features)


def plan_run(config: Config, hosts: int = 1) -> Run:
    """The run that a config describes; checks its data and writes nothing.

    Args:
        config: the run.
        hosts: how many train it together.

    Raises:
        ConfigError: `data.augment` is set for stored features, the batch cannot be split over the hosts, or the encoder
            cannot be used.
        RecordError: the records or features are missing or incomplete, have no training photo, no dev photo or no
            word, do not fit the config, or have too few shards for the hosts.
    """
    data = config.data
    if data.features is not None and data.augment != "none":
        raise ConfigError(
            f"data.augment={data.augment} is for photos, but data.features={data.features} holds stored features; set "
            "data.augment=none, and store several views of each training photo: python -m beam_jobs.extract_features "
            "--views 3 ..."
        )
    records = as_path(data.records)
    info = load_dataset_info(records)
    vocabulary = load_vocabulary(records, info.settings.tokenizer)
    for split in ("train", "dev"):
        info.split(split, records)
    if len(vocabulary.words) <= len(SPECIAL_TOKENS):
        raise RecordError(
            f"{records}: the vocabulary has no words, so nothing can be learned; build the records again with a lower "
            "--min_count"
        )
    path = as_path(config.run)
    features = load_features_info(as_path(config.data.features)) if config.data.features else None
    config = config.model_copy(update={"model": resolve_encoder(config.model, features, _model_before(config))})
    check_imported(config)
    if features is not None:
        _check_features(config, info, features)
    if not _has_started(path):
        _check_encoder(config.model, info.settings.image_size)
    run = Run(path, config, info, vocabulary, features)
    if data.batch_size_photos % hosts:
        raise ConfigError(
            f"data.batch_size_photos={data.batch_size_photos} cannot be split evenly over {hosts} hosts; set a "
            f"multiple of {hosts}"
        )
    run.dataset.shares("train", hosts)
    return run


def _model_before(config: Config) -> ModelConfig | None:
    """The model that a run goes on with: its own once it has begun; without features that of `train.start_from`."""
    path, start = as_path(config.run), config.train.start_from
    if _has_started(path):
        return load_run(path).config.model
    if config.data.features is not None or not start or not is_run(start):
        return None
    model = load_run(start).config.model
    same = config.model.encoder is None or config.model.encoder_names == model.encoder_names
    return model.model_copy(update={"weights": start}) if same else None


def _check_encoder(model: ModelConfig, image_size: int) -> None:
    if model.weights and is_run(model.weights):
        tuned = load_run(model.weights)
        tuned_size = tuned.info.settings.image_size
        check_tuned_encoder(model, tuned.config.model, image_size=image_size, tuned_size=tuned_size)
    else:
        check_encoder(model, image_size)


def _has_started(path: Path) -> bool:
    """Whether a run has made its first step; one that has not may get another config."""
    return is_run(path) and has_encoder(path)


def is_run(path: str | Path) -> bool:
    """Whether a path is that of a run directory."""
    return (as_path(path) / CONFIG_FILE).is_file()


def has_encoder(run: Path) -> bool:
    """Whether a run has its own copy of the encoder."""
    return (run / ENCODER_FILE).is_file() or (run / ENCODER_FOLDER).is_dir()


@contextmanager
def open_run(config: Config, host: Host = Host()) -> Iterator[Run]:  # noqa: B008 (frozen)
    """Create the run directory, or open it to be resumed; within the block no other process may train the run.

    Args:
        config: the run.
        host: only the first of several hosts writes.

    Raises:
        FolderInUse: another process trains this run.
        RunError: the directory holds a run that started with another config or other records. These may change: the
            data folders, `data.damaged`, `train.early_stopping_epochs`, `train.checkpoint_minutes`,
            `train.shown_photos`, and `train.epochs` under a constant schedule.
        ConfigError, RecordError: as `plan_run` raises them.
    """
    if not host.writes:
        yield plan_run(config, host.count)
        return
    with locked(config.run):
        yield _create(plan_run(config, host.count))


def _create(run: Run) -> Run:
    path, source = run.path, as_path(run.config.data.records)
    exists = (path / CONFIG_FILE).is_file()
    if _has_started(path):
        _check_same(load_run(path), run.config, run.info)
    elif not exists and path.exists() and (not path.is_dir() or any(p.name != LOCK_FILE for p in path.iterdir())):
        raise RunError(
            f"{path}: exists, is not empty and is not a run directory; choose another one with --set run=DIR"
        )
    else:
        path.mkdir(parents=True, exist_ok=True)
        for name in (VOCABULARY_FILE, DATASET_FILE, *([MODEL_FILE] if run.vocabulary.model else [])):
            copy_file(source / name, path / name)
    with atomic_path(path / CONFIG_FILE) as temporary:
        save_config(run.config, temporary)
    return run


def load_features(config: Config, info: DatasetInfo) -> FeaturesInfo | None:
    """`features.json` of the features that a config names; None where it names none.

    Raises:
        RecordError: the features are missing, incomplete, of a stage that the model cannot train from, or made from
            other records than the config names.
    """
    if config.data.features is None:
        return None
    features = load_features_info(as_path(config.data.features))
    _check_features(config, info, features)
    return features


def _check_features(config: Config, info: DatasetInfo, features: FeaturesInfo) -> None:
    """Refuse features that a config cannot train from."""
    stage, stages = features.settings.stage, trainable_stages(config.model)
    named = not all(map(is_file, (*features.encoder, *config.model.encoders)))  # files are told apart by fingerprints
    if features.encoder_names != config.model.encoder_names and named:
        raise RecordError(
            f"data.features={config.data.features}: made with the encoder {' and '.join(features.encoder)}, but "
            f"model.encoder={encoder_text(config.model)}; leave model.encoder out, or name other features"
        )
    _check_input(config, features)
    again = f"python -m beam_jobs.extract_features --records {config.data.records} --stage {stages[0]} ..."
    if stage not in stages:
        raise RecordError(
            f"data.features={config.data.features}: stage is {stage}, but model.variant={config.model.variant} with "
            f"model.decoder={config.model.decoder} trains from {' or '.join(stages)}; extract them with {again}"
        )
    layer, layers = config.model.finetune_from, features.settings.layers
    if stage == "trunk" and layer and layers != [layer]:
        raise RecordError(
            f"data.features={config.data.features}: holds the layer {' and '.join(layers)}, but "
            f"model.finetune_from={layer}; leave it out, or extract them again with --finetune_from {layer}"
        )
    if features.settings.records != info.fingerprint():
        raise RecordError(
            f"data.features={config.data.features}: made from other records than data.records={config.data.records}; "
            f"extract them again with {again}"
        )


def _check_input(config: Config, features: FeaturesInfo) -> None:
    """Refuse features of pixels that the encoder of a config does not take."""
    settings = config.model.encoder_settings
    for name, used in zip(settings.encoders, features.encoder_input, strict=False):
        stated = settings.input_of(name) or default_input(name)
        if stated and stated != used and not config.model.imports_features:
            raise RecordError(
                f"data.features={config.data.features}: made with --encoder_input {used}, but {encoder_name(name)} "
                f"takes {stated} here; set model.encoder_input={used}, or extract the features again"
            )


def check_weights(run: Run, fingerprint: str) -> None:
    """Refuse features that were extracted with another encoder or other weights of it.

    Args:
        run: the run to train.
        fingerprint: of the run's encoder up to the features' stage.

    Raises:
        RecordError: the features have another fingerprint.
    """
    if run.features and run.features.settings.weights != fingerprint:
        if run.config.model.imports_features:
            raise RecordError(
                f"data.features={run.config.data.features}: other values than {run.path} began with; name those "
                "features, or another run directory with --set run=DIR"
            )
        weights, made_with = run.config.model.weights, run.features.weights
        known = made_with and made_with != weights
        if weights is None:
            raise RecordError(
                f"data.features={run.config.data.features}: made with another file than "
                f"model.encoder={encoder_text(run.config.model)}; extract the features again with it"
            )
        raise RecordError(
            f"data.features={run.config.data.features}: made with other weights{f' ({made_with})' if known else ''} "
            f"than model.weights={weights}; set model.weights to {made_with if known else 'those'}, or extract the "
            f"features again with --weights {weights}"
        )


def load_run(path: str | Path) -> Run:
    """Read a run directory.

    Raises:
        RunError: it is not one.
    """
    path = as_path(path)
    if not (path / CONFIG_FILE).is_file():
        raise RunError(f"{path}: is {describe_folder(path)}, not a run directory; train one with tfcaption.train")
    config = load_config(path / CONFIG_FILE)
    if config.model.encoder is None:  # runs of earlier versions, which knew no other
        config.model.encoder = DEFAULT_ENCODER
    info = load_dataset_info(path)
    return Run(path, config, info, load_vocabulary(path, info.settings.tokenizer))


def load_run_dataset(run: Run, records: Path | None = None) -> Dataset:
    """The data set that a run was trained on, as its config names it, or records that have moved.

    Args:
        run: as `load_run` returns it.
        records: where the records are now; photos then go through the encoder instead of stored features, unless these
            were made elsewhere.

    Raises:
        RunError: these are other records than the run was trained on.
        RecordError: the records or features are missing, incomplete, or do not fit the config.
    """
    config = run.config.model_copy(deep=True)
    if records is not None:
        config.data.records = str(records)
        if not config.model.imports_features:
            config.data.features = None
    if load_dataset_info(as_path(config.data.records)) != run.info:
        raise RunError(f"{config.data.records}: other records than {run.path} was trained on")
    return replace(run, config=config, features=load_features(config, run.info)).dataset


def _check_same(run: Run, config: Config, info: DatasetInfo) -> None:
    old, new = flat_config(run.config), flat_config(config)
    free = {"run", "data.records", "data.features", "data.damaged"}
    free |= {"train.early_stopping_epochs", "train.checkpoint_minutes", "train.shown_photos"}
    if config.train.schedule == "constant":  # otherwise the number of epochs decides every learning rate
        free.add("train.epochs")
    changed = [f"{key} was {old[key]}, is {new[key]}" for key in old if key not in free and old[key] != new[key]]
    if changed and all(change.startswith("train.epochs ") for change in changed):
        raise RunError(
            f"{run.path}: {changed[0]}, but with train.schedule={config.train.schedule} the number of epochs sets the "
            "learning rate of every step, so a run cannot be made longer; train on from its best weights in another "
            f"directory: --set run=DIR train.start_from={run.path}"
        )
    if changed:
        raise RunError(
            f"{run.path}: holds a run with another config ({'; '.join(changed)}); "
            "choose another directory with --set run=DIR, or remove this one"
        )
    if run.info != info:
        raise RunError(
            f"{run.path}: trained on other records than {config.data.records}; "
            "choose another directory with --set run=DIR, or remove this one"
        )
