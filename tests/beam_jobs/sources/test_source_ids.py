"""The numbers of photos in COCO's files reach the records, so that results in COCO's format can be scored."""

import json

from PIL import Image

from beam_jobs.build_records import main
from tests.conftest import IN_MEMORY
from tests.support.sources import read_source
from tfcaption.records.examples import ids_of
from tfcaption.records.reading import read_records


def write_json(path, content):
    path.write_text(json.dumps(content))


def photos(folder, *names):
    for name in names:
        Image.new("RGB", (8, 8)).save(folder / name, "JPEG")


def test_each_photo_has_its_number_of_the_file_that_captions_it(tmp_path):
    photos(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    for split, names in (("train", ["a.jpg", "b.jpg"]), ("val", ["c.jpg"])):  # each counts from 0
        images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
        annotations = [{"image_id": image["id"], "caption": "A dog ."} for image in images for _ in range(2)]
        write_json(tmp_path / f"captions_{split}.json", {"images": images, "annotations": annotations})
    found = {photo.id: photo.source_ids for photo in read_source(tmp_path, tmp_path).photos}
    assert found == {"a.jpg": ("0",), "b.jpg": ("1",), "c.jpg": ("0",)}


def test_numbers_as_text_are_numbers(tmp_path):
    photos(tmp_path, "a.jpg", "b.jpg")
    images = [{"id": 7, "file_name": "a.jpg"}, {"id": "8", "file_name": "b.jpg"}]
    annotations = [{"image_id": "7", "caption": "A dog ."}, {"image_id": 8, "caption": "A cat ."}]
    write_json(tmp_path / "captions_all.json", {"images": images, "annotations": annotations})
    found = {photo.id: photo.source_ids for photo in read_source(tmp_path, tmp_path).photos}
    assert found == {"a.jpg": ("7",), "b.jpg": ("8",)}


def test_karpathys_photos_have_their_numbers_in_coco(tmp_path):
    photos(tmp_path, "a.jpg", "b.jpg")
    image = {"sentences": [{"raw": "A dog ."}], "split": "train", "imgid": 0}
    images = [{**image, "filename": "a.jpg", "cocoid": 391895}, {**image, "filename": "b.jpg"}]
    write_json(tmp_path / "dataset_coco.json", {"images": images})
    assert [photo.source_ids for photo in read_source(tmp_path, tmp_path).photos] == [("391895",), ()]


def test_the_job_writes_the_numbers_into_the_records(tmp_path):
    photos(tmp_path, "a.jpg")
    annotations = [{"image_id": 23431, "caption": "A dog ."}]
    write_json(
        tmp_path / "captions_val.json",
        {"images": [{"id": 23431, "file_name": "a.jpg"}], "annotations": annotations},
    )
    output = tmp_path / "out"
    folders = ["--images", str(tmp_path), "--captions", str(tmp_path), "--output", str(output)]
    assert main([*folders, "--shares", "1", "0", "0", "--min_count=1", "--image_size=32", *IN_MEMORY]) == 0
    (shard,) = output.glob("*.tfrecord")
    assert [ids_of(record) for record in read_records([str(shard)])] == [("a.jpg", ["23431"])]
