"""Builds all that a training run needs: strategy, splits, captioner, trainer.

Writes nothing, and prints nothing but damaged records that are skipped (`data.damaged`) while references are read.
"""

from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
import tensorflow as tf

from tfcaption.backbones.building import building
from tfcaption.backbones.errors import EncoderError
from tfcaption.config import ModelConfig, flat_config
from tfcaption.input_pipeline.batches import make_batches
from tfcaption.input_pipeline.options import NO_CACHE, BatchOptions, CachePolicy
from tfcaption.input_pipeline.split import Split, batches_per_epoch, open_split
from tfcaption.models.captioner import Captioner
from tfcaption.models.token_layout import uses_packed_tokens
from tfcaption.preprocessing.word_vectors import embedding_matrix
from tfcaption.records.reading import DamagedRecordSkipper, read_token_ids
from tfcaption.runs.checkpoints import open_run_encoder, restore
from tfcaption.runs.directory import Run, RunError, check_weights, load_run
from tfcaption.runtime.hosts import Host
from tfcaption.runtime.paths import as_path
from tfcaption.training.distribution import distributed_batches, host_batch_size, make_strategy
from tfcaption.training.exchange import Exchange
from tfcaption.training.precision import ComputeMode, resolve_mode
from tfcaption.training.self_critical import SelfCritical
from tfcaption.training.step import Batches, Trainer


@dataclass(frozen=True)
class Training:
    """What a training run is made of."""

    run: Run
    host: Host
    strategy: tf.distribute.Strategy
    train_split: Split
    dev_split: Split
    trainer: Trainer
    exchange: Exchange  # between the hosts
    skipper: DamagedRecordSkipper | None  # of damaged records; None: they are errors
    notes: list[str] = field(default_factory=list)  # for the console

    @property
    def batch_options(self) -> BatchOptions:
        """Batches of this host in training: shuffled, for all epochs."""
        data, train = self.run.config.data, self.run.config.train
        return BatchOptions(
            batch_size_photos=self.batch_size(self.train_split),
            captions=data.captions,
            shuffle_seed=train.seed,
            shuffle_buffer_photos=data.shuffle_buffer_photos,
            deterministic=data.deterministic,
            epochs=train.epochs,
            augment_seed=None if data.augment == "none" else train.seed,
        )

    def train_batches(self, position: int = 0) -> Batches:
        """The training batches from a position on, over all epochs."""
        return self._distributed(self.train_split, self.batch_options, position)

    def dev_batches(self) -> Batches:
        """The batches of the dev split, as often as there are epochs."""
        options = BatchOptions(self.batch_size(self.dev_split), epochs=self.run.config.train.epochs)
        return self._distributed(self.dev_split, options, 0)

    def _distributed(self, split: Split, options: BatchOptions, position: int) -> Batches:
        return distributed_batches(make_batches(split, options, position=position), self.strategy, self.host)

    def batches_per_epoch(self, split: Split) -> int:
        """Batches of one epoch of a split, including those that only fill it up."""
        return batches_per_epoch(split, self.batch_size(split))

    def batch_size(self, split: Split) -> int:
        """Photos of this host in each batch of a split."""
        return host_batch_size(split, self.run.config, self.strategy, self.host)

    def training_captions(self) -> int:
        """Captions of one epoch."""
        config, split = self.run.config, self.run.info.split("train")
        if config.train.objective == "cider":
            return split.photos * config.train.drawn_captions
        return split.photos if config.data.captions == "one" else split.captions


def assemble(run: Run, host: Host = Host()) -> Training:  # noqa: B008 (frozen)
    """Build everything that training needs; changes nothing that belongs to the whole process.

    Args:
        run: as `open_run` or `plan_run` returns it.
        host: this machine's place among those that train.

    Raises:
        ConfigError: the config cannot be trained on these devices or hosts.
        RecordError: shards are missing, or features were extracted with other weights.
        EncoderError, GloveError: weights or word vectors cannot be loaded.
        RunError: `train.start_from` has no checkpoint or another model.
        UsageError: another host has another config, other data, or other means.
    """
    config = run.config
    strategy = make_strategy(config, host)
    exchange = Exchange(strategy, host)
    mode = resolve_mode(config.train)
    exchange.check_equal(_facts(run, mode), "start all hosts with the same command, version, data and kind of device")
    skipper = DamagedRecordSkipper() if config.data.damaged == "skip" else None
    train_split, dev_split = (open_training_split(name, run, mode, host, skipper) for name in ("train", "dev"))
    with strategy.scope(), building(mode.precision, seed=config.train.seed):
        captioner, notes = new_captioner(run, compiled=mode.xla)
        if config.train.start_from:
            notes += filter(None, [restore(captioner, _start(config.train.start_from), run.vocabulary, config.model)])
        check_weights(run, captioner.encoder.fingerprint(train_split.stage))
        size = host_batch_size(train_split, config, strategy, host)
        if size * host.count < config.data.batch_size_photos:
            notes.append(
                f"data.batch_size_photos={config.data.batch_size_photos} is more than the training split has; "
                f"each batch has {size * host.count} photos"
            )
        steps = batches_per_epoch(train_split, size)
        trainer = Trainer(
            captioner,
            strategy,
            config.train,
            mode,
            stage=train_split.stage,
            total_steps=config.train.epochs * -(-steps // config.train.accumulate_steps),
            objective=_objective(run, captioner, mode, skipper),
        )
    return Training(run, host, strategy, train_split, dev_split, trainer, exchange, skipper, notes)


def _facts(run: Run, mode: ComputeMode) -> dict[str, Any]:
    """What must be equal on all hosts, and may lie in another folder on each."""
    folders = ("run", "data.records", "data.features")
    return {
        **{name: value for name, value in flat_config(run.config).items() if name not in folders},
        "data.records (fingerprint)": run.info.fingerprint(),
        "data.features (settings)": run.features and run.features.settings.model_dump(mode="json"),
        "precision": mode.precision,
        "XLA": mode.xla,
        "the version of tfcaption": version("tfcaption"),
    }


def _start(path: str) -> Run:
    try:
        return load_run(path)
    except RunError as error:
        raise RunError(f"train.start_from={error}") from error


def open_training_split(
    name: str, run: Run, mode: ComputeMode, host: Host, skipper: DamagedRecordSkipper | None
) -> Split:
    """This host's share of a split, as the config asks for it."""
    data = run.config.data
    return open_split(
        name,
        run.dataset,
        buckets=_buckets(run, mode),
        cache=CachePolicy(data.cache, data.cache_limit_mb),
        by_photo=run.config.train.objective == "cider",
        further_views=True,
        skipper=skipper,
        host=host,
    )


def open_split_once(
    name: str,
    run: Run,
    mode: ComputeMode,
    skipper: DamagedRecordSkipper | None,
    host: Host = Host(),  # noqa: B008 (frozen)
) -> Split:
    """A host's share of a split, or all of it, a row a photo, to be read once."""
    buckets = _buckets(run, mode)
    return open_split(name, run.dataset, buckets=buckets, cache=NO_CACHE, by_photo=True, skipper=skipper, host=host)


def _buckets(run: Run, mode: ComputeMode) -> int:
    """Number of padded lengths: packed tokens need no buckets."""
    return 1 if uses_packed_tokens(mode.xla) else run.config.data.length_buckets


def new_captioner(run: Run, *, compiled: bool) -> tuple[Captioner, list[str]]:
    """The captioner that a run starts with, and notes for the console on where its weights come from."""
    model, seed, notes = run.config.model, run.config.train.seed, []
    if model.glove:
        glove, counts = as_path(model.glove), run.info.word_counts
        embedding, coverage = embedding_matrix(run.vocabulary, glove, word_counts=counts, seed=seed)
        notes.append(str(coverage))
        default, units = ModelConfig.model_fields["embedding_units"].default, embedding.shape[1]
        if model.embedding_units not in (default, units):
            notes.append(
                f"model.embedding_units={model.embedding_units} is not used: the word vectors of model.glove have "
                f"{units} units"
            )
    else:
        shape = (len(run.vocabulary.words), model.embedding_units)
        embedding = np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)
    if model.finetune_from and model.variant == "frozen" and run.config.data.features is None:
        notes.append(
            f"model.finetune_from={model.finetune_from} is not used: model.variant=frozen trains no layer of an encoder"
        )
    if model.weights == "random":
        notes.append("the encoder has random weights: good for trying all steps, not for real photos")
    try:
        encoder = open_run_encoder(run)
    except EncoderError as error:
        raise EncoderError(f"model.{error.option}={error}") from error
    captioner = Captioner(
        model, encoder=encoder, embedding=embedding, max_tokens=run.info.max_length, compiled=compiled
    )
    return captioner, notes


def _objective(
    run: Run, captioner: Captioner, mode: ComputeMode, skipper: DamagedRecordSkipper | None
) -> SelfCritical | None:
    """Self-critical training, if the config asks for it; reads the training captions for document frequencies."""
    train = run.config.train
    if train.objective != "cider":
        return None
    split = open_split_once("train", run, mode, skipper)
    photos = read_token_ids(split.files, skipper)
    return SelfCritical(
        captioner,
        split.stage,
        ([ids[1:] for ids in captions] for captions in photos),
        samples=train.drawn_captions,
        bleu_weight=train.bleu_weight,
        max_tokens=run.info.max_length - 1,
        compiled=mode.xla,
    )
