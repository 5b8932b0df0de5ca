"""The notebooks of the docs run from top to bottom, and show outputs that say nothing of the machine that made them."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = [ROOT / "docs" / "notebooks" / f"{name}.ipynb" for name in ("quickstart", "explore")]  # in their order


def outputs(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell["outputs"] for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_it_does_without_errors_and_paths_of_a_machine(path):
    shown = outputs(path)
    kinds = {key for cell in shown for output in cell for key in output.get("data", ())}
    assert {"text/html", "image/png"} <= kinds
    assert not [output for cell in shown for output in cell if output["output_type"] == "error"]
    text = re.sub(r"base64,[\w+/=]+|\"image/png\": \"[^\"]*\"", "", path.read_text(encoding="utf-8"))
    assert not re.findall(r"(?<![\w.])/(?:home|root|tmp|work|usr)/\S+", text)
    assert path.stat().st_size < 500_000


@pytest.mark.slow
def test_the_notebooks_run_one_after_the_other(tmp_path, monkeypatch):
    nbformat, client = (pytest.importorskip(name, reason=f"pip install {name}") for name in ("nbformat", "nbclient"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        resources = {"metadata": {"path": str(tmp_path)}}
        client.NotebookClient(notebook, timeout=900, resources=resources).execute()  # raises the error of a cell
    assert (tmp_path / "quickstart" / "report" / "report.html").is_file()
