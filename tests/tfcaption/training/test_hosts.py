"""Training on several hosts, which are processes here: what one would give, whatever happens to a host."""

import signal
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.host_data import records_and_vectors, settings_of
from tests.support.runs import evaluate, figures, hosts_of, outputs_of, step_losses, wait_for_steps
from tests.support.splits import batches_of, opened
from tests.support.trainers import PLAIN
from tfcaption.decoding.options import CaptionOptions
from tfcaption.records.dataset_info import load_dataset_info
from tfcaption.runs.directory import load_features, plan_run
from tfcaption.training.assemble import _objective, new_captioner
from tfcaption.training.step import Trainer

pytestmark = pytest.mark.slow  # TensorFlow starts in every host
DEAD_PROXIES = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy"), "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def data(sample, tmp_path_factory):
    return records_and_vectors(sample, tmp_path_factory.mktemp("shards"))


@pytest.mark.parametrize(
    ("jobs", "options"),
    [
        (("worker", "worker"), {}),
        (("worker", "worker"), {"accumulate_steps": 2}),
        (("worker", "worker"), {"objective": "cider"}),
        (("chief", "worker", "evaluator"), {}),
    ],
    ids=["two workers", "two workers, accumulating", "two workers, SCST", "a chief, a worker and an evaluator"],
)
def test_two_hosts_train_as_one_process_does_on_the_same_global_batches(jobs, options, data, tmp_path):
    settings = settings_of(tmp_path / "run", data, learning_rate=1e-4, **options)
    processes = hosts_of(tmp_path, settings, jobs, **DEAD_PROXIES)
    outputs = outputs_of(processes)
    assert [process.returncode for process in processes] == [0, 0], outputs
    alone = one_process_with_the_hosts_batches(settings, data, hosts=2)
    np.testing.assert_allclose([line["loss"] for line in step_losses(tmp_path / "run")], alone, rtol=1e-5)
    assert [line["epoch"] for line in figures(tmp_path / "run")] == [1, 2]
    assert not any("Traceback" in error for _, error in outputs), outputs


def one_process_with_the_hosts_batches(settings, data, hosts):
    """Losses of one replica that is given the batches of all hosts, put together by hand."""
    info, by_photo, data = load_dataset_info(data[0]), settings.train.objective == "cider", settings.data
    run = plan_run(settings)
    features = load_features(run.config, info)
    iterators = []
    for host in range(hosts):
        split = opened(
            data.features, info, "train", features, buckets=1, cache="auto", by_photo=by_photo, host=host, hosts=hosts
        )
        batches = batches_of(
            split, batch_size_photos=data.batch_size_photos // hosts, shuffle_seed=0, epochs=settings.train.epochs
        )
        iterators.append(list(batches.as_numpy_iterator()))
    keras.utils.set_random_seed(0)
    captioner, _ = new_captioner(run, compiled=False)
    objective = _objective(run, captioner, PLAIN, None)
    strategy = tf.distribute.get_strategy()
    subject = Trainer(captioner, strategy, settings.train, PLAIN, stage="pooled", objective=objective)
    batches = []
    for parts in zip(*iterators, strict=True):
        longest = max(part["tokens"].shape[-1] for part in parts)
        tokens = [np.pad(p["tokens"], [(0, 0), (0, 0), (0, longest - p["tokens"].shape[-1])]) for p in parts]
        batches.append({"inputs": np.concatenate([p["inputs"] for p in parts]), "tokens": np.concatenate(tokens)})
    spec = {"inputs": tf.TensorSpec((None, 16), tf.float16), "tokens": tf.TensorSpec((None, None, None), tf.int32)}
    data = iter(tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=spec))
    losses = []
    for _ in range(settings.train.epochs):
        sums = subject.train_steps(data, len(batches) // settings.train.epochs)
        losses += [each.loss / each.tokens for each in sums if each.tokens]
    return losses


def test_the_scores_that_select_the_best_epoch_are_those_of_one_host(data, tmp_path):
    settings = settings_of(tmp_path / "run", data, epochs=4, learning_rate=1e-2, early_stopping_metric="dev_cider")
    settings.train.shown_photos = 1
    processes = hosts_of(tmp_path, settings, ("worker",) * 2)
    (first, _), (second, _) = outputs = outputs_of(processes)
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert first.splitlines()[-2] == second.splitlines()[-2] and "best dev cider" in first  # equal decisions
    scores = [line["dev_cider"] for line in figures(tmp_path / "run")]
    greedy = CaptionOptions(beam=1, no_repeat_ngram=0)
    assert evaluate(tmp_path / "run", split="dev", search=greedy)["cider"] == max(scores) > 0


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    outputs = outputs_of(hosts_of(folder, settings_of(folder / "run", data, epochs=3), ("worker",) * 2))
    assert len(figures(folder / "run")) == 3, outputs
    return folder / "run"


@pytest.mark.parametrize("lost", [0, 1])
def test_when_a_host_is_killed_the_other_says_so_and_the_same_command_resumes_exactly(
    lost, undisturbed, data, tmp_path
):
    long = settings_of(tmp_path / "run", data, epochs=500, early_stopping_epochs=500)
    processes = hosts_of(tmp_path, long, ("worker",) * 2)
    wait_for_steps(tmp_path / "run", len(step_losses(undisturbed)) // 2, processes[lost])
    processes[lost].kill()
    start = time.monotonic()
    _, error = processes[1 - lost].communicate(timeout=600)
    processes[lost].communicate()
    assert processes[1 - lost].returncode == 1 and time.monotonic() - start < 120
    assert "error: another host has ended or cannot be reached" in error and "on all 2 hosts to resume" in error
    assert "Traceback" not in error
    outputs = outputs_of(hosts_of(tmp_path, settings_of(tmp_path / "run", data, epochs=3), ("worker",) * 2))
    done = len(step_losses(undisturbed))
    assert step_losses(tmp_path / "run")[:done] == step_losses(undisturbed), outputs
    assert figures(tmp_path / "run")[:3] == figures(undisturbed)


def test_a_request_to_stop_one_host_stops_all_and_the_same_command_resumes_exactly(undisturbed, data, tmp_path):
    long = settings_of(tmp_path / "run", data, epochs=500, early_stopping_epochs=500)
    processes = hosts_of(tmp_path, long, ("worker",) * 2)
    wait_for_steps(tmp_path / "run", 1, processes[0])
    processes[1].send_signal(signal.SIGTERM)
    outputs = outputs_of(processes)
    assert [process.returncode for process in processes] == [75, 75], outputs
    outputs = outputs_of(hosts_of(tmp_path, settings_of(tmp_path / "run", data, epochs=3), ("worker",) * 2))
    done = len(step_losses(undisturbed))
    assert step_losses(tmp_path / "run")[:done] == step_losses(undisturbed), outputs
    assert figures(tmp_path / "run")[:3] == figures(undisturbed)


def test_hosts_of_other_commands_or_without_the_run_directory_are_refused_by_all(undisturbed, data, tmp_path):
    def refusals(settings, other):
        processes = hosts_of(tmp_path, [settings, other], ("worker",) * 2)
        outputs = outputs_of(processes)
        assert [process.returncode for process in processes] == [1, 1], outputs
        return [error.splitlines()[-1] for _, error in outputs]

    settings = settings_of(undisturbed, data, epochs=4)
    first, second = refusals(settings, settings_of(undisturbed, data, epochs=4, seed=5))
    assert first == second and "host 1 (localhost:" in first
    assert "train.seed is 5, but 0 on host 0 (localhost:" in first
    for said in refusals(settings, settings_of(tmp_path / "elsewhere", data, epochs=4)):  # each names its directory
        assert "host 1 (localhost:" in said and "the step to resume after is 0, but" in said
        assert "on a disk that they share" in said
