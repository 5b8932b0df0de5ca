"""Gradients of several batches before each update."""

from contextlib import contextmanager

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import captioner
from tests.support.runs import config, figures, step_losses, train
from tests.support.trainers import PLAIN, STAGES, batch_of, changed, steps, trainer, weights
from tfcaption.config import TrainConfig, updated_config
from tfcaption.input_pipeline.batches import make_batches
from tfcaption.runs.directory import open_run
from tfcaption.runtime.errors import Preempted, TrainingFailed
from tfcaption.runtime.paths import local_mirror
from tfcaption.runtime.process import StopRequest
from tfcaption.training.assemble import assemble
from tfcaption.training.logs import Logs
from tfcaption.training.loop import train as train_loop
from tfcaption.training.precision import ComputeMode
from tfcaption.training.state import TrainingState
from tfcaption.training.step import Trainer


def in_parts(batch, count):
    """The photos of a batch in several batches of equal size, without end."""
    return iter(tf.data.Dataset.from_tensors(batch).unbatch().batch(6 // count).repeat())


def trained_values(subject):
    return [variable.numpy() for variable in subject.variables]


def assert_close(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("weighted", [False, True], ids=["cross_entropy", "cider"])
@pytest.mark.parametrize("variant", ["frozen", pytest.param("finetuned", marks=pytest.mark.slow)])
def test_several_batches_give_the_updates_of_one_batch_of_all_their_photos(variant, weighted, shared_trainer):
    """The parts have different numbers of tokens, so a mean of their means would differ; the norm is clipped."""
    batch = batch_of(variant)
    tokens_of_parts = np.count_nonzero(batch["tokens"].numpy()[:, :, 1:].reshape(3, -1), axis=1)
    assert len(set(tokens_of_parts)) > 1
    if weighted:
        batch["weights"] = tf.constant(np.random.default_rng(0).normal(size=(6, 2)), tf.float32)
    found = []
    for parts in (1, 3):
        subject = shared_trainer(variant, accumulate_steps=parts, gradient_clip_norm=0.1)
        before = trained_values(subject)
        sums = subject.train_steps(in_parts(batch, parts), 3 * parts)
        assert (int(subject.step), int(subject.position)) == (3, 3 * parts)
        assert all((old != new).any() for old, new in zip(before, trained_values(subject), strict=True))
        found.append((sums, trained_values(subject)))
    (whole, of_whole), (accumulated, of_accumulated) = found
    np.testing.assert_allclose(accumulated, whole, rtol=1e-5)
    assert_close(of_accumulated, of_whole, 1e-5)


def test_the_last_step_takes_the_batches_that_are_left(shared_trainer):
    batch = batch_of("frozen")
    subject = shared_trainer(accumulate_steps=4)
    sums = subject.train_steps(in_parts(batch, 3), 6)
    tokens = np.count_nonzero(batch["tokens"].numpy()[:, :, 1:], axis=(1, 2)).reshape(3, 2).sum(1)
    assert [each.tokens for each in sums] == [tokens.sum() + tokens[0], tokens[1:].sum()]
    assert (int(subject.step), int(subject.position)) == (2, 6)


def test_batches_without_tokens_add_nothing_and_are_no_step_by_themselves(shared_trainer):
    batch = batch_of("frozen")
    empty = {**batch, "tokens": tf.zeros_like(batch["tokens"])}
    parts = [batch, empty, empty, empty]
    data = tf.data.Dataset.from_tensor_slices({key: tf.stack([part[key] for part in parts]) for key in batch})
    subject = shared_trainer(accumulate_steps=2)
    sums = subject.train_steps(iter(data), len(parts))
    alone = shared_trainer()
    (expected,) = steps(alone, batch)
    assert [each.tokens for each in sums] == [expected.tokens, 0] and all(each.finite for each in sums)
    assert (int(subject.step), int(subject.position)) == (1, 4)
    assert_close(trained_values(subject), trained_values(alone), 1e-6)


def test_each_batch_of_a_step_has_a_dropout_of_its_own():
    batch = batch_of("frozen")
    (alone,) = steps(trainer(model_options={"dropout": 0.5}), batch)
    (twice,) = steps(trainer(model_options={"dropout": 0.5}, accumulate_steps=2), batch, 2)
    assert twice.tokens == 2 * alone.tokens
    assert twice.loss - alone.loss != pytest.approx(alone.loss, rel=1e-4)


def test_captions_of_each_batch_are_sampled_with_another_seed_and_trained_with_it():
    seeds = []

    def objective(batch, seed, *, dropout_seed, part):
        """Trains on the batch itself and notes the seed, which is that of dropout on the first replica."""
        tf.numpy_function(lambda value: seeds.append(tuple(value.tolist())), [seed], ())
        return batch

    settings = TrainConfig(accumulate_steps=2, seed=3)
    model = captioner(encoder_weights=None)
    subject = Trainer(model, tf.distribute.get_strategy(), settings, PLAIN, stage=STAGES["frozen"], objective=objective)
    gradient_seeds = []
    gradients = subject._compiled_gradients

    def noted(inputs, tokens, weights, seed, scale):
        tf.numpy_function(lambda value: gradient_seeds.append(tuple(value.tolist())), [seed], ())
        return gradients(inputs, tokens, weights, seed, scale)

    subject._compiled_gradients = noted
    steps(subject, batch_of("frozen"), 4)
    assert len(set(seeds)) == 4 and [step for _, step in seeds] == [0, 0, 1, 1]
    assert gradient_seeds == seeds


@pytest.mark.parametrize("bad", [0, 1])
def test_a_step_with_a_batch_that_is_not_finite_changes_nothing_and_ends_the_call(bad, shared_trainer):
    batch = batch_of("frozen")
    batch["weights"] = tf.ones((6, 2))
    broken = {**batch, "weights": batch["weights"] * np.inf}
    pair = [batch, broken] if bad else [broken, batch]
    data = tf.data.Dataset.from_tensor_slices({key: tf.stack([b[key] for b in pair]) for key in batch}).repeat()
    subject = shared_trainer(accumulate_steps=2)
    before = weights(subject.captioner)
    assert [each.finite for each in subject.train_steps(iter(data), 6)] == [False]
    assert changed(before, weights(subject.captioner)) == set() and int(subject.step) == 0


def test_float16_batches_give_finite_sums_where_gradients_of_summed_losses_overflow():
    """With a loss scale near the largest float16 only gradients of means are finite; one overflow skips one step."""
    batch = batch_of("frozen")
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        mode = ComputeMode("mixed_float16", False)
        subject = trainer(mode=mode, model_options={"dropout": 0.0}, accumulate_steps=64)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    before = weights(subject.captioner)
    scale = float(subject.loss_scale.value)
    steps(subject, batch, 64)
    assert changed(before, weights(subject.captioner)) and float(subject.loss_scale.value) == scale
    assert int(subject.loss_scale.good_steps) == 1
    subject.loss_scale.value.assign(3e38)
    before = weights(subject.captioner)
    steps(subject, {**batch, "inputs": batch["inputs"] * 100}, 64)
    assert changed(before, weights(subject.captioner)) == set()
    assert float(subject.loss_scale.value) == pytest.approx(1.5e38, rel=1e-3)


def settings_of(run, sample_records, small_pooled, **options):
    return updated_config(
        config(run, sample_records, 2, small_pooled, dropout=0.3),
        {"data.batch_size_photos": 4, "train.accumulate_steps": 3, "train.schedule": "cosine"} | options,
    )


@contextmanager
def opened(settings):
    with open_run(settings) as run, local_mirror(run.path) as directory:
        training = assemble(run)
        state = TrainingState(training.trainer, run.config.train, directory)
        yield training, state, Logs(directory.folder, training, state)


def last_checkpoint(run):
    """All that the last checkpoint holds: weights, optimizers, step, position, sums of the epoch."""
    reader = tf.train.load_checkpoint(str(run / "checkpoints" / "last"))
    names = [name for name in reader.get_variable_to_shape_map() if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    return {name: reader.get_tensor(name) for name in names if "save_counter" not in name}


def test_a_run_stopped_within_an_epoch_resumes_to_the_same_weights(sample_records, small_pooled, tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    train(settings_of(whole, sample_records, small_pooled))
    settings = settings_of(resumed, sample_records, small_pooled)
    stop = StopRequest()
    stop.requested = True
    with opened(settings) as (training, state, logs):
        with pytest.raises(Preempted, match="after step 1$"):
            train_loop(training, state, logs, stop)
        assert state.position == 3
        batches = training.batches_per_epoch(training.train_split)
        photos = training.run.info.split("train").photos
    train(settings)
    lines = step_losses(whole)
    assert step_losses(resumed) == lines
    assert figures(resumed) == figures(whole)
    of_whole, of_resumed = last_checkpoint(whole), last_checkpoint(resumed)
    assert len(of_whole) > 20 and changed(of_whole, of_resumed) == set()
    assert [sum(line["epoch"] == epoch for line in lines) for epoch in (1, 2)] == [-(-photos // (4 * 3))] * 2
    # Half a cosine over all updates, with those of batches that only fill up an epoch.
    total = 2 * -(-batches // 3)
    expected = [3e-3 * (1 + np.cos(np.pi * step / total)) / 2 for step in range(len(lines))]
    np.testing.assert_allclose([line["learning_rate"] for line in lines], expected, rtol=1e-5)


def test_a_loss_that_is_no_number_names_the_photos_of_all_batches_of_the_step(sample_records, small_pooled, tmp_path):
    explosive = {"train.learning_rate": 1e30, "train.gradient_clip_norm": 1e30, "train.schedule": "constant"}
    with opened(settings_of(tmp_path / "run", sample_records, small_pooled, **explosive)) as (training, state, logs):
        with pytest.raises(TrainingFailed, match=r"not a number in step 2 ") as failure:
            train_loop(training, state, logs, StopRequest())
        batches = make_batches(training.train_split, training.batch_options, position=3).take(3)
        expected = {photo.decode() for batch in batches for photo in batch["photo_id"].numpy() if photo}
    assert len(expected) >= 12
    assert set(str(failure.value).partition("(photos: ")[2].partition(")")[0].split(", ")) == expected
