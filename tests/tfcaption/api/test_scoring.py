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


def test_photos_are_found_by_their_names_and_by_their_numbers(tmp_path):
    images = [{"id": int(photo), "file_name": f"val/{chr(90 - int(photo))}.jpg"} for photo in REFERENCES]
    annotations = [{"image_id": int(photo), "caption": c} for photo, captions in REFERENCES.items() for c in captions]
    references = write(tmp_path / "annotations.json", {"images": images, "annotations": annotations})
    expected = corpus_scores(HYPOTHESES, REFERENCES)
    by_name = {f"/data/val/{chr(90 - int(photo))}.JPG": caption for photo, caption in HYPOTHESES.items()}
    said = write(tmp_path / "said.json", by_name)
    for hypotheses in (HYPOTHESES, by_name, said):
        assert tfcaption.score(hypotheses, references) == expected
    names = {f"val/{chr(90 - int(photo))}.jpg": captions for photo, captions in REFERENCES.items()}
    assert tfcaption.score(by_name, names) == tfcaption.score(said, names) == expected


def test_a_caption_of_no_photo_or_of_one_that_has_a_caption_is_refused():
    with pytest.raises(ScoreError, match=r"^captions: 1 caption is of no photo of the references, such as x \('x'\)"):
        tfcaption.score({**HYPOTHESES, "x": "a dog"}, REFERENCES)
    with pytest.raises(ScoreError, match=r"^captions, '07': 7 already has a caption, in '7'; remove one of them"):
        tfcaption.score({**HYPOTHESES, "07": "a dog"}, REFERENCES)
    with pytest.raises(ScoreError, match="^12: has references but no caption"):
        tfcaption.score({"7": "a dog"}, REFERENCES)


def test_a_file_of_another_format_is_named(tmp_path):
    wrong = write(tmp_path / "wrong.json", [{"image_id": 1}])
    with pytest.raises(ScoreError, match=r"wrong.json: not COCO annotations of captions"):
        tfcaption.score(HYPOTHESES, wrong)
    with pytest.raises(ScoreError, match="none.json: no such file"):
        tfcaption.score(HYPOTHESES, tmp_path / "none.json")
