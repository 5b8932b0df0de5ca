"""What a run writes for TensorBoard."""

import io
import json

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
def shown(sample_records, pooled, tmp_path_factory):
    """The shared run of two epochs again, with two photos for TensorBoard."""
    settings = config(tmp_path_factory.mktemp("shown") / "run", sample_records, 2, pooled)
    settings.train.shown_photos = 2
    return train(settings)


@pytest.fixture(scope="module")
def events(shown):
    found = EventAccumulator(str(shown / "tensorboard"), size_guidance={"tensors": 0})
    found.Reload()
    return found


def test_showing_photos_changes_no_step(shown, trained_run):
    assert figures(shown) == figures(trained_run) and step_losses(shown) == step_losses(trained_run)


def test_each_epoch_has_the_first_dev_photos_beside_their_greedy_captions(shown, events, sample_records):
    first = [decode_record(data) for data in read_records(map(str, sorted(sample_records.glob("dev-*"))))][:2]
    tags = [f"dev/{record.photo_id}" for record in first]
    assert events.Tags()["tensors"] and {tag for tag in events.Tags()["tensors"] if "/" in tag} >= set(tags)
    evaluate(shown, search=CaptionOptions(beam=1), checkpoint="last")
    lines = [json.loads(line) for line in (shown / "eval-dev" / "captions.jsonl").read_text().splitlines()]
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


def test_scores_and_learning_rate_are_scalars_and_the_config_is_hparams(shown, events):
    assert {"dev_loss", "train_loss", "step_loss", "learning_rate"} <= set(events.Tags()["tensors"])
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    assert values["train.learning_rate"].number_value == pytest.approx(3e-3)
    assert values["model.decoder"].string_value == "gru"
