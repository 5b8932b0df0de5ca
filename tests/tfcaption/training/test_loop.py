"""Whole training runs: stopped, killed, resumed, distributed, refused."""

import json
import shutil
import time

import numpy as np
import pytest

from tests.conftest import tree_bytes
from tests.support.models import new_encoder
from tests.support.runs import config, evaluate, figures, launched, step_losses, train, wait_for_steps
from tfcaption.caption import main as caption
from tfcaption.decoding.options import CaptionOptions
from tfcaption.metrics.corpus import corpus_scores
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import RunError, load_run, open_run
from tfcaption.runtime.command import EXIT_PREEMPTED
from tfcaption.runtime.errors import TrainingFailed


@pytest.fixture(scope="module")
def evaluated_run(trained_run, tmp_path_factory):
    """A copy of the run with its evaluation on the test split, and the result of that."""
    copy = shutil.copytree(trained_run, tmp_path_factory.mktemp("evaluated") / "run")
    return copy, evaluate(copy, split="test")


def test_a_run_directory_holds_what_later_commands_need(trained_run, small_encoder):
    assert {p.name for p in trained_run.iterdir()} == {
        *("about.json", "config.yaml", "vocabulary.txt", "dataset.json", "encoder"),
        *("checkpoints", "metrics.jsonl", "steps.jsonl", "tensorboard"),
    }
    assert [line["epoch"] for line in figures(trained_run)] == [1, 2]
    assert any((trained_run / "tensorboard").iterdir())
    run = load_run(trained_run)
    expected = config(trained_run, run.config.data.records, 2, run.config.data.features)
    expected.train.shown_photos = 2
    expected.model.encoder, expected.model.encoder_input = str(small_encoder), "inside"  # null takes them from features
    assert run.config == expected


def test_one_epoch_and_one_more_equal_two_and_never_read_the_test_split(
    trained_run, sample_records, small_pooled, tmp_path
):
    copies = [shutil.copytree(folder, tmp_path / folder.name) for folder in (sample_records, small_pooled)]
    for copy in copies:
        for shard in copy.glob("test-*"):
            shard.unlink()
    for epochs in (1, 2):
        train(config(tmp_path / "run", copies[0], epochs, copies[1]))
    assert figures(tmp_path / "run") == figures(trained_run)
    assert step_losses(tmp_path / "run") == step_losses(trained_run)


@pytest.mark.slow
def test_with_augmentation_one_epoch_and_one_more_equal_two_which_differ_from_those_without(sample_records, tmp_path):
    def losses(name, *epochs, augment="crop_flip"):
        for number in epochs:
            settings = config(tmp_path / name, sample_records, number)
            settings.data.augment = augment
            train(settings)
        return step_losses(tmp_path / name)

    whole = losses("whole", 2)
    assert losses("resumed", 1, 2) == whole
    assert figures(tmp_path / "resumed") == figures(tmp_path / "whole")
    assert losses("plain", 2, augment="none") != whole


@pytest.mark.slow
def test_a_deep_run_on_crops_with_accumulated_gradients_resumes_exactly_and_keeps_its_frozen_layers(
    sample_records, tmp_path
):
    for name, *epochs in (("whole", 2), ("resumed", 1, 2)):
        for number in epochs:
            deep = {"variant": "finetuned", "finetune_from": "conv3_block1_out"}
            settings = config(tmp_path / name, sample_records, number, **deep)
            settings.data.augment, settings.train.accumulate_steps = "crop_flip", 2
            train(settings)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert step_losses(resumed) == step_losses(whole) and figures(resumed) == figures(whole)
    encoder = load_captioner(load_run(whole))[0].encoder
    initial = new_encoder(encoder.feature_shape("photo")[0]).base
    assert encoder.cut == "conv3_block1_out"
    for part, moves in ((encoder.trunk, False), (encoder.head, True)):
        for layer in (layer for layer in part.layers if layer.weights):
            for one, other in zip(layer.weights, initial.get_layer(layer.name).weights, strict=True):
                assert np.array_equal(one, other) == (not (moves and one.trainable)), one.path


@pytest.mark.slow
def test_killed_at_any_moment_and_started_again_it_takes_the_steps_of_an_trained_run_run(
    trained_run, sample_records, small_pooled, tmp_path
):
    run = tmp_path / "run"
    for least in (2, 6):  # within the first epoch, at its end or in the second
        process = launched(tmp_path, config(run, sample_records, 2, small_pooled))
        wait_for_steps(run, least, process)
        process.kill()
        process.wait()
    train(config(run, sample_records, 2, small_pooled))
    assert step_losses(run) == step_losses(trained_run)
    assert figures(run) == figures(trained_run)


@pytest.mark.slow
def test_asked_to_stop_it_saves_exits_with_its_own_code_and_goes_on_within_the_epoch(
    trained_run, sample_records, small_pooled, tmp_path
):
    run = tmp_path / "run"
    process = launched(tmp_path, config(run, sample_records, 2, small_pooled))
    wait_for_steps(run, 1, process)
    process.terminate()
    start = time.monotonic()
    _, error = process.communicate()
    assert process.returncode == EXIT_PREEMPTED and time.monotonic() - start < 30
    assert "run the same command to resume" in error
    stopped = len(step_losses(run))
    assert stopped < len(step_losses(trained_run))
    train(config(run, sample_records, 2, small_pooled))
    assert step_losses(run) == step_losses(trained_run) and figures(run) == figures(trained_run)


@pytest.mark.slow
def test_training_from_features_gives_the_losses_of_training_from_photos(sample_records, pooled, trunk, tmp_path):
    for variant, features in (("frozen", pooled), ("finetuned", trunk)):
        losses = []
        for source in (None, features):
            settings = config(tmp_path / f"{variant}-{source is None}", sample_records, 5, variant=variant, dropout=0.0)
            settings.data.features = source and str(source)
            settings.data.cache = False  # by photo, and in the same order
            # Adam makes much of the float16 of stored features where rates are higher.
            settings.train.learning_rate, settings.train.encoder_learning_rate = 1e-4, 2e-5
            losses.append([line["loss"] for line in step_losses(train(settings))])
        assert len(losses[0]) >= 20
        np.testing.assert_allclose(losses[1], losses[0], rtol=2e-3)


def test_features_that_do_not_fit_are_refused_with_the_field_that_differs(
    sample_records, pooled, trunk, tmp_path, capsys
):
    settings = config(tmp_path / "run", sample_records, 1, pooled, variant="finetuned")
    message = "stage is pooled, but model.variant=finetuned with model.decoder=gru trains from trunk"
    with pytest.raises(ValueError, match=message):
        train(settings)
    other = shutil.copytree(trunk, tmp_path / "other")
    for field, message in (("records", "made from other records"), ("weights", "made with other weights")):
        description = json.loads((trunk / "features.json").read_text())
        description["settings"][field] = "0" * 64
        (other / "features.json").write_text(json.dumps(description))
        settings.data.features, settings.run = str(other), str(tmp_path / field)
        with pytest.raises(ValueError, match=message):
            train(settings)


@pytest.mark.slow
def test_without_features_a_training_says_what_they_would_save(trained_run, sample_records, tmp_path, capsys):
    train(config(tmp_path / "run", sample_records, 1))
    printed = capsys.readouterr().out
    assert f"python -m beam_jobs.extract_features --records {sample_records} --output features/pooled" in printed
    assert "1 replica(s) on 1 host(s), CPU, float32 compute, XLA off; from photo, in memory, by photos" in printed


@pytest.mark.slow
def test_selection_by_dev_bleu_keeps_the_epoch_with_the_highest(sample_records, small_pooled, tmp_path):
    settings = config(tmp_path / "run", sample_records, 4, small_pooled)
    settings.train.early_stopping_metric, settings.train.learning_rate = "dev_bleu_4", 1e-2
    scores = [line["dev_bleu_4"] for line in figures(train(settings))]
    greedy = CaptionOptions(beam=1, no_repeat_ngram=0)
    assert evaluate(settings.run, split="dev", search=greedy)["bleu_4"] == pytest.approx(max(scores), abs=1e-6)


def test_a_finished_run_is_not_trained_again_nor_a_half_written_checkpoint_loaded(
    trained_run, sample_records, small_pooled, tmp_path, capsys
):
    run = shutil.copytree(trained_run, tmp_path / "run")
    last = run / "checkpoints" / "last"
    (last / "ckpt-999.index").write_bytes(b"half")
    (last / "ckpt-999.data-00000-of-00001").write_bytes(b"half")
    train(config(run, sample_records, 2, small_pooled))
    assert figures(run) == figures(trained_run) and "finished after epoch 2" in capsys.readouterr().out


def test_a_run_that_started_with_another_config_is_refused(trained_run, sample_records, small_pooled):
    with pytest.raises(RunError, match=r"model.gru_units was 32, is 48"):
        train(config(trained_run, sample_records, 2, small_pooled, gru_units=48))


def test_a_training_that_was_refused_before_its_first_step_takes_the_mended_command(
    sample_records, small_encoder, small_pooled, tmp_path
):
    wrong = config(tmp_path / "run", sample_records, 1, small_pooled, glove=str(tmp_path / "none.txt"))
    with pytest.raises(ValueError, match=r"none\.txt"):
        train(wrong)
    mended = config(
        tmp_path / "run", sample_records, 1, small_pooled, encoder=str(small_encoder), encoder_input="inside"
    )
    with open_run(mended) as run:
        assert run.config == load_run(tmp_path / "run").config == mended


def test_early_stopping_ends_a_run_that_no_longer_improves(sample_records, small_pooled, tmp_path, capsys):
    hopeless = config(tmp_path / "run", sample_records, 9, small_pooled)
    hopeless.train.learning_rate, hopeless.train.early_stopping_epochs = 1e-30, 2
    train(hopeless)
    assert len(figures(tmp_path / "run")) == 3  # the first is the best, then two without a better one
    assert "in epoch 1, none better in 2 epochs (train.early_stopping_epochs)" in capsys.readouterr().out


def test_glove_rows_survive_save_and_load(glove_run, glove_file):
    vectors = np.array([line.split()[1:] for line in glove_file.read_text().splitlines()], np.float32)
    captioner, _ = load_captioner(load_run(glove_run))
    stored = captioner.decoder.embedding.embeddings.numpy()
    np.testing.assert_allclose(stored[4:], vectors[4:], rtol=1e-6)
    assert not stored[0].any() and stored[1:4].any(axis=1).all()


def test_a_loss_that_is_no_number_stops_the_run(sample_records, small_pooled, tmp_path):
    exploding = config(tmp_path / "run", sample_records, 1, small_pooled)
    exploding.train.learning_rate, exploding.train.gradient_clip_norm = 1e30, 1e30
    with pytest.raises(TrainingFailed, match=r"not a number in step \d.*\(photos: scene_"):
        train(exploding)


def test_an_evaluation_changes_no_checkpoint_and_scores_each_photo_once(trained_run, evaluated_run):
    path, result = evaluated_run
    assert tree_bytes(path / "checkpoints") == tree_bytes(trained_run / "checkpoints")
    lines = [json.loads(line) for line in (path / "eval-test" / "captions.jsonl").read_text().splitlines()]
    photos = load_run(path).info.splits["test"].photos
    assert len({line["id"] for line in lines}) == len(lines) == photos == result["photos"]
    again = corpus_scores({x["id"]: x["caption"] for x in lines}, {x["id"]: x["references"] for x in lines})
    assert again == {key: result[key] for key in again}
    assert json.loads((path / "eval-test" / "metrics.json").read_text()) == result


def test_perplexity_is_over_all_tokens_of_the_split_however_it_is_batched(evaluated_run):
    path, _ = evaluated_run
    dev = next(line for line in figures(path) if line["epoch"] == 2)
    last = evaluate(path, split="dev", checkpoint="last")
    assert last["perplexity"] == pytest.approx(np.exp(dev["dev_loss"]), rel=1e-5)
    assert last["token_accuracy"] == pytest.approx(dev["dev_accuracy"])
    assert last["photos"] == load_run(path).info.splits["dev"].photos


def test_the_command_captions_a_photo_as_the_evaluation_does(evaluated_run, sample, tmp_path, capsys):
    run, _ = evaluated_run
    lines = [json.loads(line) for line in (run / "eval-test" / "captions.jsonl").read_text().splitlines()]
    paths = [str(sample[0] / line["id"]) for line in lines]
    (tmp_path / "bad.jpg").write_bytes(b"")
    capsys.readouterr()
    assert caption(["--run", str(run), *paths[:3], str(tmp_path / "bad.jpg"), *paths[3:], "gone.jpg"]) == 1
    printed = capsys.readouterr()
    expected = [f"{path}\t{line['caption']}" for path, line in zip(paths, lines, strict=True)]
    assert printed.out.splitlines() == expected
    assert "bad.jpg: empty file" in printed.err and "gone.jpg" in printed.err
