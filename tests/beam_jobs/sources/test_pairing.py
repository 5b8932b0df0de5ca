"""The photo that a text file belongs to, in folders and in tar files."""

import pytest

from beam_jobs.sources.pairing import photos_of_texts


def pairs(*paths, by_key=True, photos=()):
    return photos_of_texts(paths, lambda path: path in photos, by_key=by_key)


@pytest.mark.parametrize(
    ("photo", "text"),
    [
        ("dog.jpg", "dog.txt"),
        ("a/dog.JPEG", "a/dog.caption"),
        ("dog.jfif", "dog.TXT"),
        ("photo.v2.jpg", "photo.v2.txt"),
        ("12.5mm.png", "12.5mm.json"),
        ("12.5mm.png", "12.json"),  # WebDataset's key
        ("dog.jpg", "dog.jpg.txt"),
        ("IMG 1.JPG", "img\u202f1.captions"),
        ("caf\u00e9.avif", "cafe\u0301.text"),
        (".5.jpg", ".5.txt"),
    ],
)
def test_a_text_belongs_to_the_photo_of_its_name(photo, text):
    assert pairs(photo, text, "b/other.jpg") == ({} if photo.startswith(".") else {text: photo})


def test_the_same_stem_comes_before_the_key():
    assert pairs("img.seg.png", "img.jpg", "img.txt") == {"img.txt": "img.jpg"}
    assert pairs("a.1.jpg", "a.2.jpg", "a.1.txt", "a.txt") == {"a.1.txt": "a.1.jpg"}  # a.txt may be of either
    assert pairs("a.1.jpg", "a.txt", by_key=False) == {}


def test_texts_of_another_kind_folder_or_name_belong_to_no_photo():
    assert pairs("a.jpg", "a.ocr.txt", "b/a.txt", "README.txt", "ab.txt", "a.cls") == {}
    assert pairs("A.jpg", "a.JPG", "\u0061\u200d.txt") == {}  # either may be meant


def test_a_file_of_another_ending_or_none_is_a_photo_if_its_content_is_one():
    paths = ("a", "a.npy", "a.txt", "b.jpg_large", "b.txt", "c", "c.txt", "d.jpg", "d", "d.txt")
    found = pairs(*paths, photos={"a", "b.jpg_large", "d"})
    assert found == {"a.txt": "a", "b.txt": "b.jpg_large", "d.txt": "d.jpg"}


def test_contents_are_looked_at_only_where_a_text_has_no_photo():
    def fail(path):
        raise AssertionError(path)

    assert photos_of_texts(["a.jpg", "a.txt", "a.npy", "b", "README", "x.cls"], fail) == {"a.txt": "a.jpg"}
