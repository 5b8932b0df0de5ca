"""What a run writes for TensorBoard."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from tests.support.runs import config, evaluate, figures, step_losses, train
from tfcaption.decoding.options import CaptionOptions
from tfcaption.preprocessing.captioned_picture import draw_beside
from tfcaption.records.examples import decode_record
from tfcaption.records.reading import read_records


@pytest.fixture(scope="module")
def events(trained_run):
    found = EventAccumulator(str(trained_run / "tensorboard"), size_guidance={"tensors": 0})
    found.Reload()
    return found


@pytest.mark.slow
def test_showing_photos_changes_no_step(trained_run, sample_records, small_pooled, tmp_path):
    without = train(config(tmp_path / "run", sample_records, 2, small_pooled))
    assert figures(without) == figures(trained_run) and step_losses(without) == step_losses(trained_run)


def test_each_epoch_has_the_first_dev_photos_beside_their_greedy_captions(
    trained_run, events, sample_records, tmp_path
):
    first = [decode_record(data) for data in read_records(map(str, sorted(sample_records.glob("dev-*"))))][:2]
    tags = [f"dev/{record.photo_id}" for record in first]
    assert events.Tags()["tensors"] and {tag for tag in events.Tags()["tensors"] if "/" in tag} >= set(tags)
    run = shutil.copytree(trained_run, tmp_path / "run")
    evaluate(run, search=CaptionOptions(beam=1), checkpoint="last")
    lines = [json.loads(line) for line in (run / "eval-dev" / "captions.jsonl").read_text().splitlines()]
    captions = {line["id"]: line["caption"] for line in lines}
    for record, tag in zip(first, tags, strict=True):
        epochs = events.Tensors(tag)
        assert [event.step for event in epochs] == [1, 2]
        width, height, png = epochs[-1].tensor_proto.string_val
        drawn = np.asarray(Image.open(io.BytesIO(png)))
        with Image.open(io.BytesIO(record.jpeg)) as photo:
            expected = draw_beside(photo.convert("RGB"), captions[record.photo_id], record.captions[0])
        assert (int(width), int(height)) == expected.size
        np.testing.assert_array_equal(drawn, np.asarray(expected))


def test_scores_and_learning_rate_are_scalars_and_the_config_is_hparams(events):
    assert {"dev_loss", "train_loss", "step_loss", "learning_rate"} <= set(events.Tags()["tensors"])
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    assert values["train.learning_rate"].number_value == pytest.approx(3e-3)
    assert values["model.decoder"].string_value == "gru"
