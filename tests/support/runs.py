"""Training runs for tests."""

import json
import os
import subprocess
import sys
import time

from tfcaption.config import Config, save_config
from tfcaption.decoding.options import CaptionOptions
from tfcaption.evaluation.evaluator import evaluate_run
from tfcaption.evaluation.results import EvaluationOptions
from tfcaption.runs.directory import load_run, load_run_dataset, open_run
from tfcaption.training.loop import train_run


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
                "shown_photos": 0,  # tracing their search takes seconds
            },
        }
    )


def train(settings):
    """Train a config in this process; the run directory."""
    with open_run(settings) as run:
        return train_run(run)


def evaluate(path, records=None, *, search=None, **options):
    """Evaluate a run directory; the content of metrics.json."""
    run = load_run(path)
    options = EvaluationOptions(search=search or CaptionOptions(), **options)
    return evaluate_run(run, load_run_dataset(run, records), options)


def step_losses(run):
    return [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]


def figures(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if "seconds" not in key} for line in lines]


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
