"""The launch recipes give every host the TF_CONFIG that names it, with stubs in place of SLURM and Kubernetes."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tfcaption.runtime.hosts import Host, find_host

LAUNCH = Path(__file__).parents[2] / "docs" / "launch"
# srun starts its command once for each node; scontrol names the nodes of a job, and notes what it queues again.
STUBS = {
    "srun": 'shift\nfor SLURM_NODEID in 0 1 2; do export SLURM_NODEID; "$@" || code=$?; done\nexit ${code:-0}\n',
    "scontrol": 'if [ "$1" = show ]; then printf "%s\\n" gpu-07 gpu-08 gpu-11; else echo "$@" > "$OUT/requeued"; fi\n',
    "python": 'echo "$TF_CONFIG" > "$OUT/$SLURM_NODEID"\nprintf "%s\\n" "$@" > "$OUT/arguments"\nexit $CODE\n',
}


def host_of(tf_config, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config)
    return find_host()


@pytest.mark.parametrize("code", [0, 1, 75])
def test_the_slurm_script_starts_a_host_on_each_node_and_queues_a_stopped_job_again(code, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    for name, script in STUBS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{script}")
        (tmp_path / "bin" / name).chmod(0o755)
    stubs = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "VENV": str(tmp_path), "OUT": str(tmp_path)}
    job = {"SLURM_JOB_ID": "4100017", "SLURM_JOB_NODELIST": "gpu-[07-08,11]", "CODE": str(code)}
    arguments = ["--config", "flickr8k_frozen", "--set", "run=/shared/my runs/a"]
    done = subprocess.run(
        ["bash", LAUNCH / "slurm.sh", *arguments], env=os.environ | stubs | job, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (code, "")
    hosts = [host_of((tmp_path / str(node)).read_text(), monkeypatch) for node in range(3)]
    assert hosts == [Host(node, 3) for node in range(3)]
    assert {host.addresses for host in hosts} == {("gpu-07:20017", "gpu-08:20017", "gpu-11:20017")}
    assert (tmp_path / "arguments").read_text().splitlines() == ["-m", "tfcaption.train", *arguments]
    assert (tmp_path / "requeued").exists() == (code == 75)
    if code == 75:
        assert (tmp_path / "requeued").read_text() == "requeue 4100017\n"


def test_the_kubernetes_manifest_gives_each_pod_its_place_and_names_that_the_service_resolves(monkeypatch):
    service, job = yaml.safe_load_all((LAUNCH / "kubernetes.yaml").read_text())
    name, spec = job["metadata"]["name"], job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    index, tf_config = container["env"]  # $(NAME) is replaced by a variable that stands before
    assert spec["completionMode"] == "Indexed" and spec["completions"] == spec["parallelism"]
    assert index["valueFrom"]["fieldRef"]["fieldPath"].endswith("['batch.kubernetes.io/job-completion-index']")
    for number in range(spec["completions"]):
        expanded = tf_config["value"].replace(f"$({index['name']})", str(number))
        host = host_of(expanded, monkeypatch)
        assert host == Host(number, spec["completions"])
        # Kubernetes names a pod JOB-INDEX.SUBDOMAIN where a headless service of the subdomain's name selects it.
        port = container["ports"][0]["containerPort"]
        assert host.addresses[number] == f"{name}-{number}.{pod['subdomain']}:{port}"
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"] is True
    assert service["metadata"]["name"] == pod["subdomain"]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    ignored = spec["podFailurePolicy"]["rules"][0]["onExitCodes"]
    assert ignored["values"] == [75] and ignored["containerName"] == container["name"]
    assert pod["restartPolicy"] == "Never"  # as a podFailurePolicy demands


@pytest.mark.parametrize("recipe", ["slurm.sh", "kubernetes.yaml"])
def test_the_recipes_train_with_options_and_fields_that_exist(recipe, monkeypatch):
    from tests.system.test_docs import options, parser_of
    from tfcaption.config import load_config

    text = (LAUNCH / recipe).read_text()
    assert {"--config", "--set"} <= options(parser_of("tfcaption.train"))
    fields = re.findall(r"\b(run|(?:data|train|model)\.\w+)=([\w/.]+)", text)
    assert fields
    load_config(re.search(r"\b(flickr8k_\w+)", text)[1], [f"{key}={value}" for key, value in fields if value != "..."])
