"""What the commands of all jobs share."""

from argparse import Namespace
from pathlib import Path

import pytest

from beam_jobs.execution.command import run_job


def received(flags, **arguments):
    """The arguments that a job gets from its command."""
    found = []
    run_job(lambda given, _: found.append(given), str, Namespace(**arguments), flags, noun="records")
    return vars(found[0])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


GIVEN = {"output": "out", "images": "photos/*.jpg", "held_out": ["a.txt", "/b.txt"], "captions": "gs://bucket/text"}


def test_a_runner_that_is_named_gets_absolute_paths_since_its_workers_start_elsewhere(folder):
    expected = {"images": f"{folder}/photos/*.jpg", "held_out": [f"{folder}/a.txt", "/b.txt"]}
    found = received(["--runner=FlinkRunner"], **GIVEN, seed=3)
    assert found == {**GIVEN, **expected, "output": f"{folder}/out", "seed": 3}


def test_without_a_runner_paths_stay_as_they_are_given(folder):
    assert received(["--direct_num_workers=2"], **GIVEN) == GIVEN


def test_names_of_weights_and_encoders_are_no_paths(folder):
    names = {"weights": "imagenet", "encoder": ["resnet50", "resnet50.keras"], "run": None}
    found = received(["--runner", "SparkRunner"], output=str(folder), **names)
    assert found["encoder"] == ["resnet50", str(Path("resnet50.keras").absolute())]
    assert found["weights"] == "imagenet" and found["run"] is None
