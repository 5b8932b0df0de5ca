"""Scores agree with reference values, and captions that would get wrong scores are refused."""

import json
import subprocess
import sys

import pytest

from tfcaption.metrics.corpus import ScoreError, corpus_scores

GOLDEN = ["constant_caption", "human_0_against_the_other_4", "human_2_against_the_other_4"]


@pytest.mark.parametrize("case", GOLDEN)
def test_scores_agree_with_the_reference_scores(shared_data, case):
    golden = json.loads((shared_data / "golden" / "caption_scores_dev200.json").read_text())[case]
    scores = corpus_scores(golden["hypotheses"], golden["references"])
    for name in ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"):
        assert scores[name] == pytest.approx(golden["scores"][name], abs=1e-9)


def test_scores_depend_neither_on_photo_ids_nor_on_any_order(random_captions):
    hypotheses, references = random_captions
    renamed = {f"x{photo}": caption.upper() + " ." for photo, caption in reversed(hypotheses.items())}
    shuffled = {f"x{photo}": captions[::-1] for photo, captions in references.items()}
    assert corpus_scores(renamed, shuffled) == pytest.approx(corpus_scores(hypotheses, references))


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
def test_captions_that_would_get_wrong_scores_are_refused(hypotheses, references, message):
    with pytest.raises(ScoreError, match=message):
        corpus_scores(hypotheses, references)


def test_an_empty_caption_scores_zero_and_is_not_an_error():
    assert set(corpus_scores({"a": ""}, {"a": ["a dog"]}).values()) == {0.0}
    assert set(corpus_scores({"a": "a dog"}, {"a": ["", "."]}).values()) == {0.0}


def test_metrics_need_no_tensorflow():
    code = "import sys, tfcaption.metrics as m; m.corpus_scores({'a': 'b'}, {'a': ['b']})"
    code += "; print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
