"""Training runs for tests."""

import json
import os
import socket
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
    weights = None if features else "random"  # features name theirs
    sizes = {"weights": weights, "embedding_units": 16, "gru_units": 32, "dense_units": 32} | model
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


def launched(tmp_path, settings, name="config", **environment):
    """`tfcaption.train` in a process of its own."""
    save_config(settings, tmp_path / f"{name}.yaml")
    command = [sys.executable, "-m", "tfcaption.train", "--config", str(tmp_path / f"{name}.yaml")]
    return subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def hosts_of(tmp_path, settings, jobs, **environment):
    """A process for each host of a cluster that trains; of several settings, each host gets its own.

    Args:
        jobs: `chief`, `worker` or `evaluator` of each; an evaluator is not started.
    """
    cluster = {}
    for job, port in zip(jobs, free_ports(len(jobs)), strict=True):
        cluster.setdefault(job, []).append(f"localhost:{port}")
    tasks = [{"type": job, "index": jobs[:place].count(job)} for place, job in enumerate(jobs) if job != "evaluator"]
    each = settings if isinstance(settings, list) else [settings] * len(tasks)
    return [
        launched(
            tmp_path,
            of_host,
            f"host-{place}",
            TF_CONFIG=json.dumps({"cluster": cluster, "task": task}),
            **environment,
        )
        for place, (task, of_host) in enumerate(zip(tasks, each, strict=True))
    ]


def outputs_of(processes):
    """Wait for the end of all; (standard output, standard error) of each."""
    return [process.communicate(timeout=600) for process in processes]


def wait_for_steps(run, least, process):
    while process.poll() is None:
        if (run / "steps.jsonl").is_file() and len((run / "steps.jsonl").read_text().splitlines()) >= least:
            return
        time.sleep(0.002)
    raise AssertionError(process.communicate())
