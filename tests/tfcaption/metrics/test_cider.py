"""CIDEr-D, against the formulas."""

import pytest

from tests.support.cider import brute_force_cider
from tfcaption.metrics.corpus import corpus_scores


def test_cider_equals_the_formulas(random_captions):
    score = corpus_scores(*random_captions)["cider"]
    assert score == pytest.approx(brute_force_cider(*random_captions)) and score > 0.1


def test_cider_of_one_photo_is_zero_and_of_perfect_captions_ten():
    assert corpus_scores({"a": "a big dog runs"}, {"a": ["a big dog runs"]})["cider"] == 0.0
    captions = {"a": "a big dog runs", "b": "two men on ice", "c": ""}
    references = {photo: [caption] for photo, caption in captions.items()}
    assert corpus_scores(captions, references)["cider"] == pytest.approx(20 / 3)  # the empty caption scores nothing


def test_cider_of_a_photos_own_captions_is_higher_than_of_exchanged_ones(random_captions):
    _, references = random_captions
    own = {photo: captions[0] for photo, captions in references.items()}
    exchanged = dict(zip(own, [*list(own.values())[1:], own["photo0"]], strict=True))
    assert corpus_scores(own, references)["cider"] > 2 * corpus_scores(exchanged, references)["cider"]
