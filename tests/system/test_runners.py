"""The jobs on every runner that works on this machine: identical bytes, or a refusal with its reason."""

import os
import re
import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

import apache_beam as beam
import grpc
import pytest
from apache_beam.runners.portability.prism_runner import PrismJobServer
from apache_beam.utils.subprocess_server import JavaJarServer

from beam_jobs import build_records, extract_features
from beam_jobs.errors import JobFailed
from beam_jobs.execution.options import beam_options
from beam_jobs.execution.runner import run_pipeline
from tests.conftest import tree_bytes
from tests.support.installed import install
from tfcaption.runtime.errors import UsageError

PORTABLE = ["--runner=PortableRunner", "--job_endpoint=embed"]
LOOPBACK = [*PORTABLE, "--environment_type=LOOPBACK"]


def build(sample, output, *flags):
    images, texts = sample
    arguments = ["--images", str(images), "--captions", str(texts), "--output", str(output)]
    return build_records.main([*arguments, "--image_size=32", "--min_count=1", "--shards=3", *flags])


def extract(sample_records, output, *flags):
    arguments = (
        f"--records {sample_records} --output {output} --stage=pooled --weights=random --precision=float32".split()
    )
    return extract_features.main([*arguments, "--batch_size=16", *flags])


@pytest.fixture
def dead_proxies(monkeypatch):
    """Proxies that nobody answers for, as on a company's machine that has no way to itself by them."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"):
        for variable in (name, name.upper()):
            monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("flags", [["--direct_num_workers=2"], LOOPBACK], ids=["processes", "job_server"])
@pytest.mark.usefixtures("dead_proxies")
def test_records_have_the_same_bytes_on_every_runner(sample, sample_records, tmp_path, flags):
    assert len(tree_bytes(sample_records)) == 3 + 5
    assert build(sample, tmp_path / "out", *flags) == 0
    assert tree_bytes(tmp_path / "out") == tree_bytes(sample_records)


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(["--direct_running_mode=multi_processing", "--direct_num_workers=2"], marks=pytest.mark.slow),
        LOOPBACK,
    ],
    ids=["processes", "job_server"],
)
@pytest.mark.usefixtures("dead_proxies")
def test_features_have_the_same_bytes_on_every_runner(sample_records, pooled, tmp_path, flags):
    assert extract(sample_records, tmp_path / "out", *flags) == 0
    assert tree_bytes(tmp_path / "out") == tree_bytes(pooled)


def test_prism_gives_the_same_bytes(sample, sample_records, tmp_path):
    prism = shutil.which("prism")
    if prism is None:
        pytest.skip("needs prism: go install github.com/apache/beam/sdks/v2/go/cmd/prism@v2.77.0, on the PATH")
    assert build(sample, tmp_path / "out", "--runner=PrismRunner", f"--prism_location={prism}") == 0
    assert tree_bytes(tmp_path / "out") == tree_bytes(sample_records)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("PrismRunner", "--prism_location FILE"),
        pytest.param("FlinkRunner", "--flink_job_server_jar FILE", marks=pytest.mark.slow),
        pytest.param("SparkRunner", "--spark_job_server_jar FILE", marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("dead_proxies")
def test_a_runner_that_cannot_be_downloaded_is_one_line_with_the_cure(name, option, tmp_path, monkeypatch):
    monkeypatch.setattr(PrismJobServer, "BIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(JavaJarServer, "JAR_CACHE", str(tmp_path / "cache"))
    options = beam_options([f"--runner={name}"], output=str(tmp_path))
    pipeline = beam.Pipeline(options=options)
    _ = pipeline | beam.Create([1])
    message = (
        rf"--runner={name}: its job server cannot be started \(\w+: .*\); name it with {option}, or leave --runner"
    )
    with pytest.raises(UsageError, match=message) as caught:
        run_pipeline(pipeline, str(tmp_path), total=1, unit="photos", label="writing")
    assert "\n" not in str(caught.value)


def break_photo(number):
    raise ValueError(f"photo {number} broke")


def run_broken(output, *flags):
    pipeline = beam.Pipeline(options=beam_options([*PORTABLE, *flags], output=str(output)))
    _ = pipeline | beam.Create([7]) | "Break" >> beam.Map(break_photo)
    run_pipeline(pipeline, str(output), total=1, unit="photos", label="writing")


def test_a_job_that_fails_on_an_engine_is_one_line_with_the_first_cause_and_the_log(tmp_path):
    cause = (
        r"--runner=PortableRunner: the job failed: ValueError: photo 7 broke .while running 'Break'.; .* is in (\S+);"
    )
    with pytest.raises(JobFailed, match=cause) as caught:
        run_broken(tmp_path, "--environment_type=LOOPBACK")
    assert "\n" not in str(caught.value)
    log = Path(re.search(cause, str(caught.value))[1])
    assert "in break_photo" in log.read_text()
    log.unlink()


def test_a_job_that_an_engine_refuses_says_so_and_does_not_blame_the_job_server(tmp_path):
    with pytest.raises(UsageError, match=r"the job is refused \(ValueError: Unknown environment type: MOON\)$"):
        run_broken(tmp_path, "--environment_type=MOON")


@pytest.mark.parametrize("name", ["DaskRunner", "BundleBasedDirectRunner"])
@pytest.mark.parametrize("spelling", ["{}", "apache_beam.runners.some.module.{}"])
def test_a_runner_that_loses_records_is_refused_with_the_reason(sample, tmp_path, capsys, name, spelling):
    assert build(sample, tmp_path / "out", f"--runner={spelling.format(name)}") == 1
    error = capsys.readouterr().err
    assert f"{name} is refused: it" in error and "leave --runner out" in error
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return install(tmp_path_factory.mktemp("installed"))


@contextmanager
def worker_pool(python, folder):
    """Flags for workers in processes that a worker pool of another environment starts."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    command = [python, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
    with (folder / "pool.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stderr=log)
    try:
        with grpc.insecure_channel(f"localhost:{port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=60)
        yield [*PORTABLE, "--environment_type=EXTERNAL", f"--environment_config=localhost:{port}"]
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.slow
def test_workers_of_an_installed_package_give_the_same_bytes(
    installed, sample, sample_records, pooled, tmp_path, monkeypatch
):
    code = "import beam_jobs, tfcaption; print(beam_jobs.__file__, tfcaption.__file__, sep='\\n')"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    found = subprocess.run([installed, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert all(Path(path).is_relative_to(installed.parents[1]) for path in found.stdout.split()) and found.stdout
    (tmp_path / "pool").mkdir()
    monkeypatch.chdir(tmp_path)  # the workers start in the folder of their pool
    with worker_pool(installed, tmp_path / "pool") as flags:
        relative = [os.path.relpath(folder) for folder in sample]
        assert build(relative, "records", *flags) == 0
        assert extract(os.path.relpath(sample_records), "pooled", *flags) == 0
    assert tree_bytes(tmp_path / "records") == tree_bytes(sample_records)
    assert tree_bytes(tmp_path / "pooled") == tree_bytes(pooled)
    assert (tmp_path / "pool" / "pool.log").read_text().count("Starting worker") >= 2
