"""The run directory: which weights a run starts from, and what a directory in use refuses."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.records import write_plain_records
from tests.support.runs import config
from tfcaption.config import ConfigError, load_config, save_config
from tfcaption.records.dataset_info import load_features_info
from tfcaption.records.tfrecord import RecordError
from tfcaption.records.vocabulary import SPECIAL_TOKENS
from tfcaption.runs.directory import RunError, check_weights, has_encoder, load_run, open_run, plan_run


@pytest.fixture
def settings(sample_records, pooled, tmp_path):
    return config(tmp_path / "run", sample_records, 2, pooled, weights=None)


@pytest.fixture
def made_with(settings, pooled, tmp_path):
    """Copies the features, as made with some --weights; None: as older versions wrote features.json."""

    def copy(weights):
        folder = tmp_path / "features"
        shutil.copytree(pooled, folder, dirs_exist_ok=True)
        described = json.loads((folder / "features.json").read_text())
        described.pop("weights")
        (folder / "features.json").write_text(json.dumps(described | ({"weights": weights} if weights else {})))
        settings.data.features = str(folder)
        return settings

    return copy


def test_features_remember_the_weights_and_a_run_starts_from_them_and_saves_their_name(settings, pooled):
    assert load_features_info(pooled).weights == "random"  # as extract_features was called
    with open_run(settings) as run:
        assert run.config.model.weights == "random" and settings.model.weights is None
    assert load_run(settings.run).config.model.weights == "random"


@pytest.mark.parametrize(
    ("dev", "words", "message"),
    [
        ({}, ["dog"], r"records: no split 'dev'; available: train; build_records .* --shares"),
        ({"b.jpg": (["A dog ."], [])}, [], "records: the vocabulary has no words.* a lower --min_count"),
    ],
)
def test_records_that_cannot_be_trained_on_are_refused_with_the_cure_before_there_is_a_run(
    tmp_path, dev, words, message
):
    records = write_plain_records(tmp_path / "records", {"train": {"a.jpg": (["A dog ."], [])}, "dev": dev})
    (records / "vocabulary.txt").write_text("".join(f"{word}\n" for word in [*SPECIAL_TOKENS, *words]))
    with pytest.raises(RecordError, match=message), open_run(config(tmp_path / "run", records, 1)):
        pass
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_weights_that_are_named_are_not_replaced(settings):
    settings.model.weights = "imagenet"
    assert plan_run(settings).config.model.weights == "imagenet"


def test_the_default_is_the_file_of_the_features_while_it_is_there_and_imagenet_otherwise(made_with, tmp_path):
    file = tmp_path / "resnet50.weights.h5"
    file.touch()
    assert plan_run(made_with(str(file))).config.model.weights == str(file)
    file.unlink()
    assert plan_run(made_with(str(file))).config.model.weights == "imagenet"
    assert plan_run(made_with(None)).config.model.weights == "imagenet"


def test_a_run_that_has_started_keeps_its_weights_wherever_their_file_or_the_user_goes(
    made_with, tmp_path, monkeypatch
):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("resnet50.weights.h5").touch()
    settings = made_with("resnet50.weights.h5")  # as older versions wrote features.json: no absolute path
    with open_run(settings) as run:
        assert run.config.model.weights == "resnet50.weights.h5" and not has_encoder(run.path)
    monkeypatch.chdir(tmp_path / "there")
    assert plan_run(settings).config.model.weights == "imagenet"  # it has not started
    own = run.path / "encoder.weights.h5"
    own.touch()
    for moved in (False, True):
        if moved:
            (tmp_path / "here" / "resnet50.weights.h5").unlink()
        with open_run(settings) as run:
            assert run.config.model.weights == "resnet50.weights.h5" and has_encoder(run.path)
        assert load_run(run.path).config.model.weights == "resnet50.weights.h5"
    settings.model.weights = "random"  # named, so it is a change
    with pytest.raises(RunError, match="model.weights was resnet50.weights.h5, is random"), open_run(settings):
        pass


def test_other_weights_than_those_of_the_features_are_refused_with_the_name_to_set(made_with):
    run = plan_run(made_with("gone.h5"))
    check_weights(run, run.features.settings.weights)
    with pytest.raises(RecordError, match=r"\(gone.h5\) than model.weights=imagenet; set model.weights to gone.h5, or"):
        check_weights(run, "0123")
    with pytest.raises(RecordError, match=r"other weights than model.weights=imagenet; set model.weights to those, or"):
        check_weights(plan_run(made_with(None)), "0123")


def test_more_epochs_of_a_cosine_run_are_refused_with_the_reason_and_the_cure(settings, tmp_path):
    settings.train.schedule = "cosine"
    with open_run(settings) as run:
        (run.path / "encoder.weights.h5").touch()  # it has started
    save_config(settings, tmp_path / "config.yaml")
    longer = load_config(tmp_path / "config.yaml", ["train.epochs=5"])
    cure = rf"number of epochs sets the learning rate of every step.*--set run=DIR train.start_from={settings.run}"
    with (
        pytest.raises(RunError, match=f"train.epochs was 2, is 5, but with train.schedule=cosine.*{cure}"),
        open_run(longer),
    ):
        pass
    longer.train.learning_rate = 1.0
    with pytest.raises(RunError, match="another config .*learning_rate was"), open_run(longer):
        pass


def test_augmentation_of_stored_features_is_refused_with_the_cure_before_there_is_a_run(settings):
    settings.data.augment = "crop_flip"
    with pytest.raises(ConfigError, match=r"data\.augment=crop_flip .*extract_features --views"), open_run(settings):
        pass
    assert not Path(settings.run, "config.yaml").exists()
    settings.data.features = None
    assert plan_run(settings).config.data.augment == "crop_flip"
