"""Every command: quick help, the console script, and errors for the user as one line."""

import json
import os
import subprocess
import sys
import time
from importlib import import_module
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import beam_jobs
import tfcaption
from tfcaption.cli import ORDER, main
from tfcaption.config import named_configs
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.extras import install_command, needs_extra

ROOT = Path(__file__).parents[2]
MODULES = {entry.name: entry.module for entry in entry_points(group="tfcaption.commands")}


def run(*arguments, cwd=ROOT):
    environment = os.environ | {"COLUMNS": "200"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=environment)


def test_every_command_has_an_entry_point_and_its_place_in_the_order_of_the_work():
    assert set(MODULES) == set(ORDER)
    files = [path for package in (tfcaption, beam_jobs) for path in Path(package.__file__).parent.glob("*.py")]
    assert {path.stem for path in files if "def main(argv" in path.read_text()} - {"cli"} == set(ORDER)


@pytest.mark.parametrize("module", MODULES.values())
def test_every_command_reports_errors_in_one_line_and_runs_in_an_environment_of_its_own(module):
    assert import_module(module).main.__wrapped__  # by `reports_errors`


HELP = """
import contextlib, importlib, io, json, sys
found = {}
for module in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
        importlib.import_module(module).main(["--help"])
    found[module] = shown.getvalue(), [name for name in ("tensorflow", "apache_beam", "keras") if name in sys.modules]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def helps():
    """Module of a command -> its help, and the large packages that are imported after it; all in one process."""
    done = run("-c", HELP, *MODULES.values())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("module", MODULES.values())
def test_help_starts_with_examples_and_imports_neither_tensorflow_nor_beam(module, helps):
    text, imported = helps[module]
    assert imported == []
    assert 0 < text.index("examples:") < text.index("options:") and f"python -m {module}" in text


@pytest.mark.slow  # measures time, so it needs a machine without other work
@pytest.mark.parametrize("module", ["tfcaption.cli", *MODULES.values()])
def test_help_takes_less_than_half_a_second(module):
    command = (
        ["-c", "from tfcaption.cli import main; main(['--help'])"] if module == "tfcaption.cli" else ["-m", module]
    )
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        assert run(*command, "--help").returncode == 0
        seconds.append(time.monotonic() - start)
    assert min(seconds) < 0.5, seconds


def test_the_console_script_runs_the_same_commands(tmp_path):
    assert main(["sample_data", "--output", str(tmp_path), "--photos", "10"]) == 0
    assert len(list((tmp_path / "Flicker8k_Dataset").iterdir())) == 10


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("trian", "did you mean train? "),
        ("build-records", "did you mean build_records? "),
        ("eval", "did you mean evaluate? "),
        ("xyzzy", ""),
    ],
)
def test_an_unknown_command_is_an_error_of_one_line_that_suggests_one(name, hint, capsys):
    assert main([name]) == 2
    assert capsys.readouterr().err == f"error: no command '{name}'; {hint}tfcaption --help lists all\n"


def test_the_console_script_lists_every_command_with_the_first_line_of_its_docstring(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main([]) == 0
    listed = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert [name for name, _ in listed] == list(ORDER)
    assert dict(listed) == {name: import_module(module).__doc__.splitlines()[0] for name, module in MODULES.items()}
    assert main(["--help"]) == 0 and "\n  train " in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    text = capsys.readouterr().out
    assert (
        text.startswith(f"tfcaption {version('tfcaption')} (Python 3.")
        and f"tensorflow {version('tensorflow')}" in text
    )


def test_help_shows_a_command_as_it_was_started(tmp_path):
    """In an empty folder, since a file there that is named like a module of Python would be imported."""
    texts = [
        run("-m", *words, "--help", cwd=tmp_path).stdout for words in (["tfcaption.train"], ["tfcaption", "train"])
    ]
    for text, shown in zip(texts, ("python -m tfcaption.train", "python -m tfcaption train"), strict=True):
        assert text.startswith(f"usage: {shown} ") and f"  {shown} --config small" in text
    code = "import sys; from tfcaption.cli import main; sys.exit(main(['extract_features', '--help']))"
    text = run("-c", code, cwd=tmp_path).stdout
    assert text.startswith("usage: tfcaption extract_features ") and "python -m" not in text


def test_an_error_of_the_command_line_is_said_first(capsys):
    with pytest.raises(SystemExit) as end:
        main(["train"])
    assert end.value.code == 2
    error, help_line = capsys.readouterr().err.splitlines()
    assert error == "error: the following arguments are required: --config"
    assert help_line == "tfcaption train --help shows all options"


def test_configs_are_listed_with_their_purpose_and_result_and_one_is_printed_as_it_is(capsys):
    assert main(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, path in named_configs().items():
        place = lines.index(name)
        first, second, *_ = path.read_text().splitlines()
        assert first == f"# {lines[place + 1].strip()}"
        if second.startswith("# result: "):
            assert second == f"# result: {lines[place + 2].strip()}"
    measured = [path for path in named_configs().values() if "\n# result: " in path.read_text()]
    assert len(lines) == 2 * len(named_configs()) + len(measured) and measured
    assert main(["configs", "small"]) == 0 and capsys.readouterr().out == named_configs()["small"].read_text()
    assert main(["configs", "smal"]) == 1
    assert capsys.readouterr().err == "error: smal: no such config file; did you mean small?\n"


def test_a_missing_package_of_an_extra_is_an_error_with_the_command_that_installs_it():
    assert install_command("report") == "pip install 'jinja2<4,>=3.1.6' 'markupsafe<4,>=3.0' 'matplotlib<4,>=3.11'"
    message = "flask is not installed; pip install 'flask<4,>=3.1' .*'waitress<4,"
    with pytest.raises(UsageError, match=message), needs_extra("serve"):
        raise ModuleNotFoundError("No module named 'flask.json'", name="flask.json")
    with pytest.raises(ModuleNotFoundError, match="numpy"), needs_extra("serve"):  # a broken installation, or a bug
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tfcaption.train", "--config", "none.yaml"], "error: none.yaml: no such config file"),
        (["tfcaption.train", "--config", "sample_frozen", "--set", "data.records=none"], "error: none: "),
        (["tfcaption.evaluate", "--run", "none"], "error: none: no such run directory"),
        (
            ["tfcaption.sweep", "--config=none.yaml", "--grid", "train.seed=0", "--output=x"],
            "error: none.yaml: no such config file",
        ),
        (
            ["tfcaption.caption", "--run", "none", "a.jpg"],
            "error: none: no such folder; name a run directory or an export",
        ),
        (["tfcaption.report", "none"], "error: none: no such run directory"),
        (["tfcaption.export", "--run", "none", "--output", "x"], "error: none: no such run directory"),
        (
            ["tfcaption.caption", "--model", "none", "a.jpg"],
            "error: none: no such folder; name a run directory or an export",
        ),
        (["tfcaption.serve", "--model", "none"], "error: none: no such folder; name a run directory or an export"),
        (
            ["beam_jobs.caption_images", "--model=none", "--images=.", "--output=x"],
            "error: none: no such folder; name a run directory or an export",
        ),
        (["tfcaption.inspect", "none"], "error: none: no such folder"),
        (["beam_jobs.build_records", "--images=none", "--captions=.", "--output=x"], "error: --images none: no such"),
        (
            ["beam_jobs.extract_features", "--records=none", "--output=x", "--stage=map", "--weights=random"],
            "error: none: no such folder",
        ),
        (["tfcaption.benchmark", "records", "--images", "none"], "error: none: no JPEG photo below it"),
    ],
)
def test_a_wrong_path_is_an_error_of_one_line_that_names_it(arguments, message, capsys):
    module, *arguments = arguments
    assert import_module(module).main(arguments) == 1
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith(message) and printed.out == ""


@pytest.mark.parametrize(
    "command", [["tfcaption.evaluate", "none"], ["beam_jobs.extract_features", "--records=none", "--stage=map"]]
)
def test_a_process_with_an_error_says_nothing_else(command, tmp_path):
    done = run("-m", *command, *(["--output", tmp_path / "out"] if "beam_jobs" in command[0] else []))
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: none: no such")
