"""Benchmark of the CIDEr phase: seconds per epoch beside the cross-entropy phase, and where they go."""

import statistics
import time
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfcaption.benchmarks.harness import SECONDS_PER_EPOCH, Row, seconds_of
from tfcaption.config import Config, load_config
from tfcaption.metrics.bleu import ReferenceNgrams, sentence_bleu
from tfcaption.metrics.cider import Cider
from tfcaption.records.reading import read_token_ids
from tfcaption.records.vocabulary import END, PAD
from tfcaption.runs.directory import plan_run
from tfcaption.runtime.errors import UsageError
from tfcaption.training.assemble import Training, assemble

_TRACED = 3  # steps that are not measured


def measure_cider(*, configs: Sequence[str], overrides: Sequence[str], steps: int, repeats: int) -> list[Row]:
    """Seconds per epoch of the CIDEr phase, from a stated number of steps, beside those of the cross-entropy phase.

    Args:
        configs: YAML files of runs with `train.objective=cider`.
        overrides: KEY=VALUE for fields of every config.
        steps: per repeat.
        repeats: measurements of each.

    Raises:
        UsageError: a config has another objective.
    """
    rows: list[Row] = []
    for path in configs:
        config = load_config(path, list(overrides))
        if config.train.objective != "cider":
            raise UsageError(f"{path}: train.objective={config.train.objective}; name a config of the CIDEr phase")
        rows += _rows(config, steps=steps, repeats=repeats)
    return rows


def _rows(config: Config, *, steps: int, repeats: int) -> list[Row]:
    """The rows of one config, each measured in turn within a repeat."""
    config.train.epochs = 10**4  # more batches than any measurement takes
    config.data.cache = False  # a few steps need not read the whole split first
    about = f"{config.model.decoder}, {config.model.variant}"
    phases = {objective: _training(config, objective) for objective in ("cross_entropy", "cider")}
    plain = Row(f"cross-entropy phase, {about}", SECONDS_PER_EPOCH)
    ours = Row(f"CIDEr phase, {about}", SECONDS_PER_EPOCH, plain.name)
    one_by_one = Row(f"rewards of one caption after another, {about}", "captions/s")
    at_once = Row(f"rewards of a batch at once, {about}", "captions/s", one_by_one.name)

    training = phases["cider"]
    objective = training.trainer.objective
    assert objective is not None  # `_training` asked for it
    sample = tf.function(objective, autograph=False)
    iterators = {name: each.train_batches() for name, each in phases.items()}
    batch, seed = _of_one_replica(training, next(iterators["cider"])), tf.constant([0, 0])
    sampled, references = sample(batch, seed)["tokens"].numpy()[..., 1:], batch["tokens"].numpy()
    corpus = _corpus(training)
    for name, each in phases.items():
        each.trainer.train_steps(iterators[name], _TRACED)
    shares = []
    for _ in range(repeats):
        seconds = {}
        for name, row in (("cross_entropy", plain), ("cider", ours)):
            start = time.monotonic()
            sums = phases[name].trainer.train_steps(iterators[name], steps)
            seconds[name] = time.monotonic() - start
            row.values.append(seconds[name] / sum(each.captions for each in sums) * phases[name].training_captions())
        both = seconds_of(lambda: [sample(batch, seed)["weights"].numpy() for _ in range(steps)])
        rewarding = seconds_of(lambda: [objective.advantages(sampled, references) for _ in range(steps)])
        shares.append(((both - rewarding) / seconds["cider"], rewarding / seconds["cider"]))
        count = sampled.shape[0] * sampled.shape[1]
        one_by_one.values.append(
            count / seconds_of(rewards_one_by_one, sampled, references[..., 1:], corpus, config.train.bleu_weight)
        )
        at_once.values.append(count * steps / rewarding)
    share_of_sampling, share_of_rewards = (statistics.median(column) for column in zip(*shares, strict=True))
    ours.note = (
        f" (sampling {share_of_sampling:.0%} of the time, rewards {share_of_rewards:.1%}, the rest is the update; "
        f"{steps} steps of {sampled.shape[0]} photos, {sampled.shape[1]} captions each)"
    )
    keras.backend.clear_session()
    return [plain, ours, one_by_one, at_once]


def _training(config: Config, objective: str) -> Training:
    """The training of one phase; both start from the same weights."""
    train = config.train.model_copy(update={"objective": objective})
    return assemble(plan_run(config.model_copy(update={"train": train}, deep=True)))


def _of_one_replica(training: Training, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The part of a global batch that one replica has."""
    return {key: training.strategy.experimental_local_results(value)[0] for key, value in batch.items()}


def _corpus(training: Training) -> Cider:
    """CIDEr-D's document frequencies, from the training captions."""
    photos = read_token_ids(training.train_split.files, training.skipper)
    return Cider([ids[1:] for ids in captions] for captions in photos)


def rewards_one_by_one(sampled: np.ndarray, references: np.ndarray, cider: Cider, bleu_weight: float) -> np.ndarray:
    """What `training.rewards.CaptionRewards` computes, one caption after another, by the functions of evaluation.

    Args:
        sampled: (photos, samples, time) token ids without <start>.
        references: (photos, captions, time) token ids without <start>; captions of padding do not count.
        cider: with the document frequencies of the training captions.
        bleu_weight: of BLEU.

    Returns:
        (photos, samples) float64.
    """
    rewards = np.zeros(sampled.shape[:2])
    for photo, captions in enumerate(references):
        real = [tokens_to_end(tokens) for tokens in captions if tokens.any()]
        if not real:
            continue
        weighted, ngrams = list(map(cider.tf_idf, real)), ReferenceNgrams.of(real)
        for index, tokens in enumerate(map(tokens_to_end, sampled[photo])):
            rewards[photo, index] = cider.score(cider.tf_idf(tokens), weighted)
            rewards[photo, index] += bleu_weight * sentence_bleu(tokens, ngrams)
    return rewards


def tokens_to_end(tokens: np.ndarray) -> list[int]:
    """The tokens up to and with <end>, without padding."""
    ids = [token for token in tokens.tolist() if token != PAD]
    return ids[: ids.index(END) + 1] if END in ids else ids
