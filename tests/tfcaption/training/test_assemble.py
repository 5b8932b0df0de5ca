"""What a run is made of, and what it tells before its first step."""

import io
import os

import keras
import pytest
from PIL import Image

from tests.support.records import read_all
from tests.support.runs import config
from tfcaption.backbones.errors import EncoderError
from tfcaption.config import updated_config
from tfcaption.runs.directory import check_weights, open_run, plan_run
from tfcaption.training.assemble import assemble, new_captioner
from tfcaption.training.console import describe


@pytest.mark.parametrize("features", [None, "pooled"])
def test_a_batch_is_capped_at_its_split_and_the_run_says_so(sample_records, pooled, tmp_path, features):
    settings = config(tmp_path / "run", sample_records, 1, features and pooled)
    training = assemble(plan_run(updated_config(settings, {"data.batch_size_photos": 100_000})))
    photos = {name: training.run.info.split(name).photos for name in ("train", "dev")}
    assert training.batch_size(training.train_split) == photos["train"]
    assert training.batch_size(training.dev_split) == photos["dev"]
    assert "data.batch_size_photos=100000 is more than the training split has" in training.notes[-1]
    rows = 5 if features else 1  # captions of a photo, each a row of its own from pooled features in memory
    batch = next(training.train_batches())
    assert len(batch["tokens"]) == photos["train"] * rows
    assert keras.config.dtype_policy().name == "float32"
    smaller = assemble(plan_run(settings))
    assert smaller.batch_size(smaller.train_split) == 12 and not any("is more than" in note for note in smaller.notes)


@pytest.mark.parametrize(("units", "noted"), [(16, True), (100, False)])
def test_embedding_units_that_the_word_vectors_overrule_are_noted(sample_records, glove_file, tmp_path, units, noted):
    settings = config(tmp_path / "run", sample_records, 1, glove=str(glove_file), embedding_units=units)
    captioner, notes = new_captioner(plan_run(settings), compiled=False)
    assert captioner.decoder.embedding_units == 5
    message = f"model.embedding_units={units} is not used: the word vectors of model.glove have 5 units"
    assert (message in notes) == noted  # 100 is the default


def test_weights_that_are_missing_are_an_error_that_names_the_field(sample_records, tmp_path):
    settings = config(tmp_path / "run", sample_records, 1, weights="nowhere.h5")
    with pytest.raises(EncoderError, match="^model.weights=nowhere.h5: no such file"):
        new_captioner(plan_run(settings), compiled=False)


def test_a_run_goes_on_with_its_own_copy_of_weights_that_are_gone(sample_records, pooled, trained_run, tmp_path):
    weights = tmp_path / "resnet50.weights.h5"
    weights.touch()
    settings = config(tmp_path / "run", sample_records, 2, pooled, weights=str(weights))
    with open_run(settings) as run:
        os.link(trained_run / "encoder.weights.h5", run.path / "encoder.weights.h5")
    weights.unlink()
    with open_run(settings) as run:
        captioner, _ = new_captioner(run, compiled=False)
        check_weights(run, captioner.encoder.fingerprint("pooled"))


def test_augmentation_changes_training_photos_and_no_other(sample_records, tmp_path):
    _, found = read_all(sample_records)
    pixels = {Image.open(io.BytesIO(record.jpeg)).tobytes() for _, record in found.values()}
    settings = updated_config(config(tmp_path / "run", sample_records, 1), {"data.augment": "crop_flip"})
    training = assemble(plan_run(settings))
    assert training.batch_options.augment_seed == settings.train.seed
    train, dev = next(training.train_batches())["inputs"], next(training.dev_batches())["inputs"]
    assert not any(photo.numpy().tobytes() in pixels for photo in train)
    assert all(photo.numpy().tobytes() in pixels for photo in dev if photo.numpy().any())
    assert "from photo with crop_flip, in memory" in describe(training)
