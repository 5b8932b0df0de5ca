"""The table of encoders that go by a name, which needs no TensorFlow."""

import inspect

import keras
import pytest

from tfcaption.backbones.errors import EncoderError
from tfcaption.backbones.families import FAMILIES, INPUTS, MEANINGS, check_size, find_family, is_file
from tfcaption.backbones.settings import EncoderSettings


def test_every_backbone_of_keras_is_a_family_and_resnet50_is_the_first():
    constructors = {name for name, value in vars(keras.applications).items() if inspect.isfunction(value)}
    assert {family.constructor for family in FAMILIES.values()} == constructors
    assert all(name == family.name == family.constructor.lower() for name, family in FAMILIES.items())
    assert next(iter(FAMILIES)) == "resnet50"


def test_every_input_convention_has_a_meaning_and_none_else_is_used():
    assert tuple(MEANINGS) == INPUTS
    assert {family.input for family in FAMILIES.values()} <= set(INPUTS)


@pytest.mark.parametrize("name, hint", [("ResNet50", "resnet50"), ("efficientnet_b0", "efficientnetb0")])
def test_an_unknown_name_is_an_error_that_names_the_nearest(name, hint):
    with pytest.raises(EncoderError, match=f"^{name}: no such encoder; did you mean {hint}"):
        find_family(name)
    with pytest.raises(EncoderError, match="^clip: no such encoder; `tfcaption encoders` lists all"):
        find_family("clip")


def test_a_file_has_a_separator_or_a_suffix_or_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exported").mkdir()
    (tmp_path / "resnet50").mkdir()
    assert all(map(is_file, ("encoder.keras", "models/clip", "gs://bucket/encoder.keras", "exported")))
    assert not any(map(is_file, ("resnet50", "convnexttiny", "clip")))


def test_a_size_that_an_encoder_cannot_take_and_a_missing_file_are_errors_with_the_cure(tmp_path):
    check_size("xception", 71)
    with pytest.raises(EncoderError, match="^xception: takes photos of 71 pixels or more, .* 70; .*--image_size 71"):
        check_size("xception", 70)
    with pytest.raises(EncoderError, match="nowhere.keras: no such file"):
        check_size(str(tmp_path / "nowhere.keras"), 224)


def test_an_input_convention_of_several_encoders_that_go_by_a_name_is_refused_rather_than_ignored():
    EncoderSettings(("resnet50",), encoder_input="torch").check(224)
    with pytest.raises(EncoderError, match="^torch: resnet50 and xception have their own") as caught:
        EncoderSettings(("resnet50", "xception"), encoder_input="torch").check(224)
    assert caught.value.option == "encoder_input"
