"""What a training run prints before its first step."""

import pytest

from tests.support.models import new_encoder
from tests.support.runs import config
from tfcaption.backbones.settings import EncoderSettings
from tfcaption.models.encoder import open_encoder
from tfcaption.runs.directory import plan_run
from tfcaption.training import console


@pytest.fixture
def run(sample_records, tmp_path):
    return plan_run(config(tmp_path / "run", sample_records, 3, variant="finetuned"))


def stated_gigabytes(advice):
    (line,) = advice
    return float(line.partition(" GB")[0].rpartition(" ")[2])


def test_the_advice_on_extraction_says_how_much_space_the_stored_stage_takes(run):
    photos = sum(run.info.split(name).photos for name in ("train", "dev"))
    deep = EncoderSettings(weights="random", finetune_from="conv3_block1_out")
    size = run.info.settings.image_size
    for encoder, values in (
        (new_encoder(size, finetuned=True), (size // 32) ** 2 * 2048),
        (open_encoder(deep, image_size=size, finetuned=True), (size // 8) ** 2 * 512),
    ):
        advice = console.extraction_advice(run, encoder)
        assert stated_gigabytes(advice) == pytest.approx(photos * values * 2 / 1e9, rel=0.06)
        assert "extract_features" in advice[0] and "--stage trunk" in advice[0]


def test_no_extraction_is_advised_where_the_stored_stage_would_take_too_much_space(run, monkeypatch):
    monkeypatch.setattr(console, "MAX_ADVISED_GB", 1e-6)
    assert console.extraction_advice(run, new_encoder(run.info.settings.image_size, finetuned=True)) == []


def test_the_advised_command_takes_the_encoder_of_a_run_by_run(run, tmp_path):
    source = tmp_path / "a run"
    source.mkdir()
    (source / "config.yaml").touch()
    run.config.model.weights = str(source)
    (advice,) = console.extraction_advice(run, new_encoder(run.info.settings.image_size, finetuned=True))
    assert f"--stage trunk --run '{source}', --set" in advice
