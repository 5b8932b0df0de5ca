"""Captions of several layouts become one data set."""

import json

import pytest
from PIL import Image

from beam_jobs.build_records import main
from tests.conftest import IN_MEMORY
from tests.support.records import read_all
from tfcaption.inspection.verification import inspect_records


def write_photos(folder, names, shade=0):
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        Image.new("RGB", (8, 8), (shade, 10 * index, 0)).save(folder / name, "PNG")


def write_table(path, photos):
    """A table of photo -> (caption, split)."""
    lines = [f"{name},{caption},{split}" for name, (caption, split) in photos.items()]
    path.write_text("\n".join(["file,caption,split", *lines, ""]))


@pytest.fixture
def build(tmp_path, capsys):
    def build(images, captions, *flags):
        """Exit code, and what is printed."""
        arguments = ["--images", *map(str, images), "--captions", *map(str, captions), "--min_count=1"]
        code = main([*arguments, "--image_size=32", "--output", str(tmp_path / "out"), *flags, *IN_MEMORY])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return build


def rejections(folder):
    lines = map(json.loads, (folder / "rejected.jsonl").read_text().splitlines())
    return sorted((line["kind"], line["id"], line["reason"]) for line in lines)


def test_photos_of_each_keep_their_captions_and_splits_and_get_ids_of_their_own(build, tmp_path):
    write_photos(tmp_path / "a", ["1.jpg", "2.jpg", "3.jpg"])
    splits = {"1.jpg": ("a red dog", "train"), "2.jpg": ("a dog", "dev"), "3.jpg": ("a dog runs", "test")}
    write_table(tmp_path / "dogs.csv", splits | {"9.jpg": ("nothing", "train")})
    write_photos(tmp_path / "cats", ["1.jpg", "2.jpg"], shade=100)
    for name in ("1", "2"):
        (tmp_path / "cats" / f"{name}.txt").write_text(f"a cat {name}\n")
    (tmp_path / "cats" / "odd.bin").write_bytes(b"\x00")
    write_photos(tmp_path / "c", ["1.jpg", "x.jpg"], shade=200)
    content = {
        "images": [{"id": 7, "file_name": "1.jpg"}],
        "annotations": [{"id": 1, "image_id": 7, "caption": "a bird"}],
    }
    (tmp_path / "captions_train2017.json").write_text(json.dumps(content))
    captions = [tmp_path / "dogs.csv", tmp_path / "cats", tmp_path / "captions_train2017.json"]
    code, printed = build(
        [tmp_path / "a", tmp_path / "cats", tmp_path / "c"], captions, "--max_rejected=0.5", "--seed=3"
    )
    assert code == 0
    info, found = read_all(tmp_path / "out")
    assert {photo: record.captions for photo, (_, record) in found.items()} == {
        "dogs/1.jpg": ["a red dog"],
        "dogs/2.jpg": ["a dog"],
        "dogs/3.jpg": ["a dog runs"],
        "cats/1.jpg": ["a cat 1"],
        "cats/2.jpg": ["a cat 2"],
        "captions_train2017/1.jpg": ["a bird"],
    }
    assert [found[f"dogs/{number}.jpg"][0] for number in (1, 2, 3)] == ["train", "dev", "test"]
    assert found["captions_train2017/1.jpg"][0] == "train" and found["captions_train2017/1.jpg"][1].source_ids == ["7"]
    assert info.settings.source == "table + folder + coco" and info.photos_in == 7 and info.captions_in == 7
    assert rejections(tmp_path / "out") == [
        ("file", "cats/odd.bin", "neither photo nor captions"),
        ("photo", "dogs/9.jpg", "missing photo"),
        ("unused", "captions_train2017/x.jpg", "no captions"),
    ]
    assert "; dogs: source: table (dogs.csv); splits: from `split` in the captions; cats: source: folder" in printed
    assert "1 missing photo (dogs/9.jpg)" in printed
    assert inspect_records(tmp_path / "out").faults == []
    code, printed = build([tmp_path / "a", tmp_path / "cats", tmp_path / "c"], captions, "--seed=3")
    assert code == 1 and "is complete (dataset.json exists), with the same settings" in printed


def test_a_photo_is_unused_only_where_no_captions_name_it(build, tmp_path):
    write_photos(tmp_path / "data", [f"{number}.jpg" for number in range(5)])
    write_table(tmp_path / "data" / "one.csv", {"0.jpg": ("a dog", "train"), "1.jpg": ("a dog runs", "dev")})
    write_table(tmp_path / "data" / "two.csv", {"2.jpg": ("a cat", "train"), "1.jpg": ("a cat", "dev")})
    code, printed = build([tmp_path / "data"], [tmp_path / "data" / "one.csv", tmp_path / "data" / "two.csv"])
    assert code == 0, printed
    assert set(read_all(tmp_path / "out")[1]) == {"one/0.jpg", "one/1.jpg", "two/1.jpg", "two/2.jpg"}
    found = rejections(tmp_path / "out")
    assert [(kind, photo.partition("/")[2]) for kind, photo, _ in found] == [("unused", "3.jpg"), ("unused", "4.jpg")]


@pytest.mark.parametrize("same", ["number", "file"])
def test_a_photo_that_one_trains_on_and_another_holds_out_is_refused(build, tmp_path, same):
    """The same Flickr photo under its names in Flickr8k and Flickr30k, or one file that both name."""
    first, second = ("10815824_2997e03d76.jpg", "10815824.jpg") if same == "number" else ("a.jpg", "a.jpg")
    write_photos(tmp_path / "one", [first, "b.jpg"])
    if same == "number":
        write_photos(tmp_path / "two", [second], shade=100)
    images = [tmp_path / "one", tmp_path / ("two" if same == "number" else "one")]
    write_table(tmp_path / "one.csv", {first: ("a dog", "train"), "b.jpg": ("a dog", "train")})
    write_table(tmp_path / "two.csv", {second: ("a cat", "test")})
    code, printed = build(images, [tmp_path / "one.csv", tmp_path / "two.csv"])
    assert code == 1
    expected = f"photos of the training split that are held out elsewhere: 1 (one/{first}, test as two/{second})"
    assert f"error: {expected}. A captioner trained on them" in printed
    assert not (tmp_path / "out" / "dataset.json").exists()
    code, printed = build(images, [tmp_path / "one.csv", tmp_path / "two.csv"], "--allow_overlap")
    assert code == 0 and expected in printed and len(read_all(tmp_path / "out")[1]) == 3


def test_photos_of_one_name_are_two_and_equal_files_in_two_splits_are_listed(build, tmp_path):
    write_photos(tmp_path / "one", ["1.jpg", "2.jpg"])
    write_photos(tmp_path / "two", ["2.jpg", "1.jpg"])  # the content of one's 1.jpg and 2.jpg
    write_table(tmp_path / "one.csv", {"1.jpg": ("a dog", "train"), "2.jpg": ("a dog", "train")})
    write_table(tmp_path / "two.csv", {"1.jpg": ("a cat", "dev"), "2.jpg": ("a cat", "train")})
    code, printed = build([tmp_path / "one", tmp_path / "two"], [tmp_path / "one.csv", tmp_path / "two.csv"])
    assert code == 0 and "WARNING: identical photos in several splits: 1 (" in printed
    info, found = read_all(tmp_path / "out")
    assert len(found) == 4 and info.duplicates == [{"one/2.jpg": "train", "two/1.jpg": "dev"}]


def test_names_of_data_sets_are_as_long_as_they_must_be(build, tmp_path):
    for folder in ("a", "b"):
        write_photos(tmp_path / folder, ["1.jpg"])
        write_table(tmp_path / folder / "captions.csv", {"1.jpg": (f"a {folder}", "train")})
    images, captions = [tmp_path / "a", tmp_path / "b"], [tmp_path / each / "captions.csv" for each in "ab"]
    assert build(images, captions)[0] == 0
    assert set(read_all(tmp_path / "out")[1]) == {"a/captions/1.jpg", "b/captions/1.jpg"}
    code, printed = build(images, [captions[0]] * 2, "--overwrite")
    assert code == 1 and "names the same captions twice" in printed
    with pytest.raises(SystemExit):
        build(images, [*captions, captions[0]])


def test_splits_of_one_data_set_are_not_merged_as_several(build, tmp_path):
    write_photos(tmp_path / "photos", ["1.jpg", "2.jpg"])
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text("file,caption\n1.jpg,a dog\n")
    code, printed = build([tmp_path / "photos"], [tmp_path / "train.csv", tmp_path / "test.csv"])
    assert code == 1 and f"are splits of one data set; name their folder, --captions {tmp_path}" in printed
    (tmp_path / "more").mkdir()
    (tmp_path / "test.csv").rename(tmp_path / "more" / "dogs.csv")
    code, printed = build([tmp_path / "photos"], [tmp_path / "train.csv", tmp_path / "more" / "dogs.csv"])
    assert "are splits of one data set" not in printed
