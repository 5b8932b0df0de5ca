"""Nothing is lost when things break: kills, second jobs, full disks, damaged files; and a rerun mends it."""

import errno
import fcntl
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.localfilesystem import LocalFileSystem

from beam_jobs import build_records, caption_images, extract_features
from tests.conftest import IN_MEMORY, tree_bytes
from tests.support.fake_export import write_export
from tests.support.runs import config as training_config
from tests.support.runs import figures, step_losses, train
from tfcaption import train as train_command
from tfcaption.config import save_config
from tfcaption.inspection.verification import inspect_records
from tfcaption.records.dataset_info import DATASET_FILE, FEATURES_FILE
from tfcaption.runtime.folder_lock import locked

MOMENTS = 10  # of the slow tests
PATIENCE = 120  # seconds, for what must end by itself


def building(sample, output, *flags):
    """Arguments of the job that makes `sample_records`."""
    images, texts = sample
    arguments = ["--images", str(images), "--captions", str(texts), "--output", str(output), *flags]
    return [*arguments, "--image_size=32", "--min_count=1", "--shards=3"]


def launched(module, *arguments, log=os.devnull):
    """A command in a process group of its own, that writes into a file: a pipe would wait for all workers to end."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with Path(log).open("w") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)


def workers(process):
    """The worker processes of a running job, without the shells that started them."""
    found = psutil.Process(process.pid).children(recursive=True)
    return [worker for worker in found if not worker.children()]


def wait_for(condition, process):
    while not (found := condition()):
        assert process.poll() is None, "ended too early"
        time.sleep(0.01)
    return found


# --- two jobs, one output --------------------------------------------------------------------------------

HOLDER = (
    "import sys; from tfcaption.runtime.folder_lock import locked\nwith locked(sys.argv[1]): print('held'); input()"
)


@contextmanager
def held(folder):
    """Another process that holds the folder's lock, until it is killed at the end."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("command", ["build_records", "extract_features", "caption_images", "train"])
def test_a_second_job_on_a_folder_is_refused_and_says_who_holds_it(
    command, sample, sample_records, small_run, tmp_path, capsys
):
    output = tmp_path / "out"
    main, arguments = {
        "build_records": (build_records.main, building(sample, output)),
        "extract_features": (
            extract_features.main,
            f"--records {sample_records} --output {output} --stage=pooled --weights=random --precision=float32".split(),
        ),
        "caption_images": (
            caption_images.main,
            ["--model=none", "--images", str(sample[0]), "--output", str(output)],
        ),
        "train": (train_command.main, ["--config", str(small_run)]),
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


def test_a_dying_worker_of_a_killed_process_is_waited_for(tmp_path):
    """It holds a shared lock for a moment."""
    with held(tmp_path):
        pass
    descriptor = os.open(tmp_path / ".lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    worker = threading.Timer(0.3, os.close, [descriptor])
    worker.start()
    with locked(tmp_path):
        assert worker.finished.is_set()


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
    if (output / DATASET_FILE).exists():
        assert inspect_records(output).faults == []


@pytest.fixture
def stuck_job(sample, tmp_path):
    """A job in the middle of a shard, after another shard: the job, its photos, output, and a pipe that it reads."""
    images = shutil.copytree(sample[0], tmp_path / "images")
    output = tmp_path / "out"
    photo = sorted(images.iterdir())[0]
    photo.unlink()
    os.mkfifo(photo)  # which is no photo where the folder is listed
    flags = ["--direct_num_workers=2", "--photos_as_named"]
    process = launched("beam_jobs.build_records", *building((images, sample[1]), output, *flags))

    def opened():
        try:
            return os.open(photo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads it yet
            return None

    pipe = wait_for(opened, process)
    wait_for(lambda: list(output.glob("*-of-*.json")), process)
    yield process, (images, photo), output, pipe
    os.close(pipe)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def nobody_reads(pipe, seconds):
    """Whether the last reader of a pipe goes within that time."""
    poll = select.poll()
    poll.register(pipe, 0)
    return bool(poll.poll(seconds * 1000))


def test_workers_of_a_killed_job_end_with_it_and_a_rerun_keeps_its_shards_and_gives_the_same_bytes(
    stuck_job, sample, sample_records, capsys
):
    process, (images, photo), output, pipe = stuck_job
    assert build_records.main(building(sample, output)) == 1
    assert f"in use by process {process.pid} on" in capsys.readouterr().err
    assert not nobody_reads(pipe, 0)
    process.kill()
    assert nobody_reads(pipe, 1.5)  # Beam's workers would go on for some seconds
    assert not (output / DATASET_FILE).exists()
    kept = {path.stem: (output / f"{path.stem}.tfrecord").stat().st_ino for path in output.glob("*-of-*.json")}
    photo.unlink()
    shutil.copy(sample[0] / photo.name, photo)
    assert build_records.main([*building((images, sample[1]), output, "--photos_as_named"), *IN_MEMORY]) == 0
    assert f"shards of an earlier run that are kept: {len(kept)}\n" in capsys.readouterr().out and 0 < len(kept) < 5
    assert {name: (output / f"{name}.tfrecord").stat().st_ino for name in kept} == kept
    assert tree_bytes(output) == tree_bytes(sample_records)


def test_a_worker_killed_while_it_starts_ends_the_job_too(sample, tmp_path):
    arguments = building(sample, tmp_path / "out", "--direct_num_workers=2")
    process = launched("beam_jobs.build_records", *arguments, log=tmp_path / "log")
    wait_for(lambda: workers(process), process)[0].kill()
    assert process.wait(PATIENCE) == 1
    assert "error: a worker process ended before its work" in (tmp_path / "log").read_text()
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").glob("train-*"))


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A sample that takes a job some seconds, its records, and the seconds that a job with two workers takes."""
    from tfcaption.sample_data import write_sample

    folder = tmp_path_factory.mktemp("many")
    sample = write_sample(folder / "sample", photos=1000, seed=4)
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
        process = launched("beam_jobs.build_records", *arguments, log=tmp_path / "log")
        with suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0, seconds))
        kill(process, victims, moments)
        code = process.wait(PATIENCE)
        if victims == "worker" and code:
            assert "error: a worker process ended before its work" in (tmp_path / "log").read_text()
        assert_complete_or_absent(output)
        overwrite = ["--overwrite"] if (output / DATASET_FILE).exists() else []
        assert build_records.main([*arguments, *overwrite]) == 0
        assert tree_bytes(output) == tree_bytes(expected)
        shutil.rmtree(output)


def kill(process, victims, moments):
    """SIGKILL for all of a job, its parent only, or one of its workers."""
    if victims == "group":
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(process.pid, signal.SIGKILL)
    elif victims == "parent":
        process.kill()
    elif process.poll() is None and (found := workers(process)):
        with suppress(psutil.NoSuchProcess):
            moments.choice(found).kill()


def features_job(sample_records, output):
    return f"--records {sample_records} --output {output} --stage=pooled --weights=random --precision=float32".split()


@pytest.mark.slow
@pytest.mark.parametrize("victims", ["group", "worker"])
def test_features_killed_at_random_moments_are_complete_or_absent_and_a_rerun_gives_the_same_bytes(
    victims, sample_records, pooled, tmp_path
):
    moments = random.Random(5)
    flags = ["--batch_size=16"]
    flags += ["--direct_running_mode=multi_processing", "--direct_num_workers=2"] if victims == "worker" else []
    start = time.monotonic()
    assert launched("beam_jobs.extract_features", *features_job(sample_records, tmp_path / "whole"), *flags).wait() == 0
    seconds = time.monotonic() - start
    for _ in range(3):
        output = tmp_path / "out"
        process = launched("beam_jobs.extract_features", *features_job(sample_records, output), *flags)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(seconds / 3, seconds))
        kill(process, victims, moments)
        process.wait(PATIENCE)
        expected = tree_bytes(pooled)
        for path in output.glob("*.tfrecord"):
            assert path.read_bytes() == expected[path.name]
        if (output / FEATURES_FILE).exists():
            assert {path.name for path in output.glob("*.tfrecord")} == set(expected) - {FEATURES_FILE}
        assert extract_features.main([*features_job(sample_records, output), "--batch_size=16"]) == 0
        assert tree_bytes(output) == expected
        shutil.rmtree(output)


@pytest.mark.slow
def test_captions_killed_at_random_moments_are_complete_or_absent_and_a_rerun_gives_the_same_bytes(many, tmp_path):
    moments = random.Random(6)
    (images, _), _, _ = many
    arguments = ["--model", str(write_export(tmp_path / "export")), "--images", str(images), "--shards=8"]
    assert caption_images.main([*arguments, "--output", str(tmp_path / "whole")]) == 0
    expected = tree_bytes(tmp_path / "whole")
    start = time.monotonic()
    assert launched("beam_jobs.caption_images", *arguments, "--output", tmp_path / "timed").wait() == 0
    seconds = time.monotonic() - start
    for _ in range(MOMENTS):
        output = tmp_path / "out"
        process = launched("beam_jobs.caption_images", *arguments, "--output", output)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(seconds / 3, seconds))
        kill(process, "group", moments)
        process.wait(PATIENCE)
        for path in output.glob("*.jsonl"):
            assert path.read_bytes() == expected[path.name]
        assert caption_images.main([*arguments, "--output", str(output)]) == 0
        assert tree_bytes(output) == expected
        shutil.rmtree(output)


# --- disks, filesystems, locales, clocks -------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A filesystem of its own, and a function that mounts it with (other) options."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("needs to mount a tmpfs: run as root, in a container with --cap-add SYS_ADMIN")

    yield disk, mount
    subprocess.run(["umount", "--lazy", str(disk)], capture_output=True)


RECORDS_AND_FEATURES = pytest.mark.parametrize("job", ["records", pytest.param("features", marks=pytest.mark.slow)])


@RECORDS_AND_FEATURES
def test_a_full_disk_is_a_clear_error_and_more_room_gives_the_same_bytes(
    job, small_disk, sample, sample_records, pooled, capsys
):
    disk, mount = small_disk
    mount("size=96k")
    main, arguments, expected, last = {
        "records": (
            build_records.main,
            [*building(sample, disk / "out"), *IN_MEMORY],
            sample_records,
            DATASET_FILE,
        ),
        "features": (
            extract_features.main,
            [*features_job(sample_records, disk / "out"), "--batch_size=16"],
            pooled,
            FEATURES_FILE,
        ),
    }[job]
    assert main(arguments) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"error: .*/disk/out/\S+: cannot be written: .*No space left.*; fix that and .*", error)
    assert not (disk / "out" / last).exists() and not list((disk / "out").glob("*.incomplete-*"))
    mount("remount,size=8m")
    assert main(arguments) == 0
    assert tree_bytes(disk / "out") == tree_bytes(expected)


def test_a_read_only_output_is_a_clear_error(small_disk, sample, small_run, capsys):
    disk, mount = small_disk
    mount("size=96k")
    mount("remount,ro")
    assert build_records.main(building(sample, disk / "out")) == 1
    assert train_command.main(["--config", str(small_run), "--set", f"run={disk / 'run'}"]) == 1
    for name, line in zip(("out", "run"), capsys.readouterr().err.splitlines(), strict=True):
        assert line == (
            f"error: {disk / name}: is not writable: Read-only file system; fix that, or name another folder"
        )


class Flaky(LocalFileSystem):
    """The local filesystem, slower, and some writes and renames fail."""

    chance = random.Random(7)
    share = 0.0  # of them
    failures = 0

    @classmethod
    def scheme(cls):
        return "flaky"

    def _local(self, path):
        return path.removeprefix("flaky:/")

    def _maybe_fail(self, path):
        time.sleep(0.005)
        if self.chance.random() < self.share:
            type(self).failures += 1
            raise OSError(errno.EIO, "Input/output error", path)

    def join(self, base, *parts):
        return "/".join([base, *parts])

    def split(self, path):
        return tuple(path.rsplit("/", 1))

    def create(self, path, *arguments, **options):
        self._maybe_fail(path)
        return super().create(self._local(path), *arguments, **options)

    def open(self, path, *arguments, **options):
        return super().open(self._local(path), *arguments, **options)

    def rename(self, sources, targets):
        self._maybe_fail(targets[0])
        super().rename([*map(self._local, sources)], [*map(self._local, targets)])

    def exists(self, path):
        return super().exists(self._local(path))

    def delete(self, paths):
        for path in paths:
            Path(self._local(path)).unlink()

    def match(self, patterns, limits=None):
        found = super().match([*map(self._local, patterns)], limits)
        for result in found:
            result.metadata_list = [
                FileMetadata(f"flaky:/{item.path}", item.size_in_bytes) for item in result.metadata_list
            ]
        return found


@RECORDS_AND_FEATURES
def test_on_a_slow_and_flaky_filesystem_each_failure_is_named_and_reruns_come_to_the_same_bytes(
    job, sample, sample_records, pooled, tmp_path, capsys
):
    output = f"flaky:/{tmp_path / 'out'}"
    main, arguments, expected = {
        "records": (build_records.main, [*building(sample, output), *IN_MEMORY], sample_records),
        "features": (extract_features.main, [*features_job(sample_records, output), "--batch_size=16"], pooled),
    }[job]
    Flaky.failures, Flaky.chance, Flaky.share = 0, random.Random(7), {"records": 1 / 16, "features": 1 / 4}[job]
    for _ in range(30):
        if main(arguments) == 0:
            break
        error = capsys.readouterr().err.splitlines()[-1]
        assert re.match(rf"error: {output}/\S+: cannot be written: .*Input/output error.*; fix that and run", error)
    else:
        pytest.fail("no run came to its end")
    assert Flaky.failures >= 3
    assert tree_bytes(tmp_path / "out") == tree_bytes(expected)


ODD = {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "LANG": "C"}
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "date", [pytest.param(None, marks=SLOW), pytest.param("1971-01-01 00:00:01", marks=SLOW), "2105-06-07 08:09:10"]
)
def test_locale_and_clock_change_no_byte(date, sample, sample_records, tmp_path):
    if date and not shutil.which("faketime"):
        pytest.skip("needs faketime: apt-get install faketime")
    module = [sys.executable, "-m", "beam_jobs.build_records"]
    command = [*(["faketime", date] if date else []), *module, *building(sample, tmp_path / "out"), *IN_MEMORY]
    done = subprocess.run(command, env=os.environ | ODD, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert tree_bytes(tmp_path / "out") == tree_bytes(sample_records)


def test_a_locale_that_cannot_say_every_name_of_a_photo_is_refused(sample, tmp_path):
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "beam_jobs.build_records", *building(sample, tmp_path / "out")]
    done = subprocess.run(command, env=os.environ | ascii_only, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "error: names of photos would be read as ascii; set PYTHONUTF8=1\n"


# --- killed trainings --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_training_killed_at_random_moments_takes_the_steps_of_an_undisturbed_run(sample_records, pooled, tmp_path):
    moments = random.Random(8)

    def settings(name):
        chosen = training_config(tmp_path / name, sample_records, 40, pooled)
        chosen.train.early_stopping_epochs = 40
        chosen.train.checkpoint_minutes = 1e-6  # after every call, so that kills meet checkpoints half written
        return chosen

    def newest():
        times = [path.stat().st_mtime_ns for path in (tmp_path / "run" / "checkpoints").rglob("checkpoint")]
        return max(times, default=0)

    assert started(tmp_path, settings("whole")).wait() == 0
    for _ in range(MOMENTS):
        before = newest()
        process = started(tmp_path, settings("run"))
        while process.poll() is None and newest() == before:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.5))
        assert process.poll() is None, "it came to its end before it could be killed"
        kill(process, "group", moments)
        process.wait(PATIENCE)
    assert started(tmp_path, settings("run")).wait() == 0
    assert step_losses(tmp_path / "run") == step_losses(tmp_path / "whole")
    assert figures(tmp_path / "run") == figures(tmp_path / "whole")


def started(tmp_path, settings):
    save_config(settings, tmp_path / "config.yaml")
    return launched("tfcaption.train", "--config", tmp_path / "config.yaml")


@pytest.mark.slow
def test_a_training_on_a_full_disk_names_the_checkpoint_and_more_room_gives_the_same_steps(
    small_disk, sample_records, pooled, tmp_path, capsys
):
    disk, mount = small_disk
    mount("size=150m")
    assert train(training_config(tmp_path / "whole", sample_records, 2, pooled))
    settings = training_config(disk / "run", sample_records, 1, pooled)
    train(settings)
    (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - 40_000))
    settings.train.epochs = 2
    save_config(settings, tmp_path / "config.yaml")
    assert train_command.main(["--config", str(tmp_path / "config.yaml")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.match(rf"error: {disk}/run/checkpoints/\w+: the checkpoint cannot be written: .*No space left", error)
    (disk / "filler").unlink()
    assert train_command.main(["--config", str(tmp_path / "config.yaml")]) == 0
    assert step_losses(disk / "run") == step_losses(tmp_path / "whole")
