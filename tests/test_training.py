"""The train step and the training around it: what moves, what does not, and what a stop leaves behind."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import tree_bytes
from tests.test_model import DECODERS, captioner, captions
from tfcaption.config import Config, TrainConfig, save_config
from tfcaption.metrics.corpus import corpus_scores
from tfcaption.records.vocabulary import load_vocabulary
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import RunError, create_run, load_features, load_run
from tfcaption.runtime.command import EXIT_PREEMPTED
from tfcaption.runtime.errors import TrainingFailed
from tfcaption.training.loop import train
from tfcaption.training.optimizer import learning_rate_schedule
from tfcaption.training.precision import ComputeMode
from tfcaption.training.step import Trainer

STAGES = {"frozen": "pooled", "finetuned": "trunk"}


def features(variant):
    """Six photos as the variant's cheapest stage: (6, 2048) pooled, or (6, 1, 1, 2048) trunk."""
    shape = {"frozen": (6, 2048), "finetuned": (6, 1, 1, 2048)}[variant]
    return np.maximum(np.random.default_rng(4).normal(size=shape), 0).astype(np.float16)


def batch_of(variant, length=7):
    return {"inputs": tf.constant(features(variant)), "tokens": tf.constant(captions(length))}


def steps(subject, batch, count=1):
    """Train `count` steps on one batch; their outcomes."""
    return subject.train_steps(iter(tf.data.Dataset.from_tensors(batch).repeat()), count)


def judged(subject, batch):
    (outcome,) = subject.evaluate_steps(iter(tf.data.Dataset.from_tensors(batch)), 1)
    return outcome


PLAIN = ComputeMode("float32", False)


def trainer(variant="frozen", mode=PLAIN, model_options=None, **options):
    config = TrainConfig(**({"learning_rate": 3e-3, "encoder_learning_rate": 1e-3} | options))
    model = captioner(variant, encoder_weights=None, compiled=mode.xla, **(model_options or {}))
    stage = STAGES[variant]
    return Trainer(model, tf.distribute.get_strategy(), config, mode, stage=stage)


def weights(layer):
    return {variable.path: variable.numpy() for variable in layer.variables}


def changed(before, after):
    return {path for path in before if not np.array_equal(before[path], after[path])}


def test_frozen_means_that_no_encoder_weight_or_statistic_moves():
    batch = batch_of("frozen")
    subject = trainer("frozen")
    before = weights(subject.captioner)
    steps(subject, batch, 3)
    after = weights(subject.captioner)
    assert changed(before, after) == {path for path in before if path.startswith("decoder") or "/decoder/" in path}


def test_fine_tuning_moves_exactly_conv5_block2_and_conv5_block3_and_no_statistic():
    batch = batch_of("finetuned")
    subject = trainer("finetuned")
    before = weights(subject.captioner.encoder)
    steps(subject, batch, 3)
    moved = changed(before, weights(subject.captioner.encoder))
    expected = {p for p in before if p.split("/")[-2][:12] in ("conv5_block2", "conv5_block3") and "moving" not in p}
    assert moved == expected


def test_the_encoder_has_its_own_learning_rate():
    """Adam's first step moves a weight by its learning rate, whatever the gradient."""
    batch = batch_of("finetuned")
    subject = trainer("finetuned", encoder_learning_rate=1e-5, learning_rate=1e-3)
    before = weights(subject.captioner)
    steps(subject, batch)
    moves = {path: np.abs(value - before[path]).max() for path, value in weights(subject.captioner).items()}
    head = max(move for path, move in moves.items() if "conv5_block3" in path)
    assert head == pytest.approx(1e-5, rel=0.05)
    assert max(moves.values()) == pytest.approx(1e-3, rel=0.05)


def test_evaluating_changes_no_weight():
    batch = batch_of("finetuned")
    subject = trainer("finetuned")
    before = weights(subject.captioner)
    judged(subject, batch)
    assert changed(before, weights(subject.captioner)) == set()


def test_swapping_photos_changes_the_loss_and_a_constant_photo_is_worse():
    batch = batch_of("frozen")
    subject = trainer("frozen", model_options={"dropout": 0.0})
    steps(subject, batch, 150)
    own = judged(subject, batch).loss
    swapped = judged(subject, {**batch, "inputs": batch["inputs"][::-1]}).loss
    constant = judged(subject, {**batch, "inputs": tf.zeros_like(batch["inputs"]) + 127}).loss
    assert own < 0.5 * swapped and own < 0.5 * constant


@pytest.mark.parametrize(
    "decoder",
    ["gru", pytest.param("luong", marks=pytest.mark.slow), pytest.param("transformer", marks=pytest.mark.slow)],
)
def test_the_compiled_step_gives_the_losses_of_the_plain_one(decoder):
    batch = batch_of("finetuned")
    model = {"dropout": 0.0, **DECODERS[decoder]}
    slow = {"learning_rate": 1e-3, "encoder_learning_rate": 1e-5, "model_options": model}
    plain, compiled = (trainer("finetuned", ComputeMode("float32", xla), **slow) for xla in (False, True))
    losses = [[outcome.loss for outcome in steps(subject, batch, 4)] for subject in (plain, compiled)]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    step = compiled._compiled_gradients
    arguments = (batch["inputs"], batch["tokens"], None, tf.constant([0, 0]), tf.constant(1.0))
    assert "HloModule" in step.experimental_get_compiler_ir(*arguments)(stage="hlo")


@pytest.mark.parametrize(
    ("variant", "xla"), [pytest.param("finetuned", False, marks=pytest.mark.slow), ("frozen", True)]
)
def test_several_steps_of_any_length_are_one_call_and_one_trace(variant, xla):
    options = {"learning_rate": 1e-4, "encoder_learning_rate": 1e-6, "model_options": {"dropout": 0.0}}
    lengths = [7, 12, 9, 7, 12]
    together, apart = (trainer(variant, ComputeMode("float32", xla), **options) for _ in range(2))
    batches = [batch_of(variant, length) for length in lengths]
    inputs = tf.TensorSpec(batches[0]["inputs"].shape, tf.float16)
    spec = {"inputs": inputs, "tokens": tf.TensorSpec((6, 2, None), tf.int32)}
    data = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=spec)
    losses = [outcome.loss for outcome in together.train_steps(iter(data), 5)]
    one_by_one = [steps(apart, one)[0].loss for one in batches]
    np.testing.assert_allclose(losses, one_by_one, rtol=1e-5)
    assert together.traces == 1 and int(together.step) == int(together.position) == 5


def test_a_batch_without_tokens_only_moves_the_position():
    batch = batch_of("finetuned")
    subject = trainer("finetuned")
    steps(subject, batch)
    before = weights(subject.captioner) | {v.path: v.numpy() for o in subject.optimizers for v in o.variables}
    (outcome,) = steps(subject, {**batch, "tokens": tf.zeros_like(batch["tokens"])})
    after = weights(subject.captioner) | {v.path: v.numpy() for o in subject.optimizers for v in o.variables}
    assert changed(before, after) == set() and outcome.tokens == 0 and outcome.finite
    assert (int(subject.step), int(subject.position)) == (1, 2)


def test_a_step_that_is_not_finite_changes_nothing_and_ends_the_call():
    batch = batch_of("frozen")
    subject = trainer("frozen")
    subject.captioner.decoder.logits.bias.assign(np.full(11, np.inf, np.float32))
    before = weights(subject.captioner)
    outcomes = steps(subject, batch, 5)
    assert [outcome.finite for outcome in outcomes] == [False] and int(subject.step) == 0
    assert changed(before, weights(subject.captioner)) == set()


def test_gradients_are_clipped_by_their_global_norm_before_adam():
    """Adam's first moment after one step is a tenth of the gradient, so its norm tells the clipped one."""
    batch = batch_of("finetuned")
    subject = trainer("finetuned", gradient_clip_norm=0.01)
    steps(subject, batch)
    moments = [v.numpy() for o in subject.optimizers for v in o.variables if "momentum" in v.path]
    assert np.sqrt(sum((m**2).sum() for m in moments)) == pytest.approx(0.1 * 0.01, rel=1e-3)


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


def test_weight_decay_shrinks_all_but_biases_and_normalisations():
    batch = batch_of("frozen")
    decayed, plain = (trainer(weight_decay=decay, learning_rate=1e-3) for decay in (0.5, 0.0))
    before = weights(decayed.captioner.decoder)
    for subject in (decayed, plain):
        steps(subject, batch)
    after, reference = weights(decayed.captioner.decoder), weights(plain.captioner.decoder)
    for path, value in after.items():
        if "seed_generator" in path:
            continue
        spared = any(name in path for name in ("bias", "gamma", "beta"))
        expected = reference[path] - (0 if spared else 1e-3 * 0.5 * before[path])
        np.testing.assert_allclose(value, expected, atol=1e-6, err_msg=path)


def test_averaged_weights_are_the_exponential_moving_average_and_only_borrowed():
    batch = batch_of("finetuned")
    subject = trainer("finetuned", ema_decay=0.8)
    average = None
    for _ in range(4):
        steps(subject, batch)
        now = [v.numpy() for v in subject.variables]
        average = now if average is None else [0.8 * a + 0.2 * v for a, v in zip(average, now, strict=True)]
    with subject.averaged_weights():
        for variable, expected in zip(subject.variables, average, strict=True):
            np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-4, atol=1e-6)
    assert all(np.array_equal(v.numpy(), value) for v, value in zip(subject.variables, now, strict=True))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_learns_as_float32_does(policy):
    batch = batch_of("frozen")
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        mixed = trainer(mode=ComputeMode(policy, False), model_options={"dropout": 0.0}, learning_rate=3e-4)
        losses = [outcome.loss for outcome in steps(mixed, batch, 30)]
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    plain = trainer(model_options={"dropout": 0.0}, learning_rate=3e-4)
    expected = [outcome.loss for outcome in steps(plain, batch, 30)]
    np.testing.assert_allclose(losses, expected, rtol=0.05)
    assert expected[-1] < 0.9 * expected[0]
    assert float(mixed.loss_scale) >= 2.0**10 if policy == "mixed_float16" else float(mixed.loss_scale) == 1.0


def test_a_float16_step_that_overflows_is_left_out_and_halves_the_loss_scale():
    batch = batch_of("frozen")
    batch["inputs"] *= 100  # for gradients that overflow
    subject = trainer(mode=ComputeMode("mixed_float16", False))
    subject.loss_scale.assign(3e38)
    before = weights(subject.captioner)
    steps(subject, batch)
    assert changed(before, weights(subject.captioner)) == set()
    assert float(subject.loss_scale) == pytest.approx(1.5e38, rel=1e-3)


TWO_REPLICAS = """
import json, sys
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tests.test_model import captioner
from tests.test_training import batch_of
from tfcaption.config import TrainConfig
from tfcaption.training.precision import ComputeMode
from tfcaption.training.step import Trainer
data = tf.data.Dataset.from_tensors(batch_of("finetuned")).repeat()
options = tf.data.Options()
options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
data = data.with_options(options)
config = TrainConfig(gradient_clip_norm=0.5, learning_rate=2e-4, encoder_learning_rate=2e-6)
losses = {}
for replicas in (1, 2):
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
    with strategy.scope():
        xla = sys.argv[1] == "xla"
        model = captioner("finetuned", encoder_weights=None, dropout=0.0, compiled=xla)
        subject = Trainer(model, strategy, config, ComputeMode("float32", xla), stage="trunk")
    batches = iter(strategy.experimental_distribute_dataset(data))
    losses[replicas] = [o.loss for o in (*subject.train_steps(batches, 20), *subject.evaluate_steps(batches, 1))]
print(json.dumps(losses), flush=True)
import os
os._exit(0)  # closing distributed iterators takes seconds
"""


@pytest.mark.parametrize("xla", ["plain", pytest.param("xla", marks=pytest.mark.slow)])
def test_two_replicas_train_exactly_as_one_does(xla):
    """Each replica has another number of tokens, so a mean of replica means would differ."""
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", TWO_REPLICAS, xla]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    losses = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(losses["2"], losses["1"], rtol=1e-5)
    assert losses["1"][-1] < 0.95 * losses["1"][0]


# --- whole trainings -------------------------------------------------------------------------------------


def config(run, sample_records, epochs, features=None, **model):
    sizes = {"weights": "random", "embedding_units": 16, "gru_units": 32, "dense_units": 32} | model
    return Config.model_validate(
        {
            "run": str(run),
            "data": {
                "records": str(sample_records),
                "features": features and str(features),
                "batch_size_photos": 12,
                "length_buckets": 2,
            },
            "model": sizes,
            "train": {
                "epochs": epochs,
                "learning_rate": 3e-3,
                "encoder_learning_rate": 1e-4,
                "precision": "float32",  # on every machine, since losses are compared closely
            },
        }
    )


def step_losses(run):
    return [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]


def figures(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if "seconds" not in key} for line in lines]


@pytest.fixture(scope="module")
def undisturbed(sample_records, pooled, tmp_path_factory):
    return train(config(tmp_path_factory.mktemp("runs") / "two", sample_records, 2, pooled))


def test_a_run_directory_holds_what_later_commands_need(undisturbed):
    assert {p.name for p in undisturbed.iterdir()} == {
        *("config.yaml", "vocabulary.txt", "dataset.json", "encoder.weights.h5"),
        *("checkpoints", "metrics.jsonl", "steps.jsonl", "tensorboard"),
    }
    assert [line["epoch"] for line in figures(undisturbed)] == [1, 2]
    assert any((undisturbed / "tensorboard").iterdir())
    run = load_run(undisturbed)
    assert run.config == config(undisturbed, run.config.data.records, 2, run.config.data.features)


def test_one_epoch_and_one_more_equal_two(undisturbed, sample_records, pooled, tmp_path):
    train(config(tmp_path / "run", sample_records, 1, pooled))
    train(config(tmp_path / "run", sample_records, 2, pooled))
    assert figures(tmp_path / "run") == figures(undisturbed)
    assert step_losses(tmp_path / "run") == step_losses(undisturbed)


def launched(tmp_path, settings, **environment):
    """`tfcaption.train` in a process of its own."""
    save_config(settings, tmp_path / "config.yaml")
    command = [sys.executable, "-m", "tfcaption.train", "--config", str(tmp_path / "config.yaml")]
    return subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_steps(run, least, process):
    while process.poll() is None:
        if (run / "steps.jsonl").is_file() and len((run / "steps.jsonl").read_text().splitlines()) >= least:
            return
        time.sleep(0.002)
    raise AssertionError(process.communicate())


@pytest.mark.slow
def test_killed_at_any_moment_and_started_again_it_takes_the_steps_of_an_undisturbed_run(
    undisturbed, sample_records, pooled, tmp_path
):
    run = tmp_path / "run"
    for least in (2, 6):  # within the first epoch, at its end or in the second
        process = launched(tmp_path, config(run, sample_records, 2, pooled))
        wait_for_steps(run, least, process)
        process.kill()
        process.wait()
    train(config(run, sample_records, 2, pooled))
    assert step_losses(run) == step_losses(undisturbed)
    assert figures(run) == figures(undisturbed)


def test_asked_to_stop_it_saves_exits_with_its_own_code_and_goes_on_within_the_epoch(
    undisturbed, sample_records, pooled, tmp_path
):
    run = tmp_path / "run"
    process = launched(tmp_path, config(run, sample_records, 2, pooled))
    wait_for_steps(run, 1, process)
    process.terminate()
    start = time.monotonic()
    _, error = process.communicate()
    assert process.returncode == EXIT_PREEMPTED and time.monotonic() - start < 30
    assert "run the same command to resume" in error
    stopped = len(step_losses(run))
    assert stopped < len(step_losses(undisturbed))
    train(config(run, sample_records, 2, pooled))
    assert step_losses(run) == step_losses(undisturbed) and figures(run) == figures(undisturbed)


def test_a_half_written_checkpoint_is_never_loaded(undisturbed, sample_records, pooled, tmp_path):
    run = shutil.copytree(undisturbed, tmp_path / "run")
    last = run / "checkpoints" / "last"
    (last / "ckpt-999.index").write_bytes(b"half")
    (last / "ckpt-999.data-00000-of-00001").write_bytes(b"half")
    train(config(run, sample_records, 2, pooled))
    assert figures(run) == figures(undisturbed)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.mark.slow
def test_two_hosts_train_as_one_process_does_on_the_same_global_batches(sample_records, pooled, info, tmp_path):
    run = tmp_path / "run"
    settings = config(run, sample_records, 2, pooled, dropout=0.0)
    settings.train.learning_rate = 1e-4
    hosts = [f"localhost:{port}" for port in free_ports(2)]
    processes = [
        launched(
            tmp_path,
            settings,
            TF_CONFIG=json.dumps({"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}),
        )
        for index in range(2)
    ]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    settings.run = str(tmp_path / "alone")
    alone = one_process_with_the_hosts_batches(settings, info, hosts=2)
    np.testing.assert_allclose([line["loss"] for line in step_losses(run)], alone, rtol=1e-5)
    assert [line["epoch"] for line in figures(run)] == [1, 2]


def one_process_with_the_hosts_batches(settings, info, hosts):
    """Losses of one replica that is given the batches of all hosts, put together by hand."""
    from tfcaption.input_pipeline.batches import make_batches
    from tfcaption.input_pipeline.split import open_split
    from tfcaption.training.assemble import new_captioner

    data = settings.data
    features = load_features(settings, info)
    iterators = []
    for host in range(hosts):
        split = open_split("train", info, data.features, features, buckets=1, host=host, hosts=hosts)
        batches = make_batches(
            split, batch_size_photos=data.batch_size_photos // hosts, shuffle_seed=0, epochs=settings.train.epochs
        )
        iterators.append(list(batches.as_numpy_iterator()))
    keras.utils.set_random_seed(0)
    subject = Trainer(
        new_captioner(create_run(settings), compiled=False),
        tf.distribute.get_strategy(),
        settings.train,
        PLAIN,
        stage="pooled",
    )
    losses = []
    for parts in zip(*iterators, strict=True):
        longest = max(part["tokens"].shape[-1] for part in parts)
        tokens = [np.pad(p["tokens"], [(0, 0), (0, 0), (0, longest - p["tokens"].shape[-1])]) for p in parts]
        batch = {"inputs": np.concatenate([p["inputs"] for p in parts]), "tokens": np.concatenate(tokens)}
        (outcome,) = steps(subject, batch)
        if outcome.tokens:
            losses.append(outcome.loss / outcome.tokens)
    return losses


@pytest.mark.slow
def test_training_from_features_gives_the_losses_of_training_from_photos(sample_records, pooled, trunk, tmp_path):
    for variant, features in (("frozen", pooled), ("finetuned", trunk)):
        losses = []
        for source in (None, features):
            settings = config(tmp_path / f"{variant}-{source is None}", sample_records, 5, variant=variant, dropout=0.0)
            settings.data.features = source and str(source)
            settings.data.cache = False  # by photo, and in the same order
            # Adam makes much of the float16 of stored features where rates are higher.
            settings.train.learning_rate, settings.train.encoder_learning_rate = 1e-4, 2e-5
            losses.append([line["loss"] for line in step_losses(train(settings))])
        assert len(losses[0]) >= 20
        np.testing.assert_allclose(losses[1], losses[0], rtol=2e-3)


def test_features_that_do_not_fit_are_refused_with_the_field_that_differs(
    sample_records, pooled, trunk, tmp_path, capsys
):
    settings = config(tmp_path / "run", sample_records, 1, variant="finetuned")
    settings.data.features = str(pooled)
    message = "stage is pooled, but model.variant=finetuned with model.decoder=gru trains from trunk"
    with pytest.raises(ValueError, match=message):
        train(settings)
    other = shutil.copytree(trunk, tmp_path / "other")
    for field, message in (("records", "made of other records"), ("weights", "made with other weights")):
        description = json.loads((trunk / "features.json").read_text())
        description["settings"][field] = "0" * 64
        (other / "features.json").write_text(json.dumps(description))
        settings.data.features, settings.run = str(other), str(tmp_path / field)
        with pytest.raises(ValueError, match=message):
            train(settings)


@pytest.mark.slow
def test_without_features_a_training_says_what_they_would_save(undisturbed, sample_records, tmp_path, capsys):
    train(config(tmp_path / "run", sample_records, 1))
    printed = capsys.readouterr().out
    assert f"python -m beam_jobs.extract_features --records {sample_records} --output features/pooled" in printed
    assert "1 replica(s) on 1 host(s), CPU, float32 compute, XLA off; from photo, in memory, by photos" in printed


@pytest.mark.slow
def test_selection_by_dev_bleu_keeps_the_epoch_with_the_highest(sample_records, pooled, tmp_path):
    from tfcaption.evaluation.evaluator import evaluate

    settings = config(tmp_path / "run", sample_records, 4)
    settings.data.features = str(pooled)
    settings.train.early_stopping_metric, settings.train.learning_rate = "dev_bleu_4", 1e-2
    scores = [line["dev_bleu_4"] for line in figures(train(settings))]
    assert evaluate(settings.run, split="dev", beam=1)["bleu_4"] == pytest.approx(max(scores), abs=1e-6)


def test_a_finished_run_is_left_alone_and_another_config_refused(undisturbed, sample_records, pooled, capsys):
    before = figures(undisturbed)
    train(config(undisturbed, sample_records, 2, pooled))
    assert figures(undisturbed) == before and "finished after epoch 2" in capsys.readouterr().out
    with pytest.raises(RunError, match=r"model.gru_units was 32, is 48"):
        train(config(undisturbed, sample_records, 2, pooled, gru_units=48))


def test_a_training_that_was_refused_before_its_first_step_takes_the_mended_command(sample_records, pooled, tmp_path):
    wrong = config(tmp_path / "run", sample_records, 1, pooled, glove=str(tmp_path / "none.txt"))
    with pytest.raises(ValueError, match=r"none\.txt"):
        train(wrong)
    mended = config(tmp_path / "run", sample_records, 1, pooled)
    assert create_run(mended).config == load_run(tmp_path / "run").config == mended


def test_training_and_selection_never_read_the_test_split(undisturbed, sample_records, pooled, tmp_path):
    copies = [shutil.copytree(folder, tmp_path / folder.name) for folder in (sample_records, pooled)]
    for copy in copies:
        for shard in copy.glob("test-*"):
            shard.unlink()
    assert figures(train(config(tmp_path / "run", copies[0], 2, copies[1]))) == figures(undisturbed)


def test_early_stopping_ends_a_run_that_no_longer_improves(sample_records, pooled, tmp_path):
    hopeless = config(tmp_path / "run", sample_records, 9, pooled)
    hopeless.train.learning_rate, hopeless.train.early_stopping_epochs = 1e-30, 2
    train(hopeless)
    assert len(figures(tmp_path / "run")) == 3  # the first is the best, then two without a better one


def test_glove_rows_survive_save_and_load(sample_records, pooled, tmp_path):
    words = load_vocabulary(sample_records)
    rows = np.random.default_rng(0).normal(size=(len(words), 7)).astype(np.float32)
    lines = (f"{word} {' '.join(map(str, row))}\n" for word, row in zip(words, rows, strict=True))
    (tmp_path / "glove.txt").write_text("".join(lines))
    chosen = config(
        tmp_path / "run", sample_records, 1, pooled, glove=str(tmp_path / "glove.txt"), train_embedding=False
    )
    captioner, _ = load_captioner(load_run(train(chosen)))
    stored = captioner.decoder.embedding.embeddings.numpy()
    np.testing.assert_allclose(stored[4:], rows[4:], rtol=1e-6)
    assert not stored[0].any() and stored[1:4].any(axis=1).all()


def test_a_loss_that_is_no_number_stops_the_run(sample_records, pooled, tmp_path):
    exploding = config(tmp_path / "run", sample_records, 1, pooled)
    exploding.train.learning_rate, exploding.train.gradient_clip_norm = 1e30, 1e30
    with pytest.raises(TrainingFailed, match=r"not a number in step \d.*\(photos: shapes_"):
        train(exploding)


def test_an_evaluation_changes_no_checkpoint_and_scores_each_photo_once(undisturbed):
    from tfcaption.evaluation.evaluator import evaluate

    run = load_run(undisturbed)
    before = tree_bytes(undisturbed / "checkpoints")
    result = evaluate(undisturbed, split="test")
    assert tree_bytes(undisturbed / "checkpoints") == before
    lines = [json.loads(line) for line in (undisturbed / "eval-test" / "captions.jsonl").read_text().splitlines()]
    assert len({line["id"] for line in lines}) == len(lines) == run.info.splits["test"].photos == result["photos"]
    again = corpus_scores({x["id"]: x["caption"] for x in lines}, {x["id"]: x["references"] for x in lines})
    assert again == {key: result[key] for key in again}
    assert json.loads((undisturbed / "eval-test" / "metrics.json").read_text()) == result


def test_perplexity_is_over_all_tokens_of_the_split_however_it_is_batched(undisturbed):
    from tfcaption.evaluation.evaluator import evaluate

    run = load_run(undisturbed)
    dev = next(line for line in figures(undisturbed) if line["epoch"] == 2)
    last = evaluate(undisturbed, split="dev", checkpoint="last")
    assert last["perplexity"] == pytest.approx(np.exp(dev["dev_loss"]), rel=1e-5)
    assert last["token_accuracy"] == pytest.approx(dev["dev_accuracy"])
    assert last["photos"] == run.info.splits["dev"].photos


def test_the_command_captions_a_photo_as_the_evaluation_does(undisturbed, sample, tmp_path, capsys):
    from tfcaption.caption import main
    from tfcaption.evaluation.evaluator import evaluate

    evaluate(undisturbed, split="test")
    lines = [json.loads(line) for line in (undisturbed / "eval-test" / "captions.jsonl").read_text().splitlines()]
    paths = [str(sample[0] / line["id"]) for line in lines]
    (tmp_path / "bad.jpg").write_bytes(b"")
    capsys.readouterr()
    assert main(["--run", str(undisturbed), *paths[:3], str(tmp_path / "bad.jpg"), *paths[3:], "gone.jpg"]) == 1
    printed = capsys.readouterr()
    expected = [f"{path}\t{line['caption']}" for path, line in zip(paths, lines, strict=True)]
    assert printed.out.splitlines() == expected
    assert "bad.jpg: empty file" in printed.err and "gone.jpg" in printed.err
