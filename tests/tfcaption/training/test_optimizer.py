"""Clipping, schedules, weight decay, averaged weights."""

import numpy as np
import pytest

from tests.support.trainers import EMA_DECAY, LEARNING_RATE, batch_of, steps, trainer, weights
from tfcaption.config import TrainConfig
from tfcaption.training.optimizer import learning_rate_schedule


def test_gradients_are_clipped_by_their_global_norm_before_adam(shared_trainer):
    """Adam's first moment after one step is a tenth of the gradient, so its norm tells the clipped one."""
    batch = batch_of("finetuned")
    batch["inputs"] *= 100  # for gradients over the limit
    subject = shared_trainer("finetuned")
    steps(subject, batch)
    moments = [v.numpy() for o in subject.optimizers.all for v in o.variables if "momentum" in v.path]
    clip_norm = TrainConfig().gradient_clip_norm
    assert np.sqrt(sum((m**2).sum() for m in moments)) == pytest.approx(0.1 * clip_norm, rel=1e-3)


def test_schedules_warm_up_stay_or_fall_as_half_a_cosine():
    def rates(total=20, **options):
        schedule = learning_rate_schedule(TrainConfig(**options), 0.5, total)
        return [float(schedule(step)) for step in range(total + 1)]

    assert learning_rate_schedule(TrainConfig(), 0.5, 20) == 0.5
    warm = rates(warm_up_steps=4)
    np.testing.assert_allclose(warm[:6], [0, 0.125, 0.25, 0.375, 0.5, 0.5], rtol=1e-6)
    cosine = rates(schedule="cosine", warm_up_steps=4)
    expected = [0.5 * (1 + np.cos(np.pi * step / 16)) / 2 for step in range(17)]
    np.testing.assert_allclose(cosine, [0, 0.125, 0.25, 0.375, *expected], atol=1e-6)


def test_weight_decay_shrinks_all_but_biases_and_normalisations(shared_trainer):
    batch = batch_of("frozen")
    decayed = trainer(model_options={"dropout": 0.0}, weight_decay=0.5, learning_rate=LEARNING_RATE)
    plain = shared_trainer("frozen")
    before = weights(decayed.captioner.decoder)
    for subject in (decayed, plain):
        steps(subject, batch)
    after, reference = weights(decayed.captioner.decoder), weights(plain.captioner.decoder)
    for path, value in after.items():
        if "seed_generator" in path:
            continue
        spared = any(name in path for name in ("bias", "gamma", "beta"))
        expected = reference[path] - (0 if spared else LEARNING_RATE * 0.5 * before[path])
        np.testing.assert_allclose(value, expected, atol=1e-6, err_msg=path)


def test_averaged_weights_are_the_exponential_moving_average_and_only_borrowed(shared_trainer):
    batch = batch_of("finetuned")
    subject = shared_trainer("finetuned")
    average = None
    for _ in range(4):
        steps(subject, batch)
        now = [v.numpy() for v in subject.variables]
        average = (
            now if average is None else [EMA_DECAY * a + (1 - EMA_DECAY) * v for a, v in zip(average, now, strict=True)]
        )
    with subject.optimizers.averaged_weights():
        for variable, expected in zip(subject.variables, average, strict=True):
            np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-4, atol=1e-6)
    assert all(np.array_equal(v.numpy(), value) for v, value in zip(subject.variables, now, strict=True))
