"""Scores agree with reference values, and refuse what would be scored wrongly."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tfcaption import metrics
from tfcaption.metrics import ScoreError, corpus_scores


@pytest.mark.parametrize("case", ["constant_caption", "human_0_against_the_other_4", "human_2_against_the_other_4"])
def test_bleu_agrees_with_the_reference_scores(shared_data, case):
    golden = json.loads((shared_data / "golden" / "caption_scores_dev200.json").read_text())[case]
    scores = corpus_scores(golden["hypotheses"], golden["references"])
    for n in range(1, 5):
        assert scores[f"bleu_{n}"] == pytest.approx(golden["scores"][f"bleu_{n}"], abs=0.002)


def test_bleu_is_that_of_a_calculation_by_hand():
    # 5 of 6 words and 3 of 5 pairs match; hypothesis and closest reference have 6 words, so there is no brevity penalty
    scores = corpus_scores({"a": "The cat sat on the mat ."}, {"a": ["the cat is on the mat", "a dog"]})
    assert scores["bleu_1"] == pytest.approx(5 / 6)
    assert scores["bleu_2"] == pytest.approx((5 / 6 * 3 / 5) ** 0.5)
    assert scores["bleu_4"] == 0.0  # no four words in a row match


def test_bleu_is_of_the_corpus_not_the_mean_of_sentences():
    hypotheses = {"a": "a b c d e", "b": "x"}
    references = {"a": ["a b c d e"], "b": ["y z w v u"]}
    assert corpus_scores(hypotheses, references)["bleu_1"] == pytest.approx(5 / 6 * np.exp(1 - 10 / 6))


def test_one_letter_words_count_and_punctuation_and_case_do_not():
    assert metrics.score_tokens('A dog , "Rex" , is (not) I !') == ["a", "dog", "rex", "is", "not", "i"]
    assert metrics.score_tokens("the dog's t-shirt isn't red") == ["the", "dog", "'s", "t-shirt", "is", "n't", "red"]


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        ({"a": ["a", "dog"]}, {"a": ["a dog"]}, "a: the caption must be a string, not list"),
        ({"a": "a dog"}, {"a": "a dog"}, "a: references must be a list of strings"),
        ({"a": "a dog"}, {"a": [["a", "dog"]]}, "a: references must be a list of strings"),
        ({"a": "a dog"}, {}, "a: has a caption but no references"),
        ({"a": "a dog"}, {"a": []}, "a: its list of references is empty"),
        ({"a": "a dog"}, {"a": ["a"], "b": ["b"]}, "b: has references but no caption"),
        ({}, {}, "no captions"),
    ],
)
def test_what_would_be_scored_wrongly_is_refused(hypotheses, references, message):
    with pytest.raises(ScoreError, match=message):
        corpus_scores(hypotheses, references)


def test_an_empty_caption_scores_nothing_and_is_no_error():
    assert corpus_scores({"a": ""}, {"a": ["a dog"]})["bleu_1"] == 0.0


def test_the_constant_caption_is_the_best_of_the_training_captions():
    references = [["A dog runs in the grass .", f"Word{i} never seen again ."] for i in range(30)]
    assert metrics.constant_caption(references) == "A dog runs in the grass ."


def test_cosine_is_of_mean_vectors_averaged_over_the_references():
    vectors = {"a": np.array([1.0, 0]), "b": np.array([0, 1.0])}
    found = metrics.embedding_cosine({"p": "a", "q": "zzz"}, {"p": ["A !", "b", "a b"], "q": ["a"]}, vectors)
    assert found == {"p": pytest.approx((1 + 0 + 0.5**0.5) / 3)}


def test_shuffled_gives_every_photo_the_references_of_another():
    references = {name: [name] for name in "abc"}
    mixed = metrics.shuffled(references)
    assert mixed.keys() == references.keys() and all(mixed[name] != [name] for name in "abc")
    assert sorted(mixed.values()) == sorted(references.values())


def test_metrics_need_no_tensorflow():
    code = "import sys, tfcaption.metrics as m; m.corpus_scores({'a': 'b'}, {'a': ['b']})"
    code += "; print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
