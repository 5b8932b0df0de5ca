"""Data sets as people have them are recognised, and every caption and split is read."""

import json
from collections import Counter
from pathlib import Path

import pytest

from beam_jobs.sources import SourceError
from beam_jobs.sources.base import Columns
from beam_jobs.sources.json_files import form_of
from tests.support import known_data_sets as known
from tests.support.sources import read_source

NESTED = Columns("image.file_name", "annotations.text", "meta.split")
OFFICIAL, HALVES = {"train": 2, "dev": 1, "test": 1}, {"train": 2, "test": 2}
# data set -> folder of the photos, captions, columns, layout, note; photos of each split (None: divided by hash)
CASES = {
    "vizwiz": ("", "annotations", Columns(), "json", "form: annotations like COCO's", {"train": 2, "dev": 2}),
    "textcaps": ("train_images", "", Columns(), "json", "form: entries of TextCaps", {"train": 2, "dev": 1}),
    "nocaps": ("images", "", Columns(), "json", "form: annotations like COCO's", None),
    "lists_of_objects": ("", "", Columns(), "json", "form: a list of objects", OFFICIAL),
    "captions_by_photo": ("photos", "", Columns(), "json", "form: captions by photo", None),
    "objects_by_id": ("photos", "data.json", Columns(), "json", "form: captions by photo", OFFICIAL),
    "lists_by_split": ("images", "", Columns(), "json", "form: lists of objects by split", OFFICIAL),
    "karpathy_of_another_name": ("photos", "", Columns(), "json", "form: images like Karpathy's", OFFICIAL),
    "nested_fields": ("photos", "data.json", NESTED, "json", "form: a list of objects", OFFICIAL),
    "nested_fields, lines": ("photos", "lines", NESTED, "table", "", OFFICIAL),
    "imagefolder_of_splits": ("", "", Columns(), "table", "", HALVES),
    "imagefolder_of_all": ("", "", Columns(), "table", "", {"train": 2, "dev": 2}),
    "kaggle_flickr8k": ("Images", "", Columns(), "table", "", None),
    "kaggle_flickr30k": ("", "", Columns(), "table", "", None),
}


@pytest.mark.parametrize("case", CASES)
def test_a_data_set_is_recognised_and_read_completely(case, tmp_path):
    images, captions, columns, layout, note, splits = CASES[case]
    expected = getattr(known, case.partition(",")[0])(tmp_path)
    found = read_source(tmp_path / images, tmp_path / captions, columns=columns)
    assert found.source == layout and (not note or note in found.notes)
    assert {Path(photo.id).name.partition(".")[0]: [*photo.captions] for photo in found.photos} == expected
    if splits:
        assert Counter(photo.split for photo in found.photos) == splits
    else:
        assert any("by a hash" in each for each in found.notes)


def test_captions_that_vizwiz_marks_and_photos_without_captions_are_named(tmp_path):
    known.vizwiz(tmp_path)
    found = read_source(tmp_path, tmp_path / "annotations")
    reasons = Counter((each.kind, each.reason) for each in found.rejections)
    assert reasons == {
        ("caption", "marked by the data set"): 8,
        ("unused", "no captions"): 2,
        ("file", "neither photo nor captions"): 1,
    }


def test_the_line_of_kaggle_s_flickr30k_that_lacks_a_bar_is_named(tmp_path):
    known.kaggle_flickr30k(tmp_path)
    (rejection,) = read_source(tmp_path, tmp_path).rejections
    assert (rejection.id, rejection.reason) == ("results.csv:10", "malformed line")


@pytest.mark.parametrize(
    "content",
    [
        *(
            {"name": "x", "version": "1.2", "files": ["a b c d"]},
            {"caption": "A red dog runs"},
            {"captions": ["A b c"]},
        ),
        *([], {}, [1, 2], "text", {"images": [{"id": 1, "file_name": "a.jpg"}]}),
        {"images": [{"file_name": "a.jpg"}], "annotations": [{"bbox": [1, 2], "image_id": 1}]},
    ],
)
def test_json_without_captions_is_of_no_form(content, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert form_of(tmp_path / "a.json") is None


@pytest.mark.parametrize("case", [case for case, (*_, layout, _, _) in CASES.items() if layout == "json"])
def test_the_form_of_json_is_known_from_its_beginning_and_end(case, tmp_path, monkeypatch):
    getattr(known, case)(tmp_path)
    files = [path for path in sorted(tmp_path.rglob("*.json")) if form_of(path)]
    forms = [form_of(path) for path in files]
    monkeypatch.setattr("beam_jobs.sources.json_files._READ_TO_RECOGNISE", 330)
    assert files and [form_of(path) for path in files] == forms


def test_a_list_under_no_usual_names_is_an_error_with_the_names_and_the_cure(tmp_path):
    known.nested_fields(tmp_path)
    with pytest.raises(SourceError, match=r"data\.json: no column for the caption; it has image\.file_name, .*dots"):
        read_source(tmp_path / "photos", tmp_path / "data.json")
    (tmp_path / "data.json").write_text('[{"image": "a.jpg", "caption": "A dog ."}, {')
    with pytest.raises(SourceError, match=r"data\.json: not JSON"):
        read_source(tmp_path / "photos", tmp_path / "data.json")


def test_an_entry_of_several_photos_is_rejected_by_name(tmp_path):
    known.photo(tmp_path / "a.png")
    rows = [{"image": ["a.png", "b.png"], "caption": "Two ."}, {"image": ["a.png"], "caption": "One ."}]
    known.text(tmp_path / "data.json", rows)
    found = read_source(tmp_path, tmp_path)
    assert [(each.id, each.detail) for each in found.rejections] == [("data.json:1", "image names 2 photos")]
    assert [photo.captions for photo in found.photos] == [("One .",)]
