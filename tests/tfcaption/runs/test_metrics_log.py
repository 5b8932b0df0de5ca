"""Metrics of a run on disk: lines come back, a resumed run replaces its later lines, a kill costs one line at most."""

import json

from tfcaption.runs.metrics_log import METRICS_FILE, STEPS_FILE, MetricsLog, read_lines


def steps(*numbers):
    return [{"step": number, "loss": 1 / number} for number in numbers]


def test_lines_come_back_in_their_order(tmp_path):
    log = MetricsLog(tmp_path, epoch=0, step=0)
    log.add_steps(steps(1, 2))
    log.add_steps(steps(3))
    log.add_epoch({"epoch": 1, "note": "a\u2028b"})  # a line end to str.splitlines, not to JSON lines
    assert read_lines(tmp_path / STEPS_FILE) == steps(1, 2, 3)
    assert read_lines(tmp_path / METRICS_FILE) == [{"epoch": 1, "note": "a\u2028b"}]


def test_a_resumed_run_drops_the_lines_that_it_will_write_again(tmp_path):
    MetricsLog(tmp_path, epoch=0, step=0).add_steps(steps(1, 2, 3, 4))
    MetricsLog(tmp_path, epoch=0, step=2).add_steps(steps(3))
    assert read_lines(tmp_path / STEPS_FILE) == steps(1, 2, 3)


def test_a_line_that_a_kill_cut_short_is_read_by_nobody_and_written_again(tmp_path):
    path = tmp_path / STEPS_FILE
    path.write_text("".join(json.dumps(line) + "\n" for line in steps(1, 2)) + '{"step": 3, "lo')
    assert read_lines(path) == steps(1, 2)
    MetricsLog(tmp_path, epoch=0, step=3).add_steps(steps(4))
    assert read_lines(path) == steps(1, 2, 4)


def test_a_missing_file_has_no_lines(tmp_path):
    assert read_lines(tmp_path / STEPS_FILE) == []
