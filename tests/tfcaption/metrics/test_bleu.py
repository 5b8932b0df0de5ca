"""BLEU, against NLTK and by hand."""

import numpy as np
import pytest
from nltk.translate.bleu_score import corpus_bleu

from tfcaption.metrics.corpus import corpus_scores


def test_bleu_equals_that_of_nltk_where_every_caption_has_four_words(random_captions):
    hypotheses, references = random_captions
    reference_words = [[caption.split() for caption in references[photo]] for photo in hypotheses]
    words = [caption.split() for caption in hypotheses.values()]
    scores = corpus_scores(hypotheses, references)
    for n in range(1, 5):
        assert scores[f"bleu_{n}"] == pytest.approx(corpus_bleu(reference_words, words, weights=[1 / n] * n))


def test_captions_too_short_for_an_n_gram_add_nothing_to_its_precision():
    pair = {"a": "the cat sat on the mat", "b": "a dog"}, {"a": ["the cat sat on a mat"], "b": ["a dog"]}
    assert corpus_scores(*pair)["bleu_4"] == pytest.approx((7 / 8 * 4 / 6 * 2 / 4 * 1 / 3) ** 0.25)


def test_bleu_equals_a_calculation_by_hand():
    # 5 of 6 words and 3 of 5 pairs match; hypothesis and closest reference have 6 words, so there is no brevity penalty
    scores = corpus_scores({"a": "The cat sat on the mat ."}, {"a": ["the cat is on the mat", "a dog"]})
    assert scores["bleu_1"] == pytest.approx(5 / 6)
    assert scores["bleu_2"] == pytest.approx((5 / 6 * 3 / 5) ** 0.5)
    assert scores["bleu_4"] == 0.0  # no four words in a row match


def test_bleu_is_of_the_corpus_not_the_mean_of_sentences():
    hypotheses = {"a": "a b c d e", "b": "x"}
    references = {"a": ["a b c d e"], "b": ["y z w v u"]}
    assert corpus_scores(hypotheses, references)["bleu_1"] == pytest.approx(5 / 6 * np.exp(1 - 10 / 6))
