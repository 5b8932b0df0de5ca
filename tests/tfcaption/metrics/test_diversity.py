"""Statistics of captions, counted by hand."""

import pytest

from tfcaption.metrics.diversity import caption_statistics
from tfcaption.metrics.tokens import score_tokens


def training(*captions):
    return {score_tokens(caption) for caption in captions}


def test_statistics_equal_those_counted_by_hand():
    captions = ["A dog runs .", "a dog runs", "a man and a", "red and red and red and", ""]
    found = caption_statistics(captions, training("A DOG runs!", "a man"))
    assert found == {
        "mean_words": pytest.approx((3 + 3 + 4 + 6 + 0) / 5),
        "distinct_captions": 4,
        "vocabulary_used": 6,  # a dog runs man and red
        "novel_share": pytest.approx(3 / 5),
        "repeated_trigram_share": pytest.approx(1 / 5),
        "bad_ending_share": pytest.approx(2 / 5),
    }


@pytest.mark.parametrize(("caption", "repeats"), [("a b c a b", 0), ("a b c a b c", 1), ("a a a", 0), ("a a a a", 1)])
def test_a_trigram_repeats_when_it_occurs_twice(caption, repeats):
    assert caption_statistics([caption], set())["repeated_trigram_share"] == repeats


def test_no_captions_have_no_statistics():
    with pytest.raises(ValueError, match="no captions"):
        caption_statistics([], set())
