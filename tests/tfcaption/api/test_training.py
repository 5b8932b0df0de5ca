"""`fit` and `Run`; nothing that belongs to the whole process changes."""

import json
import logging
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

import tfcaption
from tests.support.runs import config
from tfcaption.config import ConfigError
from tfcaption.runtime.errors import TfcaptionError

CACHE = Path(__file__).parents[3] / ".mypy_cache" / "user_script"  # to check all that it imports takes ten seconds


class Watcher:
    """A callback that remembers what it is told."""

    def __init__(self):
        self.losses = {}

    def on_epoch_end(self, epoch, logs):
        self.losses[epoch] = logs["dev_loss"]


@pytest.fixture(scope="module")
def fitted(sample_records, small_pooled, tmp_path_factory):
    """A run in bfloat16, what its callback was told, and the state of the process before and after."""
    path = tmp_path_factory.mktemp("fit") / "run"
    settings, watcher = config("elsewhere", sample_records, 5, small_pooled), Watcher()
    tf.random.set_seed(7)
    expected = [float(tf.random.normal(())) for _ in range(4)]
    tf.random.set_seed(7)
    drawn = [float(tf.random.normal(())) for _ in range(2)]
    before = state_of_the_process()
    fields = {"train__precision": "mixed_bfloat16", "train__epochs": 2, "model": {"dropout": 0}}
    run = tfcaption.fit(settings, run=path, callbacks=[watcher], **fields)
    after = state_of_the_process()
    assert drawn + [float(tf.random.normal(())) for _ in range(2)] == expected
    return run, watcher, before, after


def test_a_run_has_the_fields_history_and_scores_that_were_asked_for(fitted, monkeypatch):
    run, watcher, _, _ = fitted
    assert run.config.train.epochs == 2 and run.config.model.dropout == 0
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert run.history["dev_loss"] == [line["dev_loss"] for line in lines] == list(watcher.losses.values())
    assert list(watcher.losses) == [0, 1]
    for index, role in ((1, "worker"), (0, "evaluator")):  # the second host does not write what the first one does
        cluster = {"worker": ["a:1", "b:1"], "evaluator": ["c:1"]}
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": role, "index": index}}))
        scores = run.evaluate("val", limit=4, beam=2)
        assert (run.path / "eval-dev-first-4").exists() == (role == "evaluator")
    assert scores["photos"] == 4 and scores["search"]["beam"] == 2
    with pytest.raises(TfcaptionError, match="beem: no such option; did you mean beam"):
        run.evaluate("dev", beem=2)


def test_callbacks_end_a_run_which_the_same_call_continues(sample_records, small_pooled, tmp_path, capsys):
    settings = config(tmp_path / "run", sample_records, 3, small_pooled)

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    assert tfcaption.fit(settings, callbacks=[Stop()]).history["epoch"] == [1]
    assert "stopped by a callback after epoch 1" in capsys.readouterr().out

    class Second:
        def on_epoch_end(self, epoch, logs):
            return epoch == 1

    assert tfcaption.fit(settings, callbacks=[Second()]).history["epoch"] == [1, 2]


@pytest.mark.slow
def test_a_run_that_a_callback_ended_is_finished_by_the_same_call_and_then_stays(
    sample_records, small_pooled, tmp_path, capsys
):
    settings = config(tmp_path / "run", sample_records, 2, small_pooled)

    class Stop:
        def on_epoch_end(self, epoch, logs):
            return True

    assert tfcaption.fit(settings, callbacks=[Stop()]).history["epoch"] == [1]
    assert tfcaption.fit(settings).history["epoch"] == [1, 2]
    tfcaption.fit(settings)
    assert "is finished; nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"train__epoch": 3}, "train.epoch=3: unknown key train.epoch, did you mean train.epochs"),
        ({"model": {"decoder": "lstm"}}, "model.decoder='lstm': model.decoder: Input should be 'gru'"),
    ],
)
def test_a_wrong_field_is_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        tfcaption.fit("sample_frozen", **fields)


def test_a_folder_that_is_no_run_is_named_for_what_it_is(sample_records):
    with pytest.raises(TfcaptionError, match="is a folder of records, not a run directory"):
        tfcaption.Run(sample_records)


def state_of_the_process():
    return {
        "policy": keras.config.dtype_policy().name,
        "python": random.getstate(),
        "numpy": [str(part) for part in np.random.get_state()],
        "tensorflow": (context.context()._seed, context.context()._rng and context.context()._rng.getstate()),
        "threads": (
            tf.config.threading.get_inter_op_parallelism_threads(),
            tf.config.threading.get_intra_op_parallelism_threads(),
        ),
        "signals": [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)],
        "logging": [
            (logger.level, list(logger.handlers), logger.disabled)
            for logger in (logging.getLogger(), logging.getLogger("tensorflow"), logging.getLogger("absl"))
        ],
        "folder": Path.cwd(),
        "environment": dict(os.environ),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
    }


FRESH = """
import json, sys, tfcaption
run, *exports = sys.argv[1].split(":")
if exports:
    tfcaption.Run(run).export(exports[-1], beam=2)
for path in (run, *exports):
    print(json.dumps([(caption.text, caption.score) for caption in tfcaption.load(path).caption(sys.argv[2:])]))
"""


def captions_of_a_fresh_process(paths, photos):
    """Text and score of the captions by each model; all but the first are exports, and the last one is made there."""
    command = [sys.executable, "-c", FRESH, ":".join(map(str, paths)), *photos]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [[(text, score) for text, score in json.loads(line)] for line in output.splitlines()]


def captions_here(captioner, photos):
    return [(caption.text, caption.score) for caption in captioner.caption(photos)]


@pytest.fixture(scope="module")
def photos(sample):
    return [str(path) for path in sorted(sample[0].glob("*.jpg"))[:4]]


@pytest.fixture(scope="module")
def captions_of_run(fitted, photos):
    """The captions of the run in this process, and the state of the process before and after them."""
    run, *_ = fitted
    before = state_of_the_process()
    captions = captions_here(run.captioner(), photos)
    return captions, before, state_of_the_process()


def test_nothing_global_changes_and_captions_that_follow_equal_those_of_a_fresh_process(
    fitted, captions_of_run, photos
):
    """The run's precision once stayed behind, so that later captions and exports of the process differed."""
    run, _, before, after = fitted
    assert after == before
    of_run, before, after = captions_of_run
    assert after == before
    assert [of_run] == captions_of_a_fresh_process([run.path], photos)


def test_an_export_that_follows_has_the_captions_of_its_run_and_changes_nothing_global(
    fitted, captions_of_run, photos, tmp_path
):
    run, *_ = fitted
    of_run, *_ = captions_of_run
    before = state_of_the_process()
    of_export = captions_here(tfcaption.load(run.export(tmp_path / "export")), photos)
    assert state_of_the_process() == before
    # In bfloat16, as the run was trained, an export's scores would be off in the third digit.
    for (text, score), (exported_text, exported_score) in zip(of_run, of_export, strict=True):
        assert exported_text == text and exported_score == pytest.approx(score, rel=1e-5)


@pytest.mark.slow
def test_exports_of_this_process_equal_those_of_a_fresh_one_bit_for_bit(fitted, photos, tmp_path):
    run, *_ = fitted
    of_export = captions_here(tfcaption.load(run.export(tmp_path / "export", beam=2)), photos)
    _, in_export, in_fresh_export = captions_of_a_fresh_process(
        [run.path, tmp_path / "export", tmp_path / "fresh"], photos
    )
    assert of_export == in_export == in_fresh_export


def test_importing_takes_less_than_50_ms_and_no_tensorflow():
    code = (
        "import sys, time; start = time.perf_counter(); import tfcaption; seconds = time.perf_counter() - start;"
        "import tfcaption.api.captioner, tfcaption.api.training, tfcaption.api.dataset, tfcaption.api.scoring;"
        "print(seconds, 'tensorflow' in sys.modules, 'numpy' in sys.modules)"
    )
    times = []
    for _ in range(5):
        seconds, started, _ = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout.split()
        times.append(float(seconds))
        assert started == "False"
    assert min(times) < 0.05


def test_help_names_every_function_and_the_package_offers_nothing_else():
    text = subprocess.run(
        [sys.executable, "-c", "import pydoc, tfcaption; print(pydoc.plain(pydoc.render_doc(tfcaption)))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in ("load", "dataset", "fit", "score"):
        assert f"\n    {name}(" in text
    assert set(tfcaption.__all__) <= set(dir(tfcaption))
    assert not set(tfcaption.__all__) & {path.stem for path in Path(tfcaption.__file__).parent.glob("*.py")}
    with pytest.raises(AttributeError, match="it offers Caption"):
        tfcaption.train_captioner  # noqa: B018


def test_a_script_of_a_user_passes_strict_type_checks(tmp_path):
    script = Path(__file__).parents[2] / "support" / "user_script.py"
    wrong = tmp_path / "wrong.py"
    wrong.write_text(script.read_text().replace("captioner.caption(", "captioner.captions("))
    # silent: as for an installed package, only errors of the script itself count
    options = ["--strict", "--follow-imports=silent", f"--cache-dir={CACHE}", "--config-file=", "--no-error-summary"]
    command = [sys.executable, "-m", "mypy", *options, script, wrong]
    checked = subprocess.run(command, capture_output=True, text=True)
    errors = [line for line in checked.stdout.splitlines() if ": error: " in line]
    # By its name, since a kept cache may name the folder of an earlier run.
    assert checked.returncode == 1 and all(f"/{wrong.name}:" in line for line in errors), checked.stdout
    assert 'no attribute "captions"' in checked.stdout  # the types are seen
