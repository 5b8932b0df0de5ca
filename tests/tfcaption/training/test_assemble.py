"""What a run is made of, and what it tells before its first step."""

import io
import json
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

from tests.conftest import extracted
from tests.support.models import shared_resnet50
from tests.support.records import build, read_all
from tests.support.runs import config
from tests.support.sources import SmallDataset
from tfcaption.backbones.errors import EncoderError
from tfcaption.config import updated_config
from tfcaption.records.vocabulary import load_vocabulary
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import RunError, check_weights, load_run, open_run, plan_run
from tfcaption.training.assemble import assemble, new_captioner
from tfcaption.training.console import describe


@pytest.mark.parametrize("features", [None, "pooled"])
def test_a_batch_is_capped_at_its_split_and_the_run_says_so(
    sample_records, small_encoder, small_pooled, tmp_path, features
):
    encoder = {"encoder": str(small_encoder), "weights": None}
    settings = config(tmp_path / "run", sample_records, 1, features and small_pooled, **encoder)
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
def test_embedding_units_that_the_word_vectors_overrule_are_noted(
    sample_records, small_pooled, glove_file, tmp_path, units, noted
):
    settings = config(tmp_path / "run", sample_records, 1, small_pooled, glove=str(glove_file), embedding_units=units)
    captioner, notes = new_captioner(plan_run(settings), compiled=False)
    assert captioner.decoder.embedding_units == 5
    message = f"model.embedding_units={units} is not used: the word vectors of model.glove have 5 units"
    assert (message in notes) == noted  # 100 is the default


def test_weights_that_are_missing_are_an_error_that_names_the_field(sample_records, tmp_path):
    settings = config(tmp_path / "run", sample_records, 1, weights="nowhere.h5")
    with pytest.raises(EncoderError, match="^model.weights=nowhere.h5: no such file"):
        new_captioner(plan_run(settings), compiled=False)


def test_a_run_goes_on_with_its_own_copy_of_weights_that_are_gone(sample_records, pooled, tmp_path):
    weights = tmp_path / "resnet50.weights.h5"
    weights.touch()
    settings = config(tmp_path / "run", sample_records, 2, pooled, weights=str(weights))
    with open_run(settings) as run:
        shared_resnet50().base.save_weights(run.path / "encoder.weights.h5")
    weights.unlink()
    with open_run(settings) as run:
        captioner, _ = new_captioner(run, compiled=False)
        check_weights(run, captioner.encoder.fingerprint("pooled"))


def test_augmentation_changes_training_photos_and_no_other(sample_records, small_encoder, tmp_path):
    _, found = read_all(sample_records)
    pixels = {Image.open(io.BytesIO(record.jpeg)).tobytes() for _, record in found.values()}
    settings = config(tmp_path / "run", sample_records, 1, encoder=str(small_encoder), weights=None)
    settings.data.augment = "crop_flip"
    training = assemble(plan_run(settings))
    assert training.batch_options.augment_seed == settings.train.seed
    train, dev = next(training.train_batches())["inputs"], next(training.dev_batches())["inputs"]
    assert not any(photo.numpy().tobytes() in pixels for photo in train)
    assert all(photo.numpy().tobytes() in pixels for photo in dev if photo.numpy().any())
    assert "from photo with crop_flip, in memory" in describe(training)


def test_a_run_on_other_photos_starts_from_the_words_that_both_know(
    glove_run, glove_file, sample_records, small_encoder, tmp_path
):
    """New words start as they do in any run, from the word vectors where there are some."""
    records = tmp_path / "records"
    assert build(SmallDataset(tmp_path), records) == 0
    features = extracted(records, tmp_path / "features", "pooled", encoder=small_encoder)
    words, before = (load_vocabulary(folder).words for folder in (records, sample_records))
    new = [word for word in words if word not in before]
    assert new and len(words) - len(new) > 4
    (tmp_path / "glove.txt").write_text("".join([*glove_file.open(), *(f"{word} 1 2 3 4 5\n" for word in new)]))
    settings = config(tmp_path / "run", records, 1, features, glove=str(tmp_path / "glove.txt"))
    settings.train.start_from = str(glove_run)
    training = assemble(plan_run(settings))
    assert (
        f"train.start_from={glove_run}: knows {len(words) - len(new)} of the {len(words)} words; "
        f"the other {len(new)} are new"
    ) in training.notes
    ours, theirs = training.trainer.captioner.decoder, load_captioner(load_run(glove_run))[0].decoder
    for index, word in enumerate(words):
        vectors = [ours.embedding.embeddings.numpy()[index], ours.logits.kernel.numpy()[:, index]]
        if word in new:
            np.testing.assert_array_equal(vectors[0], [1, 2, 3, 4, 5])
            assert vectors[1].any()
        else:
            place = before.index(word)
            np.testing.assert_array_equal(vectors[0], theirs.embedding.embeddings.numpy()[place])
            np.testing.assert_array_equal(vectors[1], theirs.logits.kernel.numpy()[:, place])
    np.testing.assert_array_equal(ours.gru.cell.kernel, theirs.gru.cell.kernel)


def test_a_run_of_another_kind_of_tokenizer_is_no_start(trained_run, sample_records, small_pooled, tmp_path):
    other = shutil.copytree(trained_run, tmp_path / "other")
    described = json.loads((other / "dataset.json").read_text())
    described["settings"]["tokenizer"] = "unicode"
    (other / "dataset.json").write_text(json.dumps(described))
    settings = config(tmp_path / "run", sample_records, 1, small_pooled)
    settings.train.start_from = str(other)
    message = f"^train.start_from={other}: has the tokenizer unicode, not words; build the records with that one"
    with pytest.raises(RunError, match=message):
        assemble(plan_run(settings))
