"""The splits that a data set names are used and said; where names speak of splits in vain, the data set is refused."""

import json
from collections import defaultdict

import pytest

from beam_jobs.sources import SourceError
from beam_jobs.sources.base import Columns
from beam_jobs.sources.splits import named_split, splits_in
from tests.support.sources import read_source
from tfcaption.records.dataset_info import SPLITS

BY_HASH = dict(zip(SPLITS, (0.5, 0.25, 0.25), strict=True))


def make(folder, files):
    """Write files; those of None are photos, which are listed but not read."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x" if text is None else text)
    return folder


def photos(*names):
    return dict.fromkeys(names)


def table(*names, split=None, header="image,caption"):
    lines = [header + (",split" if split else "")]
    lines += [f"{name},A dog ." + (f",{split[index]}" if split else "") for index, name in enumerate(names)]
    return "".join(f"{line}\n" for line in lines)


def coco(*names):
    images = [{"id": index, "file_name": name} for index, name in enumerate(names)]
    annotations = [{"image_id": image["id"], "caption": "A dog ."} for image in images]
    return json.dumps({"images": images, "annotations": annotations})


def read(folder, images="", captions="", **options):
    listing = read_source(folder / images, folder / captions, **options)
    names = defaultdict(list)
    for photo in listing.photos:
        names[photo.split].append(photo.id)
    (note,) = [note for note in listing.notes if note.startswith("splits: ")]
    return dict(names), note.removeprefix("splits: "), listing


THREE = {"train": ["0.jpg"], "dev": ["1.jpg"], "test": ["2.jpg"]}
FLAT = photos("p/0.jpg", "p/1.jpg", "p/2.jpg")
IN_FOLDERS = {"train": ["train/0.jpg"], "dev": ["val/0.jpg"], "test": ["test/0.jpg"]}
FOLDERS = photos("train/0.jpg", "val/0.jpg", "test/0.jpg")
NAMED = {
    "files": (
        {**FLAT, "train.csv": table("0.jpg"), "val.csv": table("1.jpg"), "test.csv": table("2.jpg")},
        *(THREE, "from names of files (test.csv is test, train.csv is train, val.csv is dev)"),
    ),
    "files that have one split in common": (
        {**FLAT, "test_a-train1.csv": table("0.jpg"), "test_a-dev.csv": table("1.jpg"), "test_a.tsv": ""},
        *({"train": ["0.jpg"], "dev": ["1.jpg"]}, "from names of files (test_a-dev.csv is dev, test_a-train1.csv is "),
    ),
    "COCO's files with folders in names": (
        {
            **photos("p/train2014/0.jpg", "p/val2014/0.jpg", "p/val2014/1.jpg"),
            "captions_train2014.json": coco("train2014/0.jpg", "1.jpg"),
            "captions_val2014.json": coco("val2014/0.jpg"),
        },
        *({"train": ["1.jpg", "train2014/0.jpg"], "dev": ["val2014/0.jpg"]}, "from names of files (captions_train2014"),
    ),
    "folders of tables": (
        {**FOLDERS, **{f"{name}/metadata.csv": table("0.jpg", header="file_name,text") for name in ("train", "val")}},
        *({"train": ["train/0.jpg"], "dev": ["val/0.jpg"]}, "from names of files (train/metadata.csv is train, val/"),
    ),
    "folders of text files": (
        {**FOLDERS, **{f"{name}/0.txt": "A dog ." for name in ("train", "val", "test")}},
        *(IN_FOLDERS, "from folders (test is test, train is train, val is dev)"),
    ),
    "folders in the names of a table": (
        {
            **photos("train/images/0.jpg", "val/images/0.jpg", "test/images/0.jpg"),
            "captions.csv": table("train/images/0.jpg", "val\\images\\0.jpg", "./test/images/0.jpg"),
        },
        {"train": ["train/images/0.jpg"], "dev": ["val/images/0.jpg"], "test": ["test/images/0.jpg"]},
        "from folders (test/images is test, train/images is train, val/images is dev)",
    ),
    "folders of photos": (
        {**photos("train2017/0.jpg", "val2017/1.jpg", "Test set/2.jpg"), "c.csv": table("0.jpg", "1.jpg", "2.jpg")},
        *(THREE, "from folders (Test set is test, train2017 is train, val2017 is dev)"),
    ),
    "folders in a folder named after a split": (
        {**photos("testset/train/0.jpg", "testset/val/1.jpg"), "c.csv": table("0.jpg", "1.jpg")},
        *({"train": ["0.jpg"], "dev": ["1.jpg"]}, "from folders (testset/train is train, testset/val is dev)"),
    ),
    "column": (
        {**FLAT, "train.csv": table("0.jpg", "1.jpg", "2.jpg", split=["TRAIN", "Validation", "test"])},
        *(THREE, "from `split` in the captions"),
    ),
    "column of another name and case": (
        {**FLAT, "c.csv": "Image,Caption,Partition\n0.jpg,A dog,train\n1.jpg,A dog,val2014\n2.jpg,A dog,test set\n"},
        *(THREE, "from `Partition` in the captions"),
    ),
    "column of a name that is no word for splits": (
        {**FLAT, "c.csv": "Image,Caption,Data Split\n0.jpg,A dog,train\n1.jpg,A dog,val\n2.jpg,A dog,test\n"},
        *(THREE, "from `Data Split` in the captions"),
    ),
    "field that the first row lacks": (
        {
            **FLAT,
            "c.jsonl": '{"image": "1.jpg", "caption": "A"}\n{"image": "0.jpg", "caption": "A", "set": "train"}\n',
        },
        *({"train": ["0.jpg"]}, "from `set` in the captions"),
    ),
    "lists beside a table": (
        {
            **photos("p/0_693b08cb0e.jpg", "p/1_693b08cb0e.jpg", "p/2_693b08cb0e.jpg"),
            "captions.txt": table("0_693b08cb0e.jpg", "1_693b08cb0e.jpg", "2_693b08cb0e.jpg"),
            "Flickr_8k.trainImages.txt": "0_693b08cb0e.jpg\n",
            "Flickr_8k.devImages.txt": "1_693b08cb0e.jpg\n",
            "Flickr_8k.testImages.txt": "2_693b08cb0e.jpg\nanother.jpg\n2_693b08cb0e.jpg\n",
        },
        {split: [f"{index}_693b08cb0e.jpg"] for index, split in enumerate(SPLITS)},
        "from the lists Flickr_8k.devImages.txt, Flickr_8k.testImages.txt, Flickr_8k.trainImages.txt",
    ),
    "lists without endings": (
        {**FLAT, "c.csv": table("0.jpg", "1.jpg", "2.jpg"), "train.txt": "0\n", "val.txt": "1\n", "test.txt": "2\n"},
        *(THREE, "from the lists test.txt, train.txt, val.txt"),
    ),
    "only a list of the test photos": (
        {**photos(*(f"{i}.jpg" for i in range(9))), "c.csv": table(*(f"{i}.jpg" for i in range(9))), "test.txt": "4\n"},
        *(None, "from the lists test.txt; the rest by a hash of the photo id: "),
    ),
}


@pytest.mark.parametrize("case", NAMED)
def test_splits_that_a_data_set_names_are_used_and_said(tmp_path, case):
    files, splits, note = NAMED[case]
    found, said, _ = read(make(tmp_path, files), captions="train.csv" if case == "column" else "")
    assert said.startswith(note)
    if splits:
        assert found == splits
    else:
        assert found["test"] == ["4.jpg"] and len(found["dev"]) == 1 and len(found["train"]) == 7


@pytest.mark.parametrize("case", [case for case in NAMED if case != "field that the first row lacks"])
def test_shares_divide_by_the_hash_whatever_a_data_set_names_and_name_the_photos_that_move_to_train(tmp_path, case):
    files, _, note = NAMED[case]
    options = {"captions": "train.csv"} if case == "column" else {}
    everything = {"train": 1.0, "dev": 0.0, "test": 0.0}
    found, said, listing = read(make(tmp_path, files), **options, shares=everything)
    assert said.startswith("as --shares says, by a hash") and found.keys() == {"train"}
    assert any(text.startswith(f"--shares overrules the splits {note[:10]}") for text in listing.warnings)


REFUSED = {
    "only some files": (
        {**FLAT, "train.csv": table("0.jpg"), "more.csv": table("1.jpg", "2.jpg")},
        r"some files are named after splits \(train.csv is train\), but not more.csv; .*--columns .*--shares",
    ),
    "a list and only some files": (
        {
            **FLAT,
            **{"train.csv": table("0.jpg"), "sample_submission.csv": table("1.jpg"), "test.txt": "1.jpg\n"},
        },
        r"some files are named after splits \(train.csv is train\), but not sample_submission.csv; ",
    ),
    "only some of COCO's files": (
        {**FLAT, "captions_train2017.json": coco("0.jpg"), "captions_extra.json": coco("1.jpg")},
        r"some files are named after splits \(captions_train2017.json is train\), but not captions_extra.json",
    ),
    "another file without captions": (
        {**FLAT, "train.csv": table("0.jpg"), "test.csv": "image\n1.jpg\n"},
        r"only train.csv holds captions, but test.csv is named after another split; .*--shares",
    ),
    "COCO's file of test photos": (
        {**FLAT, "captions_train2017.json": coco("0.jpg"), "image_info_test2017.json": "{}"},
        r"only captions_train2017.json holds captions, but image_info_test2017.json is named after another split",
    ),
    "file against column": (
        {**FLAT, "train.csv": table("0.jpg", "1.jpg", split=["train", "val"]), "test.csv": table("2.jpg")},
        r"1.jpg is in two splits: dev by `split` in the captions, train by names of files \(.*--columns .*--shares",
    ),
    "list against column": (
        {**FLAT, "c.csv": table("0.jpg", "1.jpg", split=["train", "val"]), "test.txt": "1.jpg\n"},
        r"1.jpg is in two splits: dev by `split` in the captions, test by the lists test.txt",
    ),
    "two files": (
        {**FLAT, "train.csv": table("0.jpg", "1.jpg"), "test.csv": table("1.jpg")},
        r"1.jpg is in two splits, see test.csv and train.csv; remove one of them",
    ),
    "a folder of test photos beside others": (
        {**photos("test/0.jpg", "1.jpg", "2.jpg"), "c.csv": table("0.jpg", "1.jpg", "2.jpg")},
        r"folders are named after splits \(test is test\), but other photos are in none of them \(2: 1.jpg, 2.jpg\)",
    ),
    "a column of other words": (
        {**FLAT, "c.csv": table("0.jpg", "1.jpg", split=["a", "b"])},
        r"c.csv:2: split 'a'; known are train, .*; correct it, or --shares",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_names_of_splits_that_cannot_be_used_are_refused_in_one_line_until_shares_decide(tmp_path, case):
    files, message = REFUSED[case]
    make(tmp_path, files)
    with pytest.raises(SourceError, match=message) as error:
        read(tmp_path)
    assert "\n" not in str(error.value)
    assert read(tmp_path, shares=BY_HASH)[1].startswith("as --shares says, by a hash")


def test_a_column_that_may_hold_splits_and_holds_something_else_is_said(tmp_path):
    make(tmp_path, {**FLAT, "c.csv": "image,caption,set\n0.jpg,A dog,1\n1.jpg,A dog,0\n"})
    _, said, listing = read(tmp_path)
    assert said.startswith("by a hash") and "c.csv:2: set '1' is no split, so this column is not used" in listing.notes


def test_a_photo_that_a_list_names_and_no_caption_is_named_as_unused(tmp_path):
    make(tmp_path, {**FLAT, "c.csv": table("0.jpg", "1.jpg"), "test.txt": "1.jpg\n2.jpg\n"})
    found, _, listing = read(tmp_path)
    assert found == {"train": ["0.jpg"], "test": ["1.jpg"]}
    assert {each.id: each.reason for each in listing.rejections if each.kind == "unused"} == {"2.jpg": "no captions"}


def test_a_given_column_of_splits_decides_against_names_of_files(tmp_path):
    make(tmp_path, REFUSED["file against column"][0] | {"test.csv": table("2.jpg", split=["train"])})
    found, said, _ = read(tmp_path, columns=Columns("image", "caption", "split"))
    assert found == {"train": ["0.jpg", "2.jpg"], "dev": ["1.jpg"]} and said == "from `split` in the captions"


@pytest.mark.parametrize(
    ("files", "captions"),
    [
        ({**photos("training_day_photos/0.jpg", "other/1.jpg"), "c.csv": table("0.jpg", "1.jpg")}, ""),
        ({**photos("test/0.jpg", "test/1.jpg"), "c.csv": table("0.jpg", "1.jpg")}, ""),
        ({**FLAT, "test.csv": table("0.jpg", "1.jpg")}, ""),
        ({**FLAT, "train-0.csv": table("0.jpg"), "train-1.csv": table("1.jpg")}, ""),
        ({**FLAT, "train.csv": table("0.jpg", "1.jpg"), "test.csv": table("2.jpg")}, "train.csv"),
        ({**FLAT, "c.csv": table("0.jpg", "1.jpg"), "test_results.txt": "BLEU 0.3\n"}, ""),
        ({**FLAT, "train.csv": table("0.jpg", "1.jpg"), "test.py": ""}, ""),
    ],
)
def test_names_that_only_look_like_splits_are_no_reason_to_refuse(tmp_path, files, captions):
    found, said, _ = read(make(tmp_path, files), captions=captions)
    assert said.startswith("by a hash") and sum(map(len, found.values())) == 2


@pytest.mark.parametrize(
    ("name", "inside", "whole"),
    [
        ("train", {"train"}, "train"),
        ("val2017", {"dev"}, "dev"),
        ("Test set", {"test"}, "test"),
        ("trainImages", {"train"}, "train"),
        ("testset", {"test"}, "test"),
        ("restval", {"train"}, "train"),
        ("captions-dev.v2", {"dev"}, None),
        ("training_day_photos", {"train"}, None),
        ("train_val", {"train", "dev"}, None),
        ("contest", set(), None),
        ("", set(), None),
    ],
)
def test_words_of_names_that_say_a_split(name, inside, whole):
    assert splits_in(name) == inside and named_split(name) == whole
