"""The train step: what moves and what does not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import DECODERS
from tests.support.trainers import LEARNING_RATE, PLAIN, batch_of, changed, judged, steps, trainer, weights
from tfcaption.training.precision import ComputeMode

COMPILED = ComputeMode("float32", True)


def test_frozen_means_that_no_encoder_weight_or_statistic_moves():
    batch = batch_of("frozen")
    subject = trainer("frozen", model_options={"encoder_weights": "random"})
    before = weights(subject.captioner)
    steps(subject, batch, 3)
    after = weights(subject.captioner)
    decoder = {path for path in before if path.startswith("decoder") or "/decoder/" in path}
    assert changed(before, after) == decoder and len(before) - len(decoder) > 300  # weights and statistics of ResNet50


def test_fine_tuning_moves_exactly_conv5_block2_and_conv5_block3_and_no_statistic(shared_trainer):
    batch = batch_of("finetuned")
    subject = shared_trainer("finetuned")
    before = weights(subject.captioner.encoder)
    steps(subject, batch, 3)
    moved = changed(before, weights(subject.captioner.encoder))
    expected = {p for p in before if p.split("/")[-2][:12] in ("conv5_block2", "conv5_block3") and "moving" not in p}
    assert moved == expected


def test_the_encoder_has_its_own_learning_rate(shared_trainer):
    """Adam's first step moves a weight by its learning rate, whatever the gradient."""
    batch = batch_of("finetuned")
    subject = shared_trainer("finetuned")
    before = weights(subject.captioner)
    steps(subject, batch)
    moves = {path: np.abs(value - before[path]).max() for path, value in weights(subject.captioner).items()}
    head = max(move for path, move in moves.items() if "conv5_block3" in path)
    assert head == pytest.approx(1e-3, rel=0.05)
    assert max(moves.values()) == pytest.approx(LEARNING_RATE, rel=0.05)


def test_evaluating_changes_no_weight(shared_trainer):
    batch = batch_of("finetuned")
    subject = shared_trainer("finetuned")
    before = weights(subject.captioner)
    judged(subject, batch)
    assert changed(before, weights(subject.captioner)) == set()


def test_swapping_photos_changes_the_loss_and_a_constant_photo_is_worse(shared_trainer):
    batch = batch_of("frozen")
    subject = shared_trainer("frozen")
    steps(subject, batch, 150)
    own = judged(subject, batch).loss
    swapped = judged(subject, {**batch, "inputs": batch["inputs"][::-1]}).loss
    constant = judged(subject, {**batch, "inputs": tf.zeros_like(batch["inputs"]) + 127}).loss
    assert own < 0.5 * swapped and own < 0.5 * constant


def assert_equal_losses(plain, compiled, batch):
    losses = [[sums.loss for sums in steps(subject, batch, 4)] for subject in (plain, compiled)]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    step = compiled._compiled_gradients
    arguments = (batch["inputs"], batch["tokens"], None, tf.constant([0, 0]), tf.constant(1.0))
    assert "HloModule" in step.experimental_get_compiler_ir(*arguments)(stage="hlo")


def test_the_compiled_step_gives_the_losses_of_the_plain_one(shared_trainer):
    assert_equal_losses(shared_trainer("frozen"), shared_trainer("frozen", COMPILED), batch_of("frozen"))


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["gru", "luong", "transformer"])
def test_the_compiled_step_of_fine_tuning_gives_the_losses_of_the_plain_one(decoder):
    model = {"dropout": 0.0, **DECODERS[decoder]}
    slow = {"learning_rate": 1e-3, "encoder_learning_rate": 1e-5, "model_options": model}
    plain, compiled = (trainer("finetuned", mode, **slow) for mode in (PLAIN, COMPILED))
    assert_equal_losses(plain, compiled, batch_of("finetuned"))


@pytest.mark.parametrize(
    ("variant", "mode"), [pytest.param("finetuned", PLAIN, marks=pytest.mark.slow), ("frozen", COMPILED)]
)
def test_several_steps_of_any_length_are_one_call_and_one_trace(variant, mode, shared_trainer):
    batches = [batch_of(variant, length) for length in (7, 9, 7)]
    inputs = tf.TensorSpec(batches[0]["inputs"].shape, tf.float16)
    spec = {"inputs": inputs, "tokens": tf.TensorSpec((6, 2, None), tf.int32)}

    def train(batches):
        data = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=spec)
        return [sums.loss for sums in subject.train_steps(iter(data), len(batches))]

    subject = shared_trainer(variant, mode)
    before = subject.traces
    together = train(batches)
    assert int(subject.step) == int(subject.position) == len(batches)
    subject = shared_trainer(variant, mode)
    one_by_one = [loss for batch in batches for loss in train([batch])]
    np.testing.assert_allclose(together, one_by_one, rtol=1e-5)
    assert subject.traces == before + 1


def test_a_batch_without_tokens_only_moves_the_position(shared_trainer):
    batch = batch_of("finetuned")
    subject = shared_trainer("finetuned")
    steps(subject, batch)
    before = weights(subject.captioner) | {v.path: v.numpy() for o in subject.optimizers.all for v in o.variables}
    (sums,) = steps(subject, {**batch, "tokens": tf.zeros_like(batch["tokens"])})
    after = weights(subject.captioner) | {v.path: v.numpy() for o in subject.optimizers.all for v in o.variables}
    assert changed(before, after) == set() and sums.tokens == 0 and sums.finite
    assert (int(subject.step), int(subject.position)) == (1, 2)


def test_a_step_that_is_not_finite_changes_nothing_and_ends_the_call(shared_trainer):
    batch = batch_of("frozen")
    subject = shared_trainer("frozen")
    subject.captioner.decoder.logits.bias.assign(np.full(11, np.inf, np.float32))
    before = weights(subject.captioner)
    outcomes = steps(subject, batch, 5)
    assert [sums.finite for sums in outcomes] == [False] and int(subject.step) == 0
    assert changed(before, weights(subject.captioner)) == set()


TWO_REPLICAS = """
import json, sys
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tests.support.models import captioner
from tests.support.trainers import STAGES, batch_of
from tfcaption.config import TrainConfig
from tfcaption.training.precision import ComputeMode
from tfcaption.training.step import Trainer
variant, xla = sys.argv[1], sys.argv[2] == "xla"
data = tf.data.Dataset.from_tensors(batch_of(variant)).repeat()
options = tf.data.Options()
options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
data = data.with_options(options)
config = TrainConfig(gradient_clip_norm=0.5, learning_rate=2e-4, encoder_learning_rate=2e-6)
losses = {}
# One strategy for each set of devices: a second one repeats the keys of the first one's collective operations.
strategies = {count: tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(count)]) for count in (1, 2)}
for name, replicas, parts in (("1", 1, 1), ("2", 2, 1), ("2 accumulating", 2, 3)):
    strategy = strategies[replicas]
    with strategy.scope():
        model = captioner(variant, encoder_weights=None, dropout=0.0, compiled=xla)
        settings = config.model_copy(update={"accumulate_steps": parts})
        subject = Trainer(model, strategy, settings, ComputeMode("float32", xla), stage=STAGES[variant])
    batches = iter(strategy.experimental_distribute_dataset(data.unbatch().batch(6 // parts)))
    losses[name] = [o.loss for o in subject.train_steps(batches, 8 * parts)]
    losses[name].append(sum(o.loss for o in subject.evaluate_steps(batches, parts)))
print(json.dumps(losses), flush=True)
import os
os._exit(0)  # closing distributed iterators takes seconds
"""


@pytest.mark.parametrize(
    ("variant", "mode"),
    [
        ("frozen", "plain"),
        pytest.param("finetuned", "plain", marks=pytest.mark.slow),
        pytest.param("finetuned", "xla", marks=pytest.mark.slow),
    ],
)
def test_two_replicas_train_exactly_as_one_does(variant, mode):
    """Each replica has another number of tokens, so a mean of replica means would differ."""
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", TWO_REPLICAS, variant, mode]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    losses = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(losses["2"], losses["1"], rtol=1e-5)
    np.testing.assert_allclose(losses["2 accumulating"], losses["1"], rtol=1e-5)
    assert losses["1"][-1] < 0.95 * losses["1"][0]
