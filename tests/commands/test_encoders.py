"""The command that lists encoders and measures them."""

import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from tfcaption.backbones.families import FAMILIES, MEANINGS
from tfcaption.encoders import main, millions

PAGE = Path(__file__).parents[2] / "docs" / "encoders.md"


def rows(text):
    """Lines of a printed table, split where two spaces are."""
    return [re.split(r"\s{2,}", line) for line in text.splitlines()]


def test_without_arguments_every_family_is_listed_and_tensorflow_is_not_started(capsys):
    assert main([]) == 0
    listed = {row[0]: row[1:] for row in rows(capsys.readouterr().out) if row[0] in FAMILIES}
    assert listed.keys() == FAMILIES.keys()
    assert listed["resnet50"] == ["2048", "23.6 M", "32", "caffe", "conv5_block1_out"]
    code = "import sys; from tfcaption.encoders import main; main([]); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_a_named_encoder_and_a_file_are_measured_with_the_layers_at_which_they_can_be_split(tmp_path, capsys):
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(6, 8, strides=8, name="only_conv")]
    keras.Sequential([keras.Input((32, 32, 3)), *layers]).save(tmp_path / "small.keras")
    path = str(tmp_path / "small.keras")
    assert main(["mobilenet", path, "--image_size", "32", "--layers"]) == 0
    table = rows(capsys.readouterr().out)
    found = {row[0]: row[1:] for row in table if len(row) > 2}
    # 2 bytes a number: one region of 1024 channels, and 4 x 4 regions of 6
    assert found["mobilenet"][:7] == ["1", "1024", "2.0", "2.0", "2.0", "3.2 M", "1.1 M"]
    assert found[path][:5] == ["16", "6", "0.2", "0.2", "0.0"]
    assert all(float(found[name][7].replace(",", "")) > 0 for name in ("mobilenet", path))
    assert ["conv_pw_12_relu", "1 x 1 x 1024"] in table and ["only_conv", "4 x 4 x 6"] in table


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["resnet5"], "resnet5: no such encoder; did you mean resnet50"),
        (["xception", "--image_size", "64"], "xception: takes photos of 71 pixels or more"),
        (["missing.keras"], "missing.keras: no such file"),
        (["--layers"], "--layers: name the encoders"),
        (["resnet50", "--encoder_input", "tf"], "--encoder_input: encoders that go by a name have their own"),
    ],
)
def test_what_cannot_be_measured_is_an_error_of_one_line(arguments, message, capsys):
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}") and error.count("\n") == 1


def test_the_page_on_encoders_has_the_table_and_the_conventions():
    cells = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in PAGE.read_text().splitlines()]
    families = [row[:6] for row in cells if row[0] in FAMILIES]
    assert families == [
        [
            family.name,
            str(family.channels),
            millions(family.parameters),
            str(family.smallest_size),
            family.input,
            family.cut,
        ]
        for family in FAMILIES.values()
    ]
    assert {row[0]: row[1] for row in cells if row[0] in MEANINGS} == MEANINGS
