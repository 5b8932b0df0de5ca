"""What a run starts with: notes and errors on its weights and word vectors."""

import pytest

from tests.support.runs import config
from tfcaption.models.encoder import EncoderError
from tfcaption.runs.directory import plan_run
from tfcaption.training.assemble import new_captioner


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
