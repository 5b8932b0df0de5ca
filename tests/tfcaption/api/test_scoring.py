"""`score`: dictionaries and COCO's files give the same scores."""

import json

import pytest

import tfcaption
from tfcaption.metrics import corpus_scores
from tfcaption.metrics.corpus import ScoreError

HYPOTHESES = {"7": "a dog runs in the grass", "12": "two people walk on a beach"}
REFERENCES = {
    "7": ["A dog runs through the grass .", "The dog is running ."],
    "12": ["Two people walk on the beach .", "A couple at the sea ."],
}


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def test_coco_files_score_as_their_captions_do(tmp_path):
    results = write(tmp_path / "results.json", [{"image_id": int(k), "caption": v} for k, v in HYPOTHESES.items()])
    every = REFERENCES | {"99": ["Not captioned ."]}
    annotations = [{"id": 0, "image_id": int(k), "caption": c} for k, captions in every.items() for c in captions]
    references = write(tmp_path / "annotations.json", {"images": [], "annotations": annotations})
    expected = corpus_scores(HYPOTHESES, REFERENCES)
    assert tfcaption.score(HYPOTHESES, REFERENCES) == expected
    numbered = ({int(photo): found for photo, found in each.items()} for each in (HYPOTHESES, REFERENCES))
    assert tfcaption.score(*numbered) == expected
    assert tfcaption.score({int(photo): found for photo, found in HYPOTHESES.items()}, references) == expected
    assert tfcaption.score(results, references) == tfcaption.score(str(results), REFERENCES) == expected


def test_a_file_of_another_format_is_named(tmp_path):
    wrong = write(tmp_path / "wrong.json", [{"image_id": 1}])
    with pytest.raises(ScoreError, match=r"wrong.json: not COCO annotations of captions"):
        tfcaption.score(HYPOTHESES, wrong)
    with pytest.raises(ScoreError, match="none.json: no such file"):
        tfcaption.score(HYPOTHESES, tmp_path / "none.json")
