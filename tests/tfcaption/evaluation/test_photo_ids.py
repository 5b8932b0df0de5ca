"""The photo that an id stands for: the most alike name, or the number in COCO's files, and never another photo."""

import pytest

from tfcaption.evaluation.photo_ids import PhotoIds
from tfcaption.metrics.corpus import ScoreError

SPLITS = {
    "train": ["train/0.jpg", "train/1.jpg", "beach.jpg", "same.jpg"],
    "dev": ["val/0.jpg", "val/1.jpg", "café été.JPG", "no_ending", "deep/er/x.jpg", "12.jpg", "a/same.jpg", "v1.5.png"],
    "test": ["test/0.jpg", "test/t.jpg"],
}


def ids(splits, wanted="dev"):
    return PhotoIds({split: dict.fromkeys(photos, ()) for split, photos in splits.items()}, wanted)


def numbered(**splits):
    """Photos whose numbers in COCO's files are given."""
    as_text = {split: {photo: [str(number)] for photo, number in photos.items()} for split, photos in splits.items()}
    return PhotoIds(as_text, "dev")


@pytest.mark.parametrize(
    ("given", "photo"),
    [
        ("val/0.jpg", "val/0.jpg"),
        ("/data/photos/val/0.jpg", "val/0.jpg"),
        (r"C:\data\VAL\0.JPG", "val/0.jpg"),
        ("./val//0", "val/0.jpg"),
        ("cafe\u0301 e\u0301te\u0301.jpg", "café été.JPG"),  # as a Mac composes it
        ("café\u202fété", "café été.JPG"),
        ("no_ending.jpeg", "no_ending"),
        ("x.jpg", "deep/er/x.jpg"),
        ("er/x", "deep/er/x.jpg"),
        ("elsewhere/x.jpg", "deep/er/x.jpg"),  # the only one of this name
        ("a/same.jpg", "a/same.jpg"),
        (12, "12.jpg"),
        ("0012", "12.jpg"),
        ("v1.5", "v1.5.png"),
        ("0.jpg", "val/0.jpg"),  # there are such photos in other splits, too
        ("train/1.jpg", "train/1.jpg"),
        ("/data/train/0.jpg", "train/0.jpg"),
        ("same.jpg", "same.jpg"),  # exactly, though of train
        ("beach", "beach.jpg"),
        ("t.jpg", "test/t.jpg"),
    ],
)
def test_a_name_is_that_of_the_most_alike_photo(given, photo):
    assert ids(SPLITS).find(given) == photo


@pytest.mark.parametrize("given", ["zebra", "val/2.jpg", "x.png", "v1", "", "/", "..", 7, "-12", "1" * 5000])
def test_what_is_no_name_of_a_photo_is_none(given):
    assert ids(SPLITS).find(given) is None


@pytest.mark.parametrize(
    ("photos", "given"),
    [
        (["b.jpg", "b.png"], "b"),
        (["a/x.jpg", "b/x.jpg"], "x.jpg"),
        (["a/x.jpg", "b/x.jpg"], "c/x.jpg"),
        (["x.JPG", "X.jpg"], "x.jpg"),
    ],
)
def test_a_name_of_several_photos_is_refused(photos, given):
    with pytest.raises(ScoreError, match=f"^{given} could be {' or '.join(sorted(photos))}; write the whole id$"):
        ids({"dev": photos}).find(given)


def test_no_split_decides_between_photos_in_other_folders_than_the_name():
    with pytest.raises(ScoreError, match="could be"):
        ids({"train": ["train/0.jpg"], "dev": ["val/0.jpg"]}).find("old/0.jpg")


def test_a_number_is_that_of_cocos_files_whatever_the_names_say():
    photos = numbered(train={"1.jpg": 0, "2.jpg": 1}, dev={"3.jpg": 0, "4.jpg": 3, "VizWiz_val_00023431.jpg": 23431})
    assert [photos.find(number) for number in (23431, "23431", "000000023431", "23431.0")] == [
        "VizWiz_val_00023431.jpg"
    ] * 4
    assert photos.find(0) == photos.find("0") == "3.jpg"  # the split decides
    assert photos.find(3) == "4.jpg" and photos.find(1) == "2.jpg" and photos.find(9) is None
    with pytest.raises(ScoreError, match=r"^3 could be 3.jpg or 4.jpg"):  # as text it may be either
        photos.find("3")
    assert photos.find("3.jpg") == "3.jpg"


def test_a_number_of_two_photos_of_the_split_is_refused():
    photos = PhotoIds({"dev": {"a.jpg": ["0"], "b.jpg": ["0", "5"]}}, "dev")
    with pytest.raises(ScoreError, match=r"^0 could be a.jpg or b.jpg; write the whole id$"):
        photos.find(0)
    assert photos.find(5) == "b.jpg"


@pytest.mark.parametrize("numbers", [(), ("1",)])
def test_names_of_cocos_2014_and_2017_files_are_those_of_the_same_photos(numbers):
    photos = ["a/COCO_val2014_000000000139.jpg", "000000000285.jpg"]
    found = PhotoIds({"dev": dict.fromkeys(photos, numbers)}, "dev")
    assert found.find("val2017/000000000139.jpg") == photos[0]
    assert found.find("COCO_train2014_000000000285.jpg") == photos[1]
    assert found.find("000000000140.jpg") is None and found.find("VizWiz_val_00000139.jpg") is None


def test_ids_of_coco_that_are_words_count_as_well():
    assert PhotoIds({"dev": {"a.jpg": ["x9/7"]}}, "dev").find("x9/7") == "a.jpg"


def test_records_without_numbers_have_those_at_the_end_of_cocos_names():
    photos = ids({"dev": ["val2014/COCO_val2014_000000391895.jpg", "000000000007.jpg", "run_2_12.jpg"]})
    assert photos.find(391895) == photos.find("391895") == "val2014/COCO_val2014_000000391895.jpg"
    assert photos.find(7) == "000000000007.jpg" and photos.find(12) is None
