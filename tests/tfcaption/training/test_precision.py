"""Mixed precision and the loss scale."""

import keras
import numpy as np
import pytest

from tests.support.trainers import batch_of, changed, steps, trainer, weights
from tfcaption.training.precision import ComputeMode


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_learns_as_float32_does(policy, shared_trainer):
    batch = batch_of("frozen")
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        mixed = trainer(mode=ComputeMode(policy, False), model_options={"dropout": 0.0})
        losses = [sums.loss for sums in steps(mixed, batch, 10)]
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    expected = [sums.loss for sums in steps(shared_trainer("frozen"), batch, 10)]
    np.testing.assert_allclose(losses, expected, rtol=0.05)
    assert expected[-1] < 0.9 * expected[0]
    assert (
        float(mixed.loss_scale.value) >= 2.0**10 if policy == "mixed_float16" else float(mixed.loss_scale.value) == 1.0
    )


def test_a_float16_step_that_overflows_is_skipped_and_halves_the_loss_scale():
    batch = batch_of("frozen")
    batch["inputs"] *= 100  # for gradients that overflow
    subject = trainer(mode=ComputeMode("mixed_float16", False))
    subject.loss_scale.value.assign(3e38)
    before = weights(subject.captioner)
    steps(subject, batch)
    assert changed(before, weights(subject.captioner)) == set()
    assert float(subject.loss_scale.value) == pytest.approx(1.5e38, rel=1e-3)
