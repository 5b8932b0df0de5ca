"""The package: what a wheel and an sdist hold, how it is installed, the image of the workers and its templates."""

import email
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from beam_jobs import build_records, extract_features
from tfcaption.config import named_configs

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "beam_jobs" / "dataflow"
SUPPORTED = {f"3.{minor}" for minor in range(11, 14)}  # versions of Python
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
    # Each with its own default, as a template hands them on; one that may be left out has none.
    chosen = {name: getattr(arguments, name) for name in parameters.keys() - required.keys()}
    chosen |= {name: value[0] for name, value in chosen.items() if isinstance(value, list)}  # a template hands on one
    left_out = {name for name in chosen if chosen[name] is None and "auto" not in str(parameters[name].get("regexes"))}
    values = required | {name: "auto" if value is None else value for name, value in chosen.items()}
    values = {name: value for name, value in values.items() if name not in left_out}
    again, flags = job.parse_arguments([f"--{name}={value}" for name, value in values.items()])
    assert flags == [] and again == arguments
    for name in values:
        parameter = parameters[name]
        assert {"name", "label", "helpText", "isOptional"} <= set(parameter)
        assert all(re.fullmatch(pattern, str(values[name])) for pattern in parameter.get("regexes", [])), name


def test_a_template_lacks_no_required_option(capsys):
    for job in (build_records, extract_features):
        with pytest.raises(SystemExit):
            job.parse_arguments([])
        named = re.findall(r"--(\w+)", capsys.readouterr().err.partition("required:")[2].partition("\n")[0])
        described = json.loads((FOLDER / f"{job.__name__.rpartition('.')[2]}.json").read_text())
        assert {p["name"] for p in described["parameters"] if not p["isOptional"]} == set(named)


def test_the_image_has_the_beam_and_python_that_the_package_asks_for():
    text = (FOLDER / "Dockerfile").read_text()
    python, image_beam = re.search(r"^FROM apache/beam_python(3\.\d+)_sdk:([\d.]+)$", text, re.M).groups()
    setup = (ROOT / "setup.py").read_text()
    assert f'"apache-beam>={image_beam.rpartition(".")[0]},' in setup and f"apache-beam[gcp]=={image_beam}" in text
    assert python in SUPPORTED and f"python{python.replace('.', '')}-template" in text


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
        *("tfcaption/reporting/report.html.jinja", "setup.py", "LICENSE"),
        *(f"configs/{name}.yaml" for name in named_configs()),
    }
    assert (sources | data) - names == set()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy: a build/ of the checkout may hold files that were removed since."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("configs", "tfcaption", "beam_jobs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", output, source], check=True)
    (path,) = output.iterdir()
    with zipfile.ZipFile(path) as packed:
        yield packed


def test_the_wheel_holds_configs_types_templates_and_pages(wheel):
    # Files of this folder that git does not know, such as notes of an editor, are nobody's.
    known = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    rooms = {name for name in known if name.startswith(("tfcaption/", "beam_jobs/"))}
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert rooms - held == set()
    assert {name for name in held - rooms if not name.endswith(".py")} == {
        f"tfcaption/config_files/{name}.yaml" for name in named_configs()
    }
    for name, path in named_configs().items():
        assert wheel.read(f"tfcaption/config_files/{name}.yaml") == path.read_bytes()


def test_the_wheel_says_what_a_package_index_shows(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = email.message_from_bytes(wheel.read(name))
    assert metadata["License-Expression"] == "Apache-2.0" and metadata["License-File"] == "LICENSE"
    assert metadata["Summary"] and metadata["Author"] and metadata["Keywords"] and metadata.get_payload()
    classifiers = metadata.get_all("Classifier")
    assert "Typing :: Typed" in classifiers and not any(item.startswith("License ::") for item in classifiers)
    assert any(item.startswith("Topic :: ") for item in classifiers)
    pythons = {
        item.rpartition(" ")[2] for item in classifiers if item.startswith("Programming Language :: Python :: 3.")
    }
    assert pythons == SUPPORTED and metadata["Requires-Python"] == ">=3.11,<3.14"
    extras = metadata.get_all("Requires-Dist")
    for extra in ("docs", "report", "serve"):  # the extra of the tests has all that the others need, in equal versions
        needed = {line.partition(";")[0] for line in extras if f'"{extra}"' in line}
        assert needed and needed <= {line.partition(";")[0] for line in extras if '"dev"' in line}
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert {f'{line}; extra == "dev"' for line in required} <= set(extras)


# Stands in for a Python: says its version, makes an environment of itself, and lets pip fail where FAIL exists.
PYTHON = """#!/bin/sh
case "$2" in
  import*) echo {version} ;;
  venv) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && touch "$3/pyvenv.cfg" ;;
  pip) [ "$3" = --version ] || {{ echo "pip install" >> "{log}"; [ ! -e "{fail}" ]; }} ;;
esac
"""


@pytest.fixture
def install(tmp_path):
    """Runs `make install` with stand-ins of Python; its messages."""
    if not shutil.which("make"):
        pytest.skip("needs make")

    def run(version, *, explicit=True):
        python = tmp_path / f"python{version}"
        python.write_text(PYTHON.format(version=version, log=tmp_path / "log", fail=tmp_path / "fail"))
        python.chmod(0o755)
        command = ["make", "-C", ROOT, "--no-print-directory", "install", f"VENV={tmp_path / 'venv'}"]
        # `make test` sets MAKELEVEL, and another make would tell of its faults in other words.
        own = {"PYTHON", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
        environment = {key: value for key, value in os.environ.items() if key not in own}
        if explicit:
            command.append(f"PYTHON={python}")
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        return done.returncode, [line for line in done.stderr.splitlines() if not line.startswith("make: ***")]

    return run


def test_a_wrong_python_is_said_first_in_one_line_with_the_cure_and_leaves_nothing(install, tmp_path):
    code, (line,) = install("3.10")
    assert code and re.fullmatch(
        r"error: \S*/python3.10 is Python 3.10, but Python 3.11, 3.12 or 3.13 is needed: "
        r"(install one, then: )?make install PYTHON=python3.1[123]",
        line,
    )
    assert not (tmp_path / "venv").exists() and not (tmp_path / "log").exists()
    versions = re.search(r"3\\.1\[(\d+)\]", (ROOT / ".ci" / "install").read_text())[1]
    assert {f"3.1{minor}" for minor in versions} == SUPPORTED


def test_an_environment_of_another_python_is_made_anew_when_one_is_named(install, tmp_path):
    (tmp_path / "venv" / "bin").mkdir(parents=True)  # as Python 3.10 left it
    (tmp_path / "venv" / "bin" / "python").write_text("#!/bin/sh\necho 3.10\n")
    (tmp_path / "venv" / "bin" / "python").chmod(0o755)
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    (tmp_path / "venv" / "old").touch()
    for version in ("3.12", "3.11"):
        assert install(version) == (0, [])
        assert (tmp_path / "venv" / ".installed").read_text().strip() == version
        assert not (tmp_path / "venv" / "old").exists()
        (tmp_path / "venv" / "old").touch()
    assert install("3.11") == (0, []) == install("3.11", explicit=False)
    assert (tmp_path / "venv" / "old").exists()
    assert (tmp_path / "log").read_text().count("pip install") == 2  # no more than needed


@pytest.mark.parametrize("kind", ["folder", "file", "empty"])
def test_what_is_no_environment_is_never_removed(install, tmp_path, kind):
    venv = tmp_path / "venv"
    if kind == "file":
        venv.write_text("mine")
    else:
        venv.mkdir()
    if kind == "folder":
        (venv / "photo.jpg").write_text("mine")
    code, lines = install("3.12")
    if kind == "empty":
        assert (code, lines) == (0, []) and (venv / ".installed").exists()
        return
    assert code and lines == [
        f"error: {venv} exists and is no virtual environment (it has no pyvenv.cfg); name another: "
        "make install VENV=DIR"
    ]
    assert (venv / "photo.jpg" if kind == "folder" else venv).read_text() == "mine"
    assert not (tmp_path / "log").exists()


def test_an_environment_that_pip_could_not_fill_is_removed_but_not_one_that_worked(install, tmp_path):
    (tmp_path / "fail").touch()
    code, lines = install("3.12")
    assert code and lines == ["error: pip could not install the requirements; its message is above"]
    assert not (tmp_path / "venv").exists()
    (tmp_path / "fail").unlink()
    assert install("3.12") == (0, [])
    (tmp_path / "venv" / ".installed").unlink()
    (tmp_path / "fail").touch()
    assert install("3.12")[0] and (tmp_path / "venv" / "bin" / "python").exists()


def test_a_wheel_that_no_python_can_try_is_an_error(tmp_path):
    builder = tmp_path / "builder"
    builder.write_text("#!/bin/sh\nexit 0\n")
    builder.chmod(0o755)
    command = [ROOT / ".ci" / "test_wheel", builder, "python3.11-none python3.12-none"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout.count(": not installed, not tested\n") == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: none of these is installed, so nothing was tested: python3.11-none python3.12-none")
