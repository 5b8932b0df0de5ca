"""The constant caption."""

from tfcaption.evaluation.references import constant_caption


def test_the_constant_caption_is_the_best_of_the_training_captions():
    references = [["A dog runs in the grass .", f"Word{i} never seen again ."] for i in range(30)]
    assert constant_caption(references) == "A dog runs in the grass ."
