"""The image of the server starts the command as it is."""

import json
import re
from pathlib import Path

from tfcaption import serve

ROOT = Path(__file__).parents[3]
LINES = (ROOT / "tfcaption" / "serving" / "Dockerfile").read_text().replace("\\\n", " ").splitlines()


def test_the_image_starts_the_server_for_the_model_that_is_mounted(capsys):
    (line,) = [line for line in LINES if line.startswith("ENTRYPOINT")]
    script, name, *arguments = json.loads(line.removeprefix("ENTRYPOINT"))
    assert (script, name) == ("tfcaption", "serve")
    assert serve.main(arguments) == 1
    assert capsys.readouterr().err.startswith("error: /model: ")


def test_the_image_has_a_python_and_an_extra_that_the_package_knows():
    setup, text = (ROOT / "setup.py").read_text(), "\n".join(LINES)
    version = re.search(r"^FROM python:3\.(\d+)-slim$", text, re.M)[1]
    least, most = re.search(r'python_requires=">=3\.(\d+),<3\.(\d+)"', setup).groups()
    assert int(least) <= int(version) < int(most)
    (extra,) = re.findall(r"\{wheel\}\[(\w+)\]", text)
    assert f'"{extra}": [' in setup
