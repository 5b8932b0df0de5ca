"""Data sets as people have them are recognised, and every caption and split is read."""

import hashlib
import json
import resource
from collections import Counter
from pathlib import Path

import pytest

from beam_jobs.build_records import main
from beam_jobs.errors import JobFailed
from beam_jobs.execution.reading import read_photo
from beam_jobs.execution.rejections import RejectionCounts, check_rejected
from beam_jobs.sources import SourceError, parts
from beam_jobs.sources.base import Columns
from beam_jobs.sources.json_files import form_of
from beam_jobs.sources.reader import find_data_set
from tests.conftest import IN_MEMORY
from tests.support import known_data_sets as known
from tests.support.sources import read_source
from tfcaption.records.dataset_info import load_dataset_info

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
    "hugging_face": ("", "", Columns(), "parquet", "", {"train": 8, "test": 2}),
    "hugging_face_row_for_each_caption": ("", "", Columns(), "parquet", "", {"train": 2, "dev": 1}),
    "parquet_of_paths": ("", "captions.parquet", Columns(), "parquet", "", None),
    "img2dataset_parquet": ("", "", Columns(), "parquet", "", None),
    "imagefolder_in_parquet": ("", "", Columns(), "parquet", "", HALVES),
    "img2dataset_files": ("", "", Columns(), "folder", "", None),
    "img2dataset_webdataset": ("", "", Columns(), "webdataset", "", None),
    "conceptual_captions": (
        "",
        "",
        Columns(),
        "addresses",
        "photos are named by their lines, of which the first is 0",
        None,
    ),
    "kaggle_flickr8k": ("Images", "", Columns(), "table", "", None),
    "kaggle_flickr30k": ("", "", Columns(), "table", "", None),
}


@pytest.mark.parametrize("case", CASES)
def test_a_data_set_is_recognised_and_read_completely(case, tmp_path):
    images, captions, columns, layout, note, splits = CASES[case]
    expected = getattr(known, case.partition(",")[0])(tmp_path)
    found = read_source(tmp_path / images, tmp_path / captions, columns=columns, output=str(tmp_path / "out"))
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


def test_an_entry_of_textcaps_without_its_own_caption_has_all_of_its_photo_once(tmp_path):
    expected = known.textcaps(tmp_path)
    for path in tmp_path.glob("*.json"):
        content = json.loads(path.read_text())
        for entry in content["data"]:
            entry.pop("caption_str", None)
        content["data"].append({"image_path": [path.name], "reference_strs": ["A list ."]})  # there is no such photo
        path.write_text(json.dumps(content))
    photos = read_source(tmp_path, tmp_path).photos
    assert {Path(photo.id).stem: [*photo.captions] for photo in photos} == expected


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


@pytest.mark.parametrize("content", ["", "null", "[" * 70_000, '{"a":' * 70_000, r'{"\q": "a b c d"}'])
def test_a_file_that_is_no_json_is_of_no_form_however_deep_it_is(content, tmp_path):
    (tmp_path / "a.json").write_text(content)
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


@pytest.mark.parametrize(("make", "layout"), [(known.kaggle_flickr30k, "table"), (known.nocaps, "json")])
def test_a_folder_above_the_captions_is_an_error_that_names_theirs(make, layout, tmp_path):
    make(tmp_path / "unpacked")
    with pytest.raises(SourceError, match=rf"holds no captions.*, but .*/unpacked does \({layout}\): name that"):
        read_source(tmp_path, tmp_path)


def test_an_entry_of_several_photos_is_rejected_by_name(tmp_path):
    known.photo(tmp_path / "a.png")
    rows = [{"image": ["a.png", "b.png"], "caption": "Two ."}, {"image": ["a.png"], "caption": "One ."}]
    known.text(tmp_path / "data.json", rows)
    found = read_source(tmp_path, tmp_path)
    assert [(each.id, each.detail) for each in found.rejections] == [("data.json:1", "image names 2 photos")]
    assert [photo.captions for photo in found.photos] == [("One .",)]


@pytest.mark.parametrize("first", ["caption", "address"])
@pytest.mark.parametrize("naming", known.NAMES_OF_DOWNLOADS)
def test_downloaded_photos_are_found_by_how_programs_name_them_and_others_fail_no_job(naming, first, tmp_path):
    expected = known.conceptual_captions(tmp_path, naming, first)
    found = read_source(tmp_path, tmp_path)
    assert {Path(photo.id).name.partition(".")[0]: [*photo.captions] for photo in found.photos} == expected
    assert Counter((each.kind, each.reason) for each in found.rejections) == {("photo", "not downloaded"): 2}
    check_rejected(RejectionCounts.of(found.rejections), "photo", found.photos_in, 0.0, "")


def test_large_numbers_have_no_zeros_before_them_and_small_ones_do(tmp_path):
    lines = [f"a very typical bus {number}\thttps://x.org/{number}" for number in range(30)]
    (tmp_path / "captions.tsv").write_text("\n".join(lines))
    for number in range(30):
        known.photo(tmp_path / f"{number:02d}.jpg")
    photos = read_source(tmp_path, tmp_path).photos
    assert {photo.id: photo.captions for photo in photos} == {
        f"{number:02d}": (f"a very typical bus {number}",) for number in range(30)
    }


def test_a_line_whose_address_cannot_be_read_is_rejected_by_name(tmp_path):
    known.photo(tmp_path / "a.jpg")
    (tmp_path / "captions.tsv").write_text("a dog\thttps://x/a.jpg\na cat\thttps://[x/b.jpg\n")
    found = read_source(tmp_path, tmp_path)
    assert [photo.captions for photo in found.photos] == [("a dog",)]
    assert [(each.id, each.reason) for each in found.rejections] == [("captions.tsv:2", "malformed line")]


def test_photos_of_two_files_that_are_named_by_line_are_refused(tmp_path):
    known.conceptual_captions(tmp_path)
    (tmp_path / "Validation.tsv").write_text("a cat\thttps://x/1.jpg\n")
    with pytest.raises(SourceError, match=r"named by their lines.*Train_GCC-training\.tsv, Validation\.tsv"):
        read_source(tmp_path, tmp_path)


def test_photos_in_parquet_are_copied_unchanged_and_once(tmp_path):
    for make in (known.hugging_face, known.hugging_face_row_for_each_caption):
        folder = tmp_path / make.__name__
        expected = make(folder)
        found = read_source(folder, folder, output=str(tmp_path / "out"))
        said = {Path(photo.id).stem: read_photo(*photo.location) for photo in found.photos}
        if make is known.hugging_face:
            assert said == {name: known.picture(name.removeprefix("COCO_")) for name in expected}
        else:
            assert said == {
                hashlib.blake2b(known.picture(n), digest_size=12).hexdigest(): known.picture(n) for n in "abc"
            }


@pytest.mark.parametrize("bytes_at_once", [150, 2_000])
@pytest.mark.parametrize("case", ["hugging_face", "hugging_face_row_for_each_caption", "img2dataset_parquet"])
def test_workers_that_share_parquet_files_by_row_groups_read_the_same(case, bytes_at_once, tmp_path, monkeypatch):
    folder = tmp_path / "set"
    getattr(known, case)(folder)
    whole = read_source(folder, folder, output=str(tmp_path / "out"))
    monkeypatch.setattr(parts, "BYTES_AT_ONCE", bytes_at_once)
    shared = read_source(folder, folder, output=str(tmp_path / "out2"))
    assert len(parts.parts_of(find_data_set(folder, folder))) > len([*folder.rglob("*.parquet")]) + 1

    def content(found):
        return {photo.id: (photo.captions, photo.split, read_photo(*photo.location)) for photo in found.photos}

    assert content(shared) == content(whole) and shared.captions_in == whole.captions_in
    assert sorted(map(str, shared.rejections)) == sorted(map(str, whole.rejections))


def test_photos_in_parquet_need_no_folder_of_photos(tmp_path):
    expected = known.hugging_face(tmp_path / "set")
    (tmp_path / "empty").mkdir()
    for options in ({}, {"photos_as_named": True}):
        found = read_source(tmp_path / "empty", tmp_path / "set", output=str(tmp_path / "out"), **options)
        assert len(found.photos) == len(expected) and all(".photos" in each.location.path for each in found.photos)


@pytest.mark.parametrize(
    "row",
    [
        {"image": known.picture("a"), "file_name": "folder/a.jpg"},
        {"jpg": known.picture("a"), "key": "a.jpg", "id": 7},
        {"images": [{"bytes": known.picture("a"), "path": "a.jpg"}]},
        {"image": {"bytes": known.picture("a"), "path": None}, "image_id": "a.jpg"},
    ],
)
def test_the_bytes_of_a_photo_and_its_name_may_be_in_any_usual_column(row, tmp_path):
    known.parquet(tmp_path / "a.parquet", [{**row, "caption": "A dog ."}])
    columns = Columns("images", "caption") if "images" in row else Columns()
    (photo,) = read_source(tmp_path, tmp_path, output=str(tmp_path / "out"), columns=columns).photos
    assert photo.id == "a.jpg" and read_photo(*photo.location) == known.picture("a")


def test_photos_of_one_name_and_other_content_are_several(tmp_path):
    rows = [
        {"image": {"bytes": known.picture(str(number)), "path": "/tmp/cache/0.jpg"}, "caption": f"Dog {number} ."}
        for number in range(3)
    ]
    known.parquet(tmp_path / "a.parquet", [*rows, {**rows[0], "caption": "Again ."}])
    photos = read_source(tmp_path, tmp_path, output=str(tmp_path / "out")).photos
    assert sorted(photo.captions for photo in photos) == [("Dog 0 .", "Again ."), ("Dog 1 .",), ("Dog 2 .",)]
    assert all(photo.id.startswith("a.parquet/") and photo.id.endswith("/0.jpg") for photo in photos)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"URL": "https://x/1.jpg", "TEXT": "A dog ."}], r"addresses of photos \(URL\).*img2dataset.*--url_col URL"),
        (
            [{"image": {"bytes": b"x", "path": None}, "said": [{"words": "A"}]}],
            r"for the caption; it has .*said\.words",
        ),
        ([{"vector": 1.5, "caption": "A dog ."}], r"no column for the photo; it has vector, caption"),
    ],
)
def test_parquet_without_photos_or_captions_is_an_error_with_the_cure(rows, message, tmp_path):
    known.parquet(tmp_path / "a.parquet", rows)
    with pytest.raises(SourceError, match=rf"a\.parquet: .*{message}"):
        read_source(tmp_path, tmp_path, output=str(tmp_path / "out"))


@pytest.mark.parametrize("value", [{"path": "a.jpg"}, {"bytes": known.picture("a.jpg")}])
def test_columns_with_dots_lead_to_the_photos_in_parquet(value, tmp_path):
    known.photo(tmp_path / "a.jpg")
    known.parquet(tmp_path / "a.parquet", [{"item": {"image": value}, "caption": "A dog ."}])
    columns = Columns(f"item.image.{next(iter(value))}", "caption")
    (photo,) = read_source(tmp_path, tmp_path, output=str(tmp_path / "out"), columns=columns).photos
    assert photo.captions == ("A dog .",) and read_photo(*photo.location) == known.picture("a.jpg")


def test_a_copy_of_photos_that_cannot_be_written_is_no_fault_of_the_parquet_file(tmp_path):
    known.parquet(tmp_path / "a.parquet", [{"image": b"x" * 100_000, "caption": "A dog ."}])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(JobFailed, match=r"\.photos/00000: cannot be written: .*; fix that and run"):
            read_source(tmp_path, tmp_path, output=str(tmp_path / "out"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_nested_values_may_be_null_in_any_row_of_parquet(tmp_path):
    image = {"bytes": known.picture("a"), "path": "a.jpg"}
    rows = [{"image": image, "said": None}, {"image": image, "said": [{"text": "A dog ."}, {"text": None}]}]
    known.parquet(tmp_path / "a.parquet", rows)
    found = read_source(tmp_path, tmp_path, output=str(tmp_path / "out"), columns=Columns("image", "said.text"))
    assert [photo.captions for photo in found.photos] == [("A dog .",)]
    assert [(each.id, each.reason) for each in found.rejections] == [("a.parquet[0]", "malformed line")]


def test_a_parquet_file_that_is_cut_is_an_error_that_names_it(tmp_path):
    known.parquet(tmp_path / "a.parquet", [{"image": b"x", "caption": "A dog ."}])
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content[:-9])
    with pytest.raises(SourceError, match=r"a\.parquet: cannot be read as Parquet.*get it again"):
        read_source(tmp_path, tmp_path, output=str(tmp_path / "out"))


def test_records_are_built_from_parquet_and_the_copied_photos_removed(tmp_path):
    known.hugging_face(tmp_path / "set")
    paths = [f"--{name}={tmp_path / 'set'}" for name in ("images", "captions")]
    assert main([*paths, f"--output={tmp_path / 'out'}", "--image_size=32", "--min_count=1", *IN_MEMORY]) == 0
    info = load_dataset_info(tmp_path / "out")
    assert {split: (each.photos, each.captions) for split, each in info.splits.items() if each.photos} == {
        "train": (8, 16),
        "test": (2, 4),
    }
    assert info.settings.source == "parquet" and not (tmp_path / "out" / ".photos").exists()
    assert main([*paths, f"--output={tmp_path / 'few'}", "--image_size=32", "--min_count=99", *IN_MEMORY]) == 1
    assert not (tmp_path / "few" / ".photos").exists()


def test_a_photo_of_two_parquet_files_is_two_photos(tmp_path):
    row = {"image": {"bytes": known.picture("a"), "path": "a.jpg"}, "caption": "A dog ."}
    for split in ("train", "test"):
        known.parquet(tmp_path / f"{split}.parquet", [row])
    photos = read_source(tmp_path, tmp_path, output=str(tmp_path / "out")).photos
    assert {photo.split for photo in photos} == {"train", "test"} and len(photos) == 2
