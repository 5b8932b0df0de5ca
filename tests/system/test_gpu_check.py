"""The script that checks a GPU says what it does, and all of it runs on a CPU."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.support.comparisons import main
from tfcaption.records.dataset_info import load_features_info
from tfcaption.records.examples import feature_record, features_of
from tfcaption.records.tfrecord import frame_record, read_frames

SCRIPT = Path(__file__).with_name("gpu_check.sh")


def run(*options):
    return subprocess.run([SCRIPT, *options], capture_output=True, text=True)


def test_the_script_parses_and_its_help_says_what_it_does_and_which_options_it_takes():
    assert subprocess.run(["bash", "-n", SCRIPT]).returncode == 0
    shown = run("--help")
    assert shown.returncode == 0 and "Its last line is PASS, or FAIL with the points that failed." in shown.stdout
    taken = re.findall(r"^    (--[\w |-]+)\)", SCRIPT.read_text(), re.M)
    assert {option for options in taken for option in options.split(" | ")} - {"--help"} <= set(shown.stdout.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "tpu"], "error: --device tpu: gpu or cpu; "),
        (["--photos"], "error: --photos needs a value; "),
        (["--quik"], "error: unknown option --quik; "),
    ],
)
def test_a_wrong_option_is_an_error_of_one_line(options, message):
    refused = run(*options)
    (line,) = refused.stderr.splitlines()
    assert refused.returncode == 2 and not refused.stdout and line.startswith(message)


def with_larger_features(folder, output, factor):
    """A copy of features in which those of the last photo of each shard are larger."""
    output.mkdir()
    (output / "features.json").write_bytes((folder / "features.json").read_bytes())
    for shard in (shard for split in load_features_info(folder).splits.values() for shard in split):
        with (folder / shard.name).open("rb") as stream:
            records = list(read_frames(stream, shard.name))
        if records:
            values = np.frombuffer(features_of(records[-1]), np.float16) * np.float16(factor)
            records[-1] = feature_record(records[-1], values.tobytes())
        (output / shard.name).write_bytes(b"".join(map(frame_record, records)))
    return output


def test_features_that_differ_in_one_photo_are_found(pooled, tmp_path, capsys):
    assert main("features", pooled, pooled, "0") == 0
    other = with_larger_features(pooled, tmp_path / "other", 1.0625)
    assert main("features", other, pooled, "0.07") == 0
    assert main("features", other, pooled, "0.06") == 1
    assert "relative difference 6.2" in capsys.readouterr().out


def test_losses_that_differ_in_one_epoch_are_found(tmp_path):
    for name, last in (("ours", 2.2), ("theirs", 2.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text(f'{{"dev_loss": 4.0}}\n{{"dev_loss": {last}}}\n')
    assert main("losses", tmp_path / "ours", tmp_path / "theirs", "0.11") == 0
    assert main("losses", tmp_path / "ours", tmp_path / "theirs", "0.09") == 1


@pytest.mark.slow
def test_all_of_it_runs_on_a_cpu(tmp_path):
    done = run("--device", "cpu", "--quick", "--photos", "40", "--keep", str(tmp_path / "kept"))
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "PASS", done.stdout[-5000:] + done.stderr[-5000:]
    assert done.stdout.count(": passed in ") == done.stdout.count("\n== ") == 23


@pytest.mark.slow
def test_without_a_gpu_it_fails_and_names_each_point_that_failed(tmp_path):
    """No photos at all, so that every point fails at once."""
    done = run("--photos", "0", "--keep", str(tmp_path / "kept"))
    *_, last = done.stdout.splitlines()
    assert done.returncode == 1 and last.startswith("FAIL: machine; data; features on the device; ")
