"""Training photos that are held out elsewhere: found under each data set's name for them, and refused."""

import shutil

import pytest
from PIL import Image

from beam_jobs.build_records import main
from beam_jobs.sources import SourceError, held_out
from tests.conftest import IN_MEMORY
from tests.support.sources import read_source
from tfcaption.records.tfrecord import RecordError


@pytest.fixture
def flickr30k(tmp_path):
    """Twelve photos with names as in Flickr30k: names of the training split, and the folders of photos and captions."""
    images, texts = tmp_path / "photos", tmp_path / "text"
    images.mkdir()
    texts.mkdir()
    names = [f"{1000092795 + 7 * index}.jpg" for index in range(12)]
    for name in names:
        Image.new("RGB", (8, 8)).save(images / name)
    (texts / "results_20130124.token").write_text("".join(f"{name}#0\tA photo .\n" for name in names))
    training = [photo.id for photo in read_source(images, texts).photos if photo.split == "train"]
    assert 4 < len(training) < 12
    return training, images, texts


def flickr8k_name(name):
    return name.replace(".jpg", "_693b08cb0e.jpg")


def build(images, texts, output, *flags):
    arguments = ["--images", str(images), "--captions", str(texts), "--output", str(output), "--image_size=32"]
    return main([*arguments, "--min_count=1", *flags, *IN_MEMORY])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1000268201_693b08cb0e.jpg", "1000268201.jpg", True),
        ("1000268201_693b08cb0e.jpg", "1000268201_693b08cb0e.jpg", True),
        ("COCO_val2014_000000000042.jpg", "000000000042.jpg", True),
        ("val2014/COCO_val2014_000000000042.jpg", "train2017/000000000042.jpg", True),
        ("Images/1000268201_693b08cb0e.jpg", "1000268201.jpg", True),
        ("a/001.jpg", "b/001.jpg", False),
        ("a/000000012.jpg", "b/000000012.jpg", False),  # of img2dataset
        ("1000268201_693b08cb0e.jpg", "1000268202.jpg", False),
        ("1_front.jpg", "1_back.jpg", False),
        ("IMG_0001.jpg", "IMG_0002.jpg", False),
        ("dog_1.jpg", "dog_2.jpg", False),
    ],
)
def test_comparable_names_are_equal_for_one_photo_and_differ_for_others(one, other, same):
    assert (held_out.comparable(one) == held_out.comparable(other)) == same


def test_names_with_more_or_fewer_folders_are_one_photo_and_names_in_other_folders_are_not(tmp_path):
    names = ["data/a/001.jpg", "b/001.jpg", "c/002.jpg", "003.jpg", "004.jpg"]
    (tmp_path / "test.txt").write_text("a/001.jpg\nx/b/001.jpg\nd/002.jpg\nx/003.jpg\n")
    photos = held_out.HeldOut(held_out.held_out_photos([tmp_path / "test.txt"]))
    found = {name: where.rpartition("line ")[2] for name in names if (where := photos.where(name))}
    assert found == {"data/a/001.jpg": "1", "b/001.jpg": "2", "003.jpg": "4"}


def test_a_training_split_with_listed_photos_is_refused_with_their_number_and_names(flickr30k, tmp_path, capsys):
    training, images, texts = flickr30k
    listed = [*map(flickr8k_name, training[:4]), "7_0123456789.jpg"]
    (tmp_path / "test.txt").write_text("".join(f"{name}\n" for name in listed))
    assert build(images, texts, tmp_path / "out", "--held_out", str(tmp_path / "test.txt")) == 1
    error = capsys.readouterr().err
    assert (
        "error: photos of the training split that are held out elsewhere: 4 (" in error and "--allow_overlap" in error
    )
    assert all(f"{name}, {tmp_path / 'test.txt'}, line {line}" in error for line, name in enumerate(training[:3], 1))
    assert not (tmp_path / "out").exists()


def test_allow_overlap_builds_the_records_and_the_summary_names_the_overlap(flickr30k, tmp_path, capsys):
    training, images, texts = flickr30k
    (tmp_path / "test.txt").write_text(f"{training[0]}\n")
    flags = ["--held_out", str(tmp_path / "test.txt"), "--allow_overlap"]
    assert build(images, texts, tmp_path / "out", *flags) == 0
    assert f"held out elsewhere: 1 ({training[0]}, " in capsys.readouterr().out


def test_flickr8k_s_official_files_beside_other_captions_are_held_out_by_default(flickr30k, tmp_path, capsys):
    training, images, texts = flickr30k
    (texts / "Flickr_8k.trainImages.txt").write_text(f"{flickr8k_name(training[0])}\n")
    assert build(images, texts, tmp_path / "out") == 0
    (texts / "Flickr_8k.devImages.txt").write_text(f"{flickr8k_name(training[1])}\n")
    assert build(images, texts, tmp_path / "out", "--overwrite") == 1
    error = capsys.readouterr().err
    assert f"held out elsewhere: 1 ({training[1]}, {texts / 'Flickr_8k.devImages.txt'}, line 1)" in error


def test_dev_and_test_photos_of_records_are_held_out_and_training_photos_are_not(sample, sample_records, tmp_path):
    images, texts = sample
    assert build(images, texts, tmp_path / "same", "--held_out", str(sample_records)) == 0  # the same splits
    other = tmp_path / "text"
    shutil.copytree(texts, other)
    for split, source in {"train": "test", "test": "train", "dev": "dev"}.items():
        (other / f"Flickr_8k.{split}Images.txt").write_text((texts / f"Flickr_8k.{source}Images.txt").read_text())
    count = len((texts / "Flickr_8k.testImages.txt").read_text().split())
    with pytest.raises(SourceError, match=f"held out elsewhere: {count} .*, test of {sample_records}"):
        read_source(images, other, held_out=held_out.held_out_photos([sample_records]))


def test_a_path_that_is_neither_a_list_nor_records_is_an_error_that_names_it(tmp_path):
    with pytest.raises(SourceError, match="--held_out .*nowhere: no such file or folder"):
        held_out.held_out_photos([tmp_path / "nowhere"])
    with pytest.raises(RecordError, match="dataset.json is missing"):
        held_out.held_out_photos([tmp_path])
    (tmp_path / "list.txt").write_text("a.jpg\n../b.jpg\n")
    with pytest.raises(SourceError, match="list.txt, line 2: .* must be a name or a path relative"):
        held_out.held_out_photos([tmp_path / "list.txt"])
