"""Nothing is lost when things break: kills, second jobs, full disks, damaged files; and a rerun mends it."""

import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import psutil
import pytest

from beam_jobs import build_records, caption_images, extract_features
from tests.conftest import IN_MEMORY, tree_bytes
from tfcaption import records, train
from tfcaption.folder_lock import locked
from tfcaption.inspect import inspect_records

MOMENTS = 10  # of the slow tests
PATIENCE = 120  # seconds, for what must end by itself


def building(sample, output, *flags):
    """Arguments of the job that makes `sample_records`."""
    images, texts = sample
    arguments = ["--images", str(images), "--captions", str(texts), "--output", str(output), *flags]
    return [*arguments, "--image_size=32", "--min_count=1", "--shards=3"]


def launched(module, *arguments, **options):
    """A command in a process group of its own."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, **options
    )


def workers(process):
    """The worker processes of a running job, without the shells that started them."""
    found = psutil.Process(process.pid).children(recursive=True)
    return [worker for worker in found if not worker.children()]


def wait_for(condition, process):
    while not (found := condition()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return found


# --- two jobs, one output --------------------------------------------------------------------------------

HOLDER = "import sys; from tfcaption.folder_lock import locked\nwith locked(sys.argv[1]): print('held'); input()"


@contextmanager
def held(folder):
    """Another process that holds the folder's lock, until it is killed at the end."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture
def small_run(sample_records, tmp_path):
    """A config file of a training that would take two steps."""
    config = tmp_path / "config.yaml"
    config.write_text(f"run: {tmp_path / 'out'}\ndata: {{records: {sample_records}}}\nmodel: {{weights: random}}\n")
    return config


@pytest.mark.parametrize("command", ["build_records", "extract_features", "caption_images", "train"])
def test_a_second_job_on_a_folder_is_refused_and_says_who_holds_it(
    command, sample, sample_records, small_run, tmp_path, capsys
):
    output = tmp_path / "out"
    main, arguments = {
        "build_records": (build_records.main, building(sample, output)),
        "extract_features": (
            extract_features.main,
            ["--records", str(sample_records), "--output", str(output), "--stage=pooled", "--weights=random"],
        ),
        "caption_images": (
            caption_images.main,
            ["--model=none", "--images", str(sample[0]), "--output", str(output)],
        ),
        "train": (train.main, ["--config", str(small_run)]),
    }[command]
    with held(output) as process:
        before = tree_bytes(output)
        assert main(arguments) == 1
        assert f"{output}: in use by process {process.pid} on " in capsys.readouterr().err
        assert tree_bytes(output) == before


def test_a_lock_ends_with_its_process_and_a_killed_one_is_no_obstacle(sample, sample_records, tmp_path):
    output = tmp_path / "out"
    with held(output):
        pass
    assert (output / ".lock").read_text()  # left behind by the kill
    assert build_records.main([*building(sample, output), *IN_MEMORY]) == 0
    assert tree_bytes(output) == tree_bytes(sample_records)


def test_a_lock_leaves_no_trace_and_no_empty_folder(tmp_path):
    with locked(tmp_path / "new"):
        assert [path.name for path in (tmp_path / "new").iterdir()] == [".lock"]
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "new"):
        (tmp_path / "new" / "result").touch()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["result"]


# --- killed jobs -----------------------------------------------------------------------------------------


def assert_complete_or_absent(output):
    """Where there is a description, all that it describes is there and whole."""
    if (output / records.DATASET_FILE).exists():
        assert inspect_records(output).faults == []


@pytest.fixture
def stuck_job(sample, tmp_path):
    """A job with two workers, one of them in the middle of a shard: the job, its output, and a pipe that it reads."""
    images = shutil.copytree(sample[0], tmp_path / "images")
    output = tmp_path / "out"
    process = launched("beam_jobs.build_records", *building((images, sample[1]), output, "--direct_num_workers=2"))
    wait_for((output / ".progress").is_dir, process)  # the photos are listed by now, and the workers still start
    photo = sorted(images.iterdir())[0]
    photo.unlink()
    os.mkfifo(photo)

    def opened():
        try:
            return os.open(photo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads it yet
            return None

    pipe = wait_for(opened, process)
    yield process, output, pipe
    os.close(pipe)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def nobody_reads(pipe, seconds):
    """Whether the last reader of a pipe goes within that time."""
    poll = select.poll()
    poll.register(pipe, 0)
    return bool(poll.poll(seconds * 1000))


def test_workers_of_a_killed_job_end_with_it_and_a_rerun_gives_the_same_bytes(
    stuck_job, sample, sample_records, capsys
):
    process, output, pipe = stuck_job
    assert build_records.main(building(sample, output)) == 1
    assert f"in use by process {process.pid} on" in capsys.readouterr().err
    assert not nobody_reads(pipe, 0)
    process.kill()
    assert nobody_reads(pipe, PATIENCE)
    assert not (output / records.DATASET_FILE).exists()
    assert build_records.main([*building(sample, output), *IN_MEMORY]) == 0
    assert tree_bytes(output) == tree_bytes(sample_records)


def test_a_worker_killed_while_it_starts_ends_the_job_too(sample, tmp_path):
    process = launched("beam_jobs.build_records", *building(sample, tmp_path / "out", "--direct_num_workers=2"))
    wait_for(lambda: workers(process), process)[0].kill()
    printed, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1 and "error: a worker process ended before its work" in printed
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").glob("*.tfrecord"))


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A sample that takes a job some seconds, its records, and the seconds that a job with two workers takes."""
    from tfcaption.sample_data import write_sample

    folder = tmp_path_factory.mktemp("many")
    sample = write_sample(folder / "sample", photos=2000, seed=4)
    start = time.monotonic()
    process = launched("beam_jobs.build_records", *building(sample, folder / "records", "--direct_num_workers=2"))
    assert process.wait() == 0
    return sample, folder / "records", time.monotonic() - start


@pytest.mark.slow
@pytest.mark.parametrize("victims", ["group", "parent", "worker"])
def test_records_killed_at_random_moments_are_complete_or_absent_and_a_rerun_gives_the_same_bytes(
    victims, many, tmp_path
):
    sample, expected, seconds = many
    moments = random.Random(victims)
    for _ in range(MOMENTS):
        output = tmp_path / "out"
        arguments = building(sample, output, "--direct_num_workers=2")
        process = launched("beam_jobs.build_records", *arguments)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0, seconds))
        kill(process, victims, moments)
        printed, _ = process.communicate(timeout=PATIENCE)
        if victims == "worker" and process.returncode:
            assert "error: a worker process ended before its work" in printed
        assert_complete_or_absent(output)
        assert build_records.main([*arguments, "--overwrite"]) == 0
        assert tree_bytes(output) == tree_bytes(expected)
        shutil.rmtree(output)


def kill(process, victims, moments):
    """SIGKILL for all of a job, its parent only, or one of its workers."""
    if victims == "group":
        os.killpg(process.pid, signal.SIGKILL)
    elif victims == "parent":
        process.kill()
    elif process.poll() is None and (found := workers(process)):
        with suppress(psutil.NoSuchProcess):
            moments.choice(found).kill()
