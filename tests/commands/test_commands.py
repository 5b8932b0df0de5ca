"""Every command: quick help, the console script, and errors for the user as one line."""

import subprocess
import sys
import time
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tfcaption.cli import main

ROOT = Path(__file__).parents[2]
MODULES = {entry.name: entry.module for entry in entry_points(group="tfcaption.commands")}


def run(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT)


def test_every_command_has_an_entry_point():
    assert set(MODULES) == {
        *("sample_data", "build_records", "extract_features", "inspect"),
        *("train", "sweep", "evaluate", "report", "caption", "export", "caption_images", "serve", "benchmark"),
    }


@pytest.mark.parametrize("module", MODULES.values())
def test_help_starts_with_examples_and_imports_neither_tensorflow_nor_beam(module):
    code = f"import sys, {module} as m\ntry: m.main(['--help'])\nexcept SystemExit as end: assert not end.code\n"
    done = run("-c", code + "print([n for n in ('tensorflow', 'apache_beam', 'keras') if n in sys.modules])")
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "[]", done.stderr
    text = done.stdout
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


def test_the_console_script_runs_the_same_commands(tmp_path, capsys):
    assert main(["sample_data", "--output", str(tmp_path), "--photos", "10"]) == 0
    assert len(list((tmp_path / "Flicker8k_Dataset").iterdir())) == 10
    assert main(["trian"]) == 2 and "no command 'trian'" in capsys.readouterr().err


def test_the_console_script_lists_every_command_with_the_first_line_of_its_docstring(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main([]) == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.startswith("  "))
    assert listed == {name: import_module(module).__doc__.splitlines()[0] for name, module in MODULES.items()}
    assert main(["--help"]) == 0 and "\n  train " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tfcaption.train", "--config", "none.yaml"], "error: none.yaml: no such config file"),
        (["tfcaption.train", "--config", "configs/sample_frozen.yaml", "--set", "data.records=none"], "error: none: "),
        (["tfcaption.evaluate", "--run", "none"], "error: none: not a run directory"),
        (
            ["tfcaption.sweep", "--config=none.yaml", "--grid", "train.seed=0", "--output=x"],
            "error: none.yaml: no such config file",
        ),
        (["tfcaption.caption", "--run", "none", "a.jpg"], "error: none: not a run directory"),
        (["tfcaption.report", "none"], "error: none: not a run directory"),
        (["tfcaption.export", "--run", "none", "--output", "x"], "error: none: not a run directory"),
        (["tfcaption.caption", "--model", "none", "a.jpg"], "error: none: not an exported model"),
        (["tfcaption.serve", "--model", "none"], "error: none: not an exported model"),
        (["beam_jobs.caption_images", "--model=none", "--images=.", "--output=x"], "error: none: not an exported"),
        (["tfcaption.inspect", "none"], "error: none: no such folder"),
        (["beam_jobs.build_records", "--images=none", "--captions=.", "--output=x"], "error: --images none: no such"),
        (
            ["beam_jobs.extract_features", "--records=none", "--output=x", "--stage=map", "--weights=random"],
            "error: none: no such folder",
        ),
        (["tfcaption.benchmark", "records", "--images", "none"], "error: none: no JPEG photo below it"),
    ],
)
def test_a_wrong_path_is_an_error_of_one_line_that_names_it(arguments, message):
    done = run("-m", *arguments)
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(message)
