"""Sweeps: which runs there are, what a stop leaves, and the table; the trainings are stand-ins but for one."""

import os
import sys
import time

import pytest

from tfcaption.config import ConfigError, load_config
from tfcaption.sweep import main
from tfcaption.training import sweep as module
from tfcaption.training.sweep import sweep, trials

CONFIG = "sample_frozen"
STAND_IN = f"""#!{sys.executable}
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
sets = dict(item.split("=", 1) for item in sys.argv[sys.argv.index("--set") + 1:])
assert sets["train.early_stopping_metric"] == "dev_cider"
rate = float(sets["train.learning_rate"])
print("trained", os.getpid(), flush=True)
if rate == 13:
    print("error: an unlucky number")
    sys.exit(1)
os.makedirs(sets["run"], exist_ok=True)
figures = {{"dev_bleu_4": 0.1, "dev_loss": 2.5, "train_seconds": 50, "dev_seconds": 10}}
with open(sets["run"] + "/metrics.jsonl", "w") as stream:
    for epoch, cider in enumerate((rate / 2, rate, rate / 3), 1):
        stream.write(json.dumps({{"epoch": epoch, "dev_cider": cider, **figures}}) + "\\n")
if os.environ.get("LONG"):
    time.sleep(60)
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Takes the place of the interpreter that would train."""
    script = tmp_path / "python"
    script.write_text(STAND_IN)
    script.chmod(0o755)
    monkeypatch.setattr(module.sys, "executable", str(script))
    return tmp_path / "sweep"


def rows(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_every_combination_is_a_trial_with_a_name_of_its_own():
    found = trials(["train.learning_rate=1e-3,2e-3", "model.glove=a/b.txt,c.txt", "train.seed=0"])
    assert len(found) == 4 == len({trial.name for trial in found})
    assert found[1].overrides == ["train.learning_rate=1e-3", "model.glove=c.txt", "train.seed=0"]
    assert found[0].name == "learning_rate=1e-3,glove=a_b.txt,seed=0"


@pytest.mark.parametrize("entry", ["train.seed", "train.seed=", "train.seed=1,,2"])
def test_a_grid_that_is_none_is_refused(entry):
    with pytest.raises(ConfigError, match="KEY=VALUE,VALUE"):
        trials([entry])


def test_all_combinations_are_checked_before_the_first_one_trains(stand_in):
    with pytest.raises(ConfigError, match="^--grid model.dropout=7: model.dropout: "):
        sweep(CONFIG, ["train.learning_rate=0.2", "model.dropout=0.3,7"], stand_in)
    assert not stand_in.exists()


def test_the_table_is_sorted_by_the_best_dev_cider_and_a_failed_run_stops_no_other(stand_in, capsys):
    table = sweep(CONFIG, ["train.learning_rate=0.2,13,0.6,0.4"], stand_in)
    assert [row[0] for row in rows(table)] == [f"learning_rate={rate}" for rate in ("0.6", "0.4", "0.2", "13")]
    assert rows(table)[0][1:] == ["0.6000", "0.1000", "2.5000", "2", "3", "3.0", "finished"]
    assert rows(table)[3][1:] == ["-"] * 6 + ["failed"]
    assert "error: an unlucky number" in capsys.readouterr().out
    assert (stand_in / "sweep.md").read_text() == table + "\n"


def test_the_same_command_again_trains_only_what_is_not_finished(stand_in):
    grid = ["train.learning_rate=0.2,13"]
    first, again = sweep(CONFIG, grid, stand_in), sweep(CONFIG, grid, stand_in)
    assert first == again
    assert (stand_in / "learning_rate=0.2.log").read_text().count("trained") == 1
    assert (stand_in / "learning_rate=13.log").read_text().count("trained") == 2


def test_when_the_budget_ends_a_training_saves_and_the_others_wait(stand_in, monkeypatch):
    monkeypatch.setenv("LONG", "1")
    start = time.monotonic()
    table = sweep(CONFIG, ["train.learning_rate=0.2,0.4"], stand_in, budget_minutes=3 / 60)
    assert time.monotonic() - start < 30
    assert [(row[0], row[-1]) for row in rows(table)] == [
        ("learning_rate=0.2", "stopped"),
        ("learning_rate=0.4", "not started"),
    ]
    monkeypatch.delenv("LONG")
    assert {row[-1] for row in rows(sweep(CONFIG, ["train.learning_rate=0.2,0.4"], stand_in))} == {"finished"}


def test_an_interrupted_sweep_leaves_no_training_behind(stand_in, monkeypatch):
    monkeypatch.setenv("LONG", "1")

    def interrupted(process, timeout=None, wait=module.subprocess.Popen.wait):
        if timeout is None:
            while not (stand_in / "learning_rate=0.2").is_dir():
                time.sleep(0.05)
            raise KeyboardInterrupt
        return wait(process, timeout)

    monkeypatch.setattr(module.subprocess.Popen, "wait", interrupted)
    assert main(["--config", CONFIG, "--grid", "train.learning_rate=0.2", "--output", str(stand_in)]) == 75
    pid = int((stand_in / "learning_rate=0.2.log").read_text().split()[1])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.slow
def test_a_sweep_trains_real_runs(sample_records, pooled, tmp_path):
    fixed = [f"data.records={sample_records}", f"data.features={pooled}", "train.epochs=1", "data.batch_size_photos=16"]
    table = sweep(CONFIG, ["model.gru_units=8,16"], tmp_path / "sweep", overrides=fixed)
    assert [row[-1] for row in rows(table)] == ["finished"] * 2
    assert all(float(row[1]) >= 0 for row in rows(table))
    assert load_config(tmp_path / "sweep" / "gru_units=16" / "config.yaml").model.gru_units == 16
