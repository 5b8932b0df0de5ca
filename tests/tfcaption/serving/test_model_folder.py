"""Runs and exports by their paths: found, told apart, and refused by name before TensorFlow starts."""

import json
import random
import shutil
from pathlib import Path

import pytest

from tfcaption import evaluate, export, report
from tfcaption.decoding.options import CaptionOptions
from tfcaption.runs.directory import RunError
from tfcaption.runtime.errors import UsageError
from tfcaption.serving.model_folder import ModelFolder, find_model, find_run


def fake_export(folder, **described):
    """The files of an export that are looked at before TensorFlow starts."""
    (folder / "assets.extra").mkdir(parents=True)
    (folder / "saved_model.pb").touch()
    fields = {"image_size": 8, "resize": "squash", "search": {"beam": 2, "no_repeat_ngram": 3}} | described
    (folder / "assets.extra" / "export.json").write_text(json.dumps(fields))
    return folder


def test_a_run_an_export_and_the_newest_of_numbered_exports_are_found(trained_run, tmp_path):
    for number in ("2", "10"):
        fake_export(tmp_path / number)
    assert find_model(trained_run).run and find_model(trained_run).path == trained_run
    found = find_model(tmp_path)
    assert found.path == tmp_path / "10" and found.run is None and find_model(tmp_path / "2").path == tmp_path / "2"
    assert found.options({}) == CaptionOptions(beam=2, no_repeat_ngram=3)
    assert find_model(trained_run).options({"beam": 5}) == CaptionOptions(beam=5)


def test_the_name_of_a_model_is_that_of_its_folder():
    names = {"exports/flickr8k/1": "flickr8k/1", "runs/mine": "mine", "/model": "model"}
    assert {path: ModelFolder(Path(path), None).name for path in names} == names


def test_a_path_that_is_neither_is_called_what_it_is(sample_records, small_pooled, sample, trained_run, tmp_path):
    (tmp_path / "new.jpg").touch()
    for path, message in (
        (sample_records, "is a folder of records, neither a run directory nor an export"),
        (small_pooled, "is a folder of features, neither a run directory nor an export"),
        (sample[0], "is a folder of photos, neither a run directory nor an export"),
        (tmp_path / "new.jpg", "is a photo, neither a run directory nor an export"),
        (tmp_path / "none", "no such folder; name a run directory or an export"),
        (
            trained_run.parent,
            f"is a folder above run directories (such as {trained_run}), neither a run directory nor ",
        ),
    ):
        with pytest.raises(UsageError) as raised:
            find_model(path)
        assert str(raised.value).startswith(f"{path}: {message}")
    assert str(raised.value).endswith("; name one of them")
    with pytest.raises(RunError, match=r"above run directories \(such as .*\), not a run directory; name one of them"):
        find_run(trained_run.parent)


@pytest.mark.parametrize("command", [evaluate, export, report])
def test_commands_that_need_a_run_name_that_of_an_export(command, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tfcaption.runtime.process.stderr_to_file", lambda *_: pytest.fail("TensorFlow is started"))
    fake_export(tmp_path / "mine" / "1", run="runs/mine")
    flags = ["--output", str(tmp_path / "out")] if command is export else []
    for path in (tmp_path / "mine" / "1", tmp_path / "mine"):
        assert command.main([str(path), *flags]) == 1
        message = f"error: {path}: is an export, not a run directory; name its run, runs/mine, instead\n"
        assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    ("given", "checkpoint", "message"),
    [
        (
            {"no_repeat_ngram": 2},
            None,
            "--no_repeat_ngram 2: EXPORT was exported with beam search, beam 2, no repeated 3-",
        ),
        (
            {"nbest": 3},
            None,
            "--nbest 3: EXPORT gives 2 captions of each photo; name its run, runs/a, instead, or export",
        ),
        ({"top_p": 0.9}, None, "--top_p 0.9: EXPORT was exported with"),
        ({}, "last", "--checkpoint last: EXPORT is an export, of one checkpoint; name its run, runs/a, instead"),
    ],
)
def test_an_export_refuses_what_it_was_not_exported_with(given, checkpoint, message, tmp_path):
    model = find_model(fake_export(tmp_path / "1", run="runs/a"))
    with pytest.raises(UsageError) as raised:
        model.options(given, checkpoint=checkpoint)
    assert str(raised.value).startswith(message.replace("EXPORT", str(tmp_path / "1")))


def test_an_export_of_an_earlier_version_blocks_no_repeats(tmp_path):
    model = find_model(fake_export(tmp_path / "1"))
    described = {"image_size": 8, "resize": "squash", "beam": 4}
    (model.path / "assets.extra" / "export.json").write_text(json.dumps(described))
    assert model.options({}) == CaptionOptions(beam=4, no_repeat_ngram=0)


def test_an_export_accepts_its_own_options_and_fewer_captions(tmp_path):
    model = find_model(fake_export(tmp_path / "1"))
    assert model.options({"beam": 2, "nbest": 1, "no_repeat_ngram": 3}).nbest == 1
    assert model.options({"nbest": 2}).nbest == 2


def test_the_fingerprint_of_a_run_is_that_of_its_weights_not_of_its_place(trained_run, tmp_path):
    moved = find_model(shutil.copytree(trained_run, tmp_path / "moved"))
    fingerprint = moved.open().fingerprint()
    random.seed(1)  # which Keras seeds each dropout from
    assert find_model(trained_run).open({"beam": 1}).fingerprint() == fingerprint
    file = moved.path / "vocabulary.txt"
    words = file.read_text().splitlines()
    file.write_text("\n".join([*words[:-2], words[-1], words[-2]]) + "\n")
    assert find_model(moved.path).open().fingerprint() != fingerprint
    other = find_model(trained_run).open()
    other._model.captioner.decoder.logits.bias.assign_add([1e-3] * len(words))  # as in another checkpoint
    assert other.fingerprint() != fingerprint
