"""Training on four hosts with addresses of their own."""

import json
import os
import subprocess
import sys
import time

import pytest

from tests.clusters.fetching import Unavailable
from tests.clusters.hosts import new_hosts
from tests.support.host_data import records_and_vectors, settings_of
from tests.support.runs import figures, outputs_of, step_losses, wait_for_steps
from tfcaption.config import save_config

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
HOSTS, LOST = 4, 2


@pytest.fixture(scope="module")
def hosts():
    try:
        with new_hosts(HOSTS) as (_, *others):
            yield others
    except Unavailable as error:
        pytest.skip(str(error))


def training_on(hosts, settings, folder):
    """A process on each host."""
    path = folder / "config.yaml"
    save_config(settings, path)
    train = [sys.executable, "-m", "tfcaption.train", "--config", str(path)]
    cluster = {"worker": [f"{host.address}:2222" for host in hosts]}
    tasks = [json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}) for index in range(HOSTS)]
    return [
        subprocess.Popen(
            ["ip", "netns", "exec", host.namespace, *train],
            env={**os.environ, "TF_CONFIG": task},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for host, task in zip(hosts, tasks, strict=True)
    ]


def test_four_hosts_lose_one_and_resume_exactly(hosts, sample, tmp_path):
    data = records_and_vectors(sample, tmp_path)
    undisturbed = tmp_path / "undisturbed"
    processes = training_on(hosts, settings_of(undisturbed, data, epochs=3), tmp_path)
    outputs = outputs_of(processes)
    assert [process.returncode for process in processes] == [0] * HOSTS, outputs
    run = tmp_path / "run"
    processes = training_on(hosts, settings_of(run, data, epochs=500, early_stopping_epochs=500), tmp_path)
    wait_for_steps(run, len(step_losses(undisturbed)) // 2, processes[LOST])
    processes[LOST].kill()
    start = time.monotonic()
    outputs = outputs_of(processes)
    assert time.monotonic() - start < 120
    for index, (process, (_, error)) in enumerate(zip(processes, outputs, strict=True)):
        if index != LOST:
            assert process.returncode == 1 and f"on all {HOSTS} hosts to resume" in error and "Traceback" not in error
    processes = training_on(hosts, settings_of(run, data, epochs=3), tmp_path)
    outputs = outputs_of(processes)
    assert [process.returncode for process in processes] == [0] * HOSTS, outputs
    done = len(step_losses(undisturbed))
    assert step_losses(run)[:done] == step_losses(undisturbed) and figures(run)[:3] == figures(undisturbed)
