"""Trainings from their beginning to their end: what a captioner can learn, and what one training hands to the next."""

import numpy as np
import pytest

from tests.conftest import IN_MEMORY, extracted
from tests.support.runs import config, figures, train
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import RunError, load_run


@pytest.mark.parametrize(
    ("decoder", "variant", "stage", "image_size", "sizes", "rate", "epochs"),
    [
        ("gru", "frozen", "pooled", 32, {"gru_units": 128, "dense_units": 128}, 2e-3, 50),
        pytest.param("gru", "finetuned", "trunk", 64, {"gru_units": 64}, 1e-3, 120, marks=pytest.mark.slow),
        pytest.param("attention", "frozen", "map", 64, {"gru_units": 64}, 1e-3, 160, marks=pytest.mark.slow),
        pytest.param("transformer", "frozen", "map", 64, {"gru_units": 64}, 1e-3, 80, marks=pytest.mark.slow),
    ],
)
def test_eight_photos_can_be_learnt_by_heart(
    sample, shared_extractors, tmp_path, decoder, variant, stage, image_size, sizes, rate, epochs
):
    """The cheapest end-to-end test: records, features, input, model, step, search and score, to BLEU-4 over 0.9."""
    from beam_jobs.build_records import main
    from tests.support.runs import evaluate

    images, _ = sample
    texts, photos = tmp_path / "text", tmp_path / "photos"
    texts.mkdir()
    photos.mkdir()
    lines = (sample[1] / "Flickr8k.token.txt").read_text().splitlines(keepends=True)
    names = [f"scene_{i:05d}.jpg" for i in range(10)]
    keys = {f"{name}#0" for name in names}
    (texts / "Flickr8k.token.txt").write_text("".join(line for line in lines if line.split("\t")[0] in keys))
    for split, part in {"train": names[:8], "dev": names[8:9], "test": names[9:]}.items():
        (texts / f"Flickr_8k.{split}Images.txt").write_text("".join(f"{name}\n" for name in part))
    for name in names:
        (photos / name).write_bytes((images / name).read_bytes())
    arguments = ["--images", str(photos), "--captions", str(texts), "--output", str(tmp_path / "records")]
    assert main([*arguments, f"--image_size={image_size}", "--min_count=1", *IN_MEMORY]) == 0
    features = extracted(tmp_path / "records", tmp_path / "features", stage)
    model = {"variant": variant, "decoder": decoder, "dropout": 0.0, **sizes}
    learner = config(tmp_path / "run", tmp_path / "records", epochs, features, **model)
    learner.data.batch_size_photos = 2
    learner.train.learning_rate, learner.train.early_stopping_epochs = rate, epochs
    train(learner)
    assert evaluate(tmp_path / "run", split="train", checkpoint="last")["bleu_4"] > 0.9


@pytest.mark.slow
def test_a_training_begins_with_the_best_weights_of_another_run(trained_run, sample_records, small_trunk, tmp_path):
    """Fine-tuning from a frozen run: the dev loss before its first step is that of the frozen run's best epoch."""
    later = config(tmp_path / "later", sample_records, 1, small_trunk, variant="finetuned")
    later.train.start_from = str(trained_run)
    later.train.learning_rate = later.train.encoder_learning_rate = 1e-12
    best = min(figures(trained_run), key=lambda epoch: epoch["dev_loss"])
    (only,) = figures(train(later))
    assert only["dev_loss"] == pytest.approx(best["dev_loss"], rel=1e-3)  # features are rounded to float16
    captioners = [load_captioner(load_run(path))[0] for path in (trained_run, later.run)]
    for ours, theirs in zip(*(c.decoder.get_weights() for c in captioners), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_run_with_another_decoder_cannot_be_begun_with(trained_run, sample_records, small_pooled, tmp_path):
    other = config(tmp_path / "other", sample_records, 1, small_pooled, gru_units=16)
    other.train.start_from = str(trained_run)
    with pytest.raises(RunError, match=f"^train.start_from={trained_run}: has model.gru_units=32; set the same"):
        train(other)
    settings = config(tmp_path / "wide", sample_records, 1, small_pooled, embedding_units=24)
    settings.train.start_from = str(trained_run)
    with pytest.raises(RunError, match="its word vectors have 16 units, not 24; set model.embedding_units=16"):
        train(settings)
    other.train.start_from, other.run = str(tmp_path / "none"), str(tmp_path / "another")
    with pytest.raises(RunError, match="not a run directory"):
        train(other)


@pytest.mark.slow
def test_training_by_cider_goes_on_from_a_trained_run_and_resumes_exactly(
    trained_run, sample_records, small_pooled, tmp_path
):
    losses = []
    for name, parts in (("whole", (3,)), ("parts", (1, 3))):
        for epochs in parts:
            settings = config(tmp_path / name, sample_records, epochs, small_pooled)
            settings.train.start_from, settings.train.objective = str(trained_run), "cider"
            settings.train.early_stopping_metric, settings.train.early_stopping_epochs = "dev_cider", 3
            train(settings)
        losses.append([(line["train_loss"], line["dev_cider"]) for line in figures(tmp_path / name)])
    np.testing.assert_allclose(*losses, rtol=1e-5, atol=1e-7)
    assert len(losses[0]) == 3 and len({loss for loss, _ in losses[0]}) == 3


def test_features_of_a_stage_that_the_decoder_cannot_use_are_refused(sample_records, small_pooled, tmp_path):
    with pytest.raises(ValueError, match="attention trains from map or trunk"):
        train(config(tmp_path / "run", sample_records, 1, small_pooled, decoder="attention"))
