"""The jobs on real engines: the bytes of FnApiRunner, and after a kill complete output or none."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from beam_jobs import caption_images
from tests.clusters import engines
from tests.clusters.fetching import Unavailable
from tests.conftest import tree_bytes
from tests.support.fake_export import write_export
from tests.support.installed import install
from tfcaption.records.dataset_info import CAPTIONS_FILE, DATASET_FILE, FEATURES_FILE

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
JOBS = {"build_records": DATASET_FILE, "extract_features": FEATURES_FILE, "caption_images": CAPTIONS_FILE}
VICTIMS = ["worker", "pool"]
PATIENCE = 300  # seconds, for a job


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    return install(tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="module", params=["prism", "flink", "spark"])
def engine(request, python, tmp_path_factory):
    start = time.monotonic()
    try:
        with getattr(engines, request.param)(tmp_path_factory.mktemp(request.param), python) as running:
            yield running
    except Unavailable as error:
        pytest.skip(f"{request.param}: {error}")
    print(f"{request.param}: {time.monotonic() - start:.0f} s")


@pytest.fixture(scope="module")
def jobs(sample, sample_records, pooled, tmp_path_factory):
    """Command -> its arguments without the output, and the output that FnApiRunner gives."""
    images, texts = map(str, sample)
    export = write_export(tmp_path_factory.mktemp("export") / "mean")
    captioning = ["--model", str(export), "--images", images, "--shards=4"]
    captions = tmp_path_factory.mktemp("captions") / "captions"
    assert caption_images.main([*captioning, "--output", str(captions)]) == 0
    building = ["--images", images, "--captions", texts, "--image_size=32", "--min_count=1", "--shards=3"]
    extracting = (
        f"--records {sample_records} --stage=pooled --weights=random --precision=float32 --batch_size=16".split()
    )
    return {
        "build_records": (building, tree_bytes(sample_records)),
        "extract_features": (extracting, tree_bytes(pooled)),
        "caption_images": (captioning, tree_bytes(captions)),
    }


@pytest.fixture
def launch(engine):
    """Starts a job on the engine; whatever is left of a job when the test ends is killed."""
    jobs = []

    def start(job, arguments, output):
        command = [sys.executable, "-m", f"beam_jobs.{job}", *arguments, "--output", str(output), *engine.flags]
        settings = {"env": {**os.environ, **engine.environment}, "start_new_session": True}
        with output.with_name("log").open("ab") as log:
            jobs.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, **settings))
        return jobs[-1]

    yield start
    for job in jobs:
        with suppress(ProcessLookupError):  # nothing is left
            os.killpg(job.pid, signal.SIGKILL)


def ended(process, output):
    """Its exit status; what it said where it does not end."""
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"did not end in {PATIENCE} s: {output.with_name('log').read_text()[-3000:]}")


def at_work(engine, victim, output):
    """Whether a step works on photos, and the worker on the host of `victim` has all its connections.

    One that dies before that leaves Flink waiting for minutes: see `docs/upstream/README.md`.
    """
    pools = [name for name in engine.starters if name.startswith("pool")]
    pool = f"pool-{victim.rpartition('-')[2]}"
    # On Prism, which has one pool, all connections of a worker are one.
    return any((output / ".progress").glob("*")) and (len(pools) == 1 or engine.processes.at_work(pool))


@pytest.mark.parametrize("job", JOBS)
def test_a_job_has_the_bytes_of_the_local_runner(launch, job, jobs, tmp_path):
    arguments, expected = jobs[job]
    output = tmp_path / "out"
    status = ended(launch(job, arguments, output), output)
    assert status == 0, (tmp_path / "log").read_text()[-3000:]
    assert tree_bytes(output) == expected


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_job_whose_worker_is_killed_is_complete_or_absent_and_a_rerun_has_the_same_bytes(
    engine, launch, victim, job, jobs, tmp_path
):
    kind, victim = victim, max((name for name in engine.starters if name.startswith(victim)), default=None)
    if victim is None:
        pytest.skip(f"this engine has no {kind}")
    arguments, expected = jobs[job]
    output = tmp_path / "out"
    process = launch(job, arguments, output)
    while not at_work(engine, victim, output):
        assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
        time.sleep(0.01)
    engine.processes.kill(victim)
    killed = time.monotonic()
    try:
        status = ended(process, output)
    finally:
        engine.start(victim)
    complete = (output / JOBS[job]).exists()
    seconds = time.monotonic() - killed
    errors = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("error: ")]
    print(f"{job}, {victim} killed: ended after {seconds:.0f} s, {'complete' if complete else errors}")
    assert complete or errors
    assert complete == (status == 0)
    if complete:
        assert tree_bytes(output) == expected
    again = ended(launch(job, [*arguments, "--overwrite"], output), output)
    assert again == 0, (tmp_path / "log").read_text()[-3000:]
    assert tree_bytes(output) == expected
    shutil.rmtree(output)
