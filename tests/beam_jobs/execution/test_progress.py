"""The progress of a job, counted by its workers in files."""

import time

from beam_jobs.execution import progress
from beam_jobs.execution.progress import ProgressCounter, progress_shown


def test_the_wait_for_the_first_item_is_called_what_it_is_and_does_not_count_for_the_rate(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_UPDATES", 0.01)
    with progress_shown(str(tmp_path), total=4, unit="photos", label="writing records"):
        time.sleep(1)
        counter = ProgressCounter(str(tmp_path), "one")
        counter.add(4)
        time.sleep(0.2)
        counter.close()
    starting, done = capsys.readouterr().err.splitlines()
    assert starting == "writing records: starting workers"
    assert done.startswith("writing records: 4/4 photos, ")
    assert float(done.split(", ")[1].split()[0]) > 10  # of 0.2 seconds, not of 1.2
    assert not (tmp_path / ".progress").exists()


def test_a_job_with_nothing_left_to_do_ends_its_progress(tmp_path, capsys):
    with progress_shown(str(tmp_path), total=4, unit="photos", label="writing"):
        pass
    assert capsys.readouterr().err.splitlines()[-1].startswith("writing: 0/4 photos, ")
