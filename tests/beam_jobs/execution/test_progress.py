"""The progress of a job, counted by its workers in files."""

import threading
from types import SimpleNamespace

import pytest

from beam_jobs.execution import progress
from beam_jobs.execution.progress import ProgressCounter, announce_total, progress_shown
from tfcaption.runtime import progress as runtime_progress


class Clock(threading.Event):
    """The time of the progress, and the event whose waits move it; each wait is one second."""

    def __init__(self):
        super().__init__()
        self.now, self.waits = 0.0, threading.Semaphore(0)
        self.waiting = threading.Semaphore(0)

    def wait(self, timeout=None):
        self.waiting.release()
        assert self.waits.acquire(timeout=60)
        self.now += 1
        return self.is_set()

    def set(self):
        super().set()
        self.waits.release()


def test_the_wait_for_the_first_item_is_called_what_it_is_and_does_not_count_for_the_rate(
    tmp_path, capsys, monkeypatch
):
    clock = Clock()
    time = SimpleNamespace(monotonic=lambda: clock.now)
    monkeypatch.setattr(progress, "time", time)
    monkeypatch.setattr(runtime_progress, "time", time)
    monkeypatch.setattr(progress, "threading", SimpleNamespace(Event=lambda: clock, Thread=threading.Thread))
    with progress_shown(str(tmp_path), total=4, unit="photos", label="writing records"):
        counter = ProgressCounter(str(tmp_path), "one")
        for _ in range(100):  # seconds until the workers have started
            assert clock.waiting.acquire(timeout=60)
            clock.waits.release()
        assert clock.waiting.acquire(timeout=60)
        counter.add(4)
        clock.waits.release()
        assert clock.waiting.acquire(timeout=60)  # the four are found
        counter.close()
    starting, done = capsys.readouterr().err.splitlines()
    assert starting == "writing records: starting workers"
    # In the second since they were found, not in the 102 since the start.
    assert done == "writing records: 4/4 photos, 4.0 photos/s"
    assert not (tmp_path / ".progress").exists()


def test_captions_that_are_read_and_joined_are_counted_until_the_first_photo_is_done(tmp_path, capsys, monkeypatch):
    clock = Clock()
    time = SimpleNamespace(monotonic=lambda: clock.now)
    monkeypatch.setattr(progress, "time", time)
    monkeypatch.setattr(runtime_progress, "time", time)
    monkeypatch.setattr(progress, "threading", SimpleNamespace(Event=lambda: clock, Thread=threading.Thread))
    with progress_shown(str(tmp_path), total=1, unit="photos", label="writing records"):
        readers = [ProgressCounter.of_entries(str(tmp_path), name) for name in "ab"]
        for second in range(12):
            assert clock.waiting.acquire(timeout=60)
            readers[second % 2].add(2)  # thousands
            clock.waits.release()
        joiner = ProgressCounter.of_entries(str(tmp_path), "a", joined=True)
        for _ in range(12):
            assert clock.waiting.acquire(timeout=60)
            joiner.add(1)
            clock.waits.release()
        assert clock.waiting.acquire(timeout=60)
        counter = ProgressCounter(str(tmp_path), "one")
        counter.add()
        clock.waits.release()
        assert clock.waiting.acquire(timeout=60)
    _, first, last, joining, joined, _ = capsys.readouterr().err.splitlines()
    assert (first, last) == ("reading captions: 22,000 entries", "reading captions: 24,000 entries")
    assert joining.startswith("joining captions: 11,000/24,000 entries, ") and joining.endswith(" s left")
    assert joined.startswith("joining captions: 12,000/24,000 entries, ")


@pytest.mark.parametrize("total", [4, None])
def test_a_total_that_a_worker_finds_out_is_shown_and_without_it_nothing_is(total, tmp_path, capsys):
    with progress_shown(str(tmp_path), total=None, unit="photos", label="writing"):
        if total:
            announce_total(str(tmp_path), total)
            counter = ProgressCounter(str(tmp_path), "one")
            counter.add(3)
            counter.close()
    starting, *done = capsys.readouterr().err.splitlines()
    assert starting == "writing: starting workers"
    assert [line.partition(",")[0] for line in done] == (["writing: 3/4 photos"] if total else [])


def test_a_job_with_nothing_left_to_do_ends_its_progress(tmp_path, capsys):
    with progress_shown(str(tmp_path), total=4, unit="photos", label="writing"):
        pass
    assert capsys.readouterr().err.splitlines()[-1].startswith("writing: 0/4 photos, ")
