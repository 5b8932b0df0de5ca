"""Intervals of scores: drawn corpora are scored like real ones, and the intervals are those of statistics."""

import numpy as np
import pytest

from tfcaption.metrics.bootstrap import PhotoScores, difference_intervals, draw_photos, intervals
from tfcaption.metrics.corpus import corpus_scores
from tfcaption.metrics.tokens import score_tokens


@pytest.fixture
def captions(random_captions):
    """Hypotheses and references in one order."""
    hypotheses, references = random_captions
    return list(hypotheses.values()), [references[photo] for photo in hypotheses]


def test_a_drawn_corpus_has_the_scores_of_a_data_set_in_which_its_photos_come_as_often(captions):
    hypotheses, references = captions
    counts = draw_photos(len(hypotheses), draws=3, seed=1)
    assert counts.shape == (3, len(hypotheses)) and (counts.sum(axis=1) == len(hypotheses)).all()
    photo_scores = PhotoScores.of(hypotheses, references, score_tokens)
    drawn = photo_scores.drawn(counts)
    for draw, times in enumerate(counts):
        indices = np.repeat(np.arange(len(times)), times)
        repeated = corpus_scores(
            {str(place): hypotheses[index] for place, index in enumerate(indices)},
            {str(place): references[index] for place, index in enumerate(indices)},
        )
        for key in ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l"):
            assert drawn[key][draw] == pytest.approx(repeated[key], abs=1e-12)
        # Document frequencies stay those of all photos, so that a rare photo does not become common by being drawn.
        assert drawn["cider"][draw] == pytest.approx(photo_scores.cider[indices].mean())


def test_each_photo_once_gives_the_scores_of_the_corpus(captions):
    hypotheses, references = captions
    once = PhotoScores.of(hypotheses, references, score_tokens).drawn(np.ones((1, len(hypotheses)), int))
    ids = [str(index) for index in range(len(hypotheses))]
    scores = corpus_scores(dict(zip(ids, hypotheses, strict=True)), dict(zip(ids, references, strict=True)))
    assert {key: values[0] for key, values in once.items()} == pytest.approx(scores)


def test_the_interval_of_a_mean_is_the_one_that_its_standard_error_gives():
    values = np.random.default_rng(0).normal(0.5, 0.1, 400)
    scores = PhotoScores(np.zeros((400, 10), int), values, values)
    low, high = intervals(scores.drawn(draw_photos(400, draws=10_000)))["cider"]
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_a_constant_gain_on_every_photo_has_an_interval_without_width():
    values = np.random.default_rng(0).random(50)
    counts = draw_photos(50)
    first, second = (PhotoScores(np.zeros((50, 10), int), values + gain, values).drawn(counts) for gain in (0.25, 0))
    assert difference_intervals(first, second)["rouge_l"] == pytest.approx((0.25, 0.25))
    assert difference_intervals(first, second)["cider"] == pytest.approx((0, 0))
