"""Runs on features that were made elsewhere: what they can do without an encoder, and what they refuse."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import IN_MEMORY
from tests.support.features import all_features
from tests.support.records import read_all
from tests.support.runs import config, evaluate, figures, train
from tfcaption import caption, report, serve
from tfcaption.api.captioner import load
from tfcaption.config import ConfigError
from tfcaption.inspect import main as inspect
from tfcaption.records.tfrecord import RecordError
from tfcaption.runs.directory import RunError, load_run, plan_run
from tfcaption.serving.export import export_captioner
from tfcaption.serving.export_folder import ExportError

CHANNELS, MOST = 6, 4


def imported(records, folder, seed=0):
    """One to four regions of each photo."""
    from beam_jobs.import_features import main

    generator = np.random.default_rng(seed)
    (folder / "npy").mkdir(parents=True)
    for index, photo in enumerate(read_all(records)[1]):
        count = 1 + index % MOST
        np.save(folder / "npy" / f"{photo}.npy", generator.normal(size=(count, CHANNELS)).astype(np.float16))
    arguments = ["--records", str(records), "--input", str(folder / "npy"), "--output", str(folder / "features")]
    assert main([*arguments, "--name", "a detector", *IN_MEMORY]) == 0
    return folder / "features"


def settings(run, records, features, *, epochs=1, **model):
    sizes = {"gru_units": 16, "dense_units": 16, "attention_units": 8, "transformer_units": 16, "dropout": 0.0}
    return config(run, records, epochs, features, **sizes | {"weights": None, "decoder": "attention"} | model)


@pytest.fixture(scope="module")
def features(sample_records, tmp_path_factory):
    return imported(sample_records, tmp_path_factory.mktemp("imported"))


@pytest.fixture(scope="module")
def run(sample_records, features, tmp_path_factory):
    """A run that shows two photos in TensorBoard."""
    planned = settings(tmp_path_factory.mktemp("runs") / "regions", sample_records, features)
    planned.train.shown_photos = 2
    return train(planned)


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    return export_captioner(load_run(run), tmp_path_factory.mktemp("exports") / "1")


def test_it_is_scored_and_reported(run, features, sample_records, tmp_path, capsys):
    assert evaluate(run)["photos"] > 3
    assert evaluate(run, sample_records, limit=3)["photos"] == 3  # records that have moved
    assert report.main([str(run), "--output", str(tmp_path / "report")]) == 0
    assert "a detector" in (tmp_path / "report" / "report.html").read_text()
    assert inspect([str(features)]) == 0
    assert "up to 4x6 float16, a detector," in capsys.readouterr().out


def test_its_export_takes_features_alone_and_gives_the_captions_of_the_run(run, exported, features, sample_records):
    described = json.loads((exported / "assets.extra" / "export.json").read_text())
    assert (described["encoder"], described["features"]) == (["imported"], "map")
    loaded = tf.saved_model.load(str(exported))
    assert list(loaded.signatures) == ["from_features"]
    evaluate(run)
    lines = [json.loads(line) for line in (run / "eval-dev" / "captions.jsonl").read_text().splitlines()]
    regions = np.zeros((len(lines), MOST, CHANNELS), np.float32)
    stored = all_features(features)
    for row, line in zip(regions, lines, strict=True):
        values = np.frombuffer(stored[line["id"]], np.float16).reshape(-1, CHANNELS)
        row[: len(values)] = values
    found = loaded.signatures["from_features"](features=tf.constant(regions))
    assert [caption.decode() for caption in found["captions"].numpy()] == [line["caption"] for line in lines]


@pytest.mark.parametrize("command", ["caption", "serve", "caption_images", "load"])
@pytest.mark.parametrize("model", ["run", "exported"])
def test_photos_are_refused_by_name_before_tensorflow_starts(command, model, sample, tmp_path, request, capsys):
    from beam_jobs import caption_images

    path = request.getfixturevalue(model)
    if command == "load":
        with pytest.raises((RunError, ExportError)) as caught:
            load(path)
        message = f"error: {caught.value}"
    else:
        photos = str(sample[0])
        commands = {
            "caption": (caption, [str(path), photos]),
            "serve": (serve, [str(path), "--port=0"]),
            "caption_images": (caption_images, [str(path), "--images", photos, "--output", str(tmp_path / "out")]),
        }
        module, arguments = commands[command]
        assert module.main(arguments) == 1
        message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith(f"error: {path}: captions features that were made elsewhere, not photos")


def test_what_needs_an_encoder_is_refused_before_tensorflow_starts(features, sample_records, run, tmp_path):
    for data, model, message in (
        (features, {"variant": "finetuned"}, "model.variant=finetuned: features that were made elsewhere have no"),
        (None, {"encoder": "imported"}, "model.encoder=imported: needs data.features that beam_jobs.import_features"),
        (None, {"weights": str(run)}, f"model.weights={run}: reads features that were made elsewhere"),
    ):
        with pytest.raises(ConfigError, match=f"^{message}"):
            plan_run(settings(tmp_path / "run", sample_records, data, **model))
    with pytest.raises(RecordError, match="made with the encoder imported, but model.encoder=resnet50; leave"):
        plan_run(settings(tmp_path / "run", sample_records, features, encoder="resnet50"))


def test_a_run_goes_on_with_its_features_and_no_others(sample_records, features, tmp_path):
    train(settings(tmp_path / "run", sample_records, features))
    other = imported(sample_records, tmp_path / "other", seed=1)
    with pytest.raises(RecordError, match=f"^data.features={other}: other values than .*run began with; name those"):
        train(settings(tmp_path / "run", sample_records, other, epochs=2))
    train(settings(tmp_path / "run", sample_records, features, epochs=2))
    assert len(figures(tmp_path / "run")) == 2


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["gru", "transformer"])
def test_every_decoder_trains_and_exports(decoder, sample_records, features, tmp_path):
    run = train(settings(tmp_path / "run", sample_records, features, decoder=decoder))
    assert evaluate(run, limit=3)["photos"] == 3
    assert list(tf.saved_model.load(str(export_captioner(load_run(run), tmp_path / "export"))).signatures) == [
        "from_features"
    ]


@pytest.mark.slow
def test_with_a_run_that_reads_photos_it_makes_no_ensemble(run, trained_run, tmp_path, capsys):
    from tfcaption.evaluate import main

    assert main([str(run), str(trained_run), "--ensemble", str(tmp_path / "both"), "--limit=2"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {run}: reads features that were made elsewhere, so it goes together only with")
