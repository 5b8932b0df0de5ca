"""What is packed beside the code: the image of the workers, the templates, the page on clusters."""

import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from beam_jobs import build_records, extract_features

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "beam_jobs" / "dataflow"
EXAMPLES = {"stage": "pooled", "weights": "gs://bucket/resnet50.weights.h5"}


@pytest.mark.parametrize("job", [build_records, extract_features])
def test_a_template_offers_options_of_its_command_and_all_that_it_needs(job):
    described = json.loads((FOLDER / f"{job.__name__.rpartition('.')[2]}.json").read_text())
    parameters = {parameter["name"]: parameter for parameter in described["parameters"]}
    assert len(parameters) == len(described["parameters"]) and described["streaming"] is False
    required = {
        name: EXAMPLES.get(name, f"gs://bucket/{name}") for name, p in parameters.items() if not p["isOptional"]
    }
    arguments, flags = job.parse_arguments([f"--{name}={value}" for name, value in required.items()])
    assert flags == []
    # Each with its own default, as a template hands them on.
    chosen = {name: getattr(arguments, name) for name in parameters.keys() - required.keys()}
    values = required | {name: "auto" if value is None else value for name, value in chosen.items()}
    again, flags = job.parse_arguments([f"--{name}={value}" for name, value in values.items()])
    assert flags == [] and again == arguments
    for name, parameter in parameters.items():
        assert {"name", "label", "helpText", "isOptional"} <= set(parameter)
        assert all(re.fullmatch(pattern, str(values[name])) for pattern in parameter.get("regexes", [])), name


def test_a_template_lacks_no_required_option(capsys):
    for job in (build_records, extract_features):
        with pytest.raises(SystemExit):
            job.parse_arguments([])
        named = re.findall(r"--(\w+)", capsys.readouterr().err.rpartition("required:")[2])
        described = json.loads((FOLDER / f"{job.__name__.rpartition('.')[2]}.json").read_text())
        assert {p["name"] for p in described["parameters"] if not p["isOptional"]} == set(named)


def test_the_image_has_the_beam_and_python_that_the_package_asks_for():
    text = (FOLDER / "Dockerfile").read_text()
    python, image_beam = re.search(r"^FROM apache/beam_python(3\.\d+)_sdk:([\d.]+)$", text, re.M).groups()
    setup = (ROOT / "setup.py").read_text()
    assert f'"apache-beam>={image_beam.rpartition(".")[0]},' in setup and f"apache-beam[gcp]=={image_beam}" in text
    assert python in {f"3.{minor}" for minor in range(11, 14)} and f"python{python.replace('.', '')}-template" in text


def test_the_sdist_holds_all_that_a_worker_and_its_image_need(tmp_path):
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", tmp_path, "sdist", "--dist-dir", tmp_path]
    subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    sources = {
        str(path.relative_to(ROOT)) for room in ("tfcaption", "beam_jobs") for path in (ROOT / room).rglob("*.py")
    }
    data = {str(path.relative_to(ROOT)) for path in FOLDER.iterdir()} | {
        "tfcaption/reporting/report.html.jinja",
        "setup.py",
    }
    assert (sources | data) - names == set()
