"""The fields of the encoder that a config leaves out."""

import pytest

from tests.support.runs import config
from tfcaption.config import ModelConfig
from tfcaption.records.dataset_info import FeatureSettings, FeaturesInfo
from tfcaption.runs.directory import load_run, plan_run
from tfcaption.runs.encoder_choice import resolve_encoder


def features(encoder, encoder_input, *, stage="map", layers=("last",), weights=None):
    settings = FeatureSettings(
        **{"stage": stage, "layers": list(layers), "shape": [2, 2, 8], "weights": "0", "preprocessing": "none"},
        records="0",
        batch_size=1,
    )
    return FeaturesInfo(settings=settings, encoder=encoder, encoder_input=encoder_input, weights=weights, splits={})


def fields(model):
    return model.encoder, model.encoder_input, model.finetune_from, model.weights


def test_without_features_the_encoder_is_resnet50_with_imagenet_weights():
    assert fields(resolve_encoder(ModelConfig(), None, None)) == ("resnet50", None, None, "imagenet")


@pytest.mark.parametrize(
    ("encoder", "encoder_input", "expected"),
    [
        (["resnet50"], ["caffe"], None),  # goes without saying
        (["resnet50"], ["torch"], "torch"),
        (["clip.keras"], ["torch"], "torch"),
        (["resnet50", "clip.keras"], ["caffe", "torch"], "torch"),
        (["resnet50", "clip.keras"], ["caffe", "caffe"], "caffe"),  # of the file, whose name does not say it
    ],
)
def test_the_input_convention_is_that_of_the_features_where_no_name_gives_it(encoder, encoder_input, expected):
    model = resolve_encoder(ModelConfig(), features(encoder, encoder_input), None)
    assert model.encoder_input == expected
    assert model.encoders == encoder


@pytest.mark.parametrize(("layer", "expected"), [("conv5_block1_out", None), ("conv4_block6_out", "conv4_block6_out")])
def test_the_layer_of_features_of_stage_trunk_is_named_unless_it_is_the_default(layer, expected):
    trunk = features(["resnet50"], ["caffe"], stage="trunk", layers=[layer])
    assert resolve_encoder(ModelConfig(), trunk, None).finetune_from == expected


def test_a_begun_run_keeps_what_it_took_and_the_config_is_not_changed():
    config = ModelConfig(weights="random")
    started = ModelConfig(encoder="xception", encoder_input="tf", finetune_from="add_10", weights="imagenet")
    assert fields(resolve_encoder(config, None, started)) == ("xception", "tf", "add_10", "random")
    assert fields(config) == (None, None, None, "random")


def test_without_features_a_run_takes_the_encoder_of_the_run_that_it_starts_from(trained_run, sample_records, tmp_path):
    settings = config(tmp_path / "run", sample_records, 1, weights=None)
    settings.train.start_from = str(trained_run)
    source = load_run(trained_run).config.model
    model = plan_run(settings).config.model
    assert (model.encoder, model.weights) == (source.encoder, str(trained_run))
    settings.model.encoder = "mobilenetv3small"
    assert plan_run(settings).config.model.weights == "imagenet"  # another encoder, refused when the run is restored
