"""Names that may mean one photo are in one group, so that groups can be matched by themselves."""

import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from beam_jobs.sources.grouping import BYTES_OF_TEXT, bucket_count, bucket_of, group_key
from beam_jobs.sources.matching import match_names

NAMES = st.text("aB\u00e9\u0301 .5/\u202f\u200d", max_size=6)
ENDINGS = st.sampled_from(["", ".jpg", ".JPG", ".png", ".jpeg", ".txt", ".v2", ".jp\u200dg", " .jpg"])


@settings(max_examples=300, deadline=None)
@example("/", "", "", " .jpg")
@given(NAMES, ENDINGS, NAMES, ENDINGS)
def test_a_name_and_the_path_that_it_means_are_in_one_group(name, ending, path, other):
    for one, another in ((name + ending, path + other), (name + ending, f"x/{name}{other}")):
        if match_names([one], [another]).path_of:
            assert group_key(one) == group_key(another)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("train/a.jpg", "val/A.PNG", True),
        ("a.jp2", "a.jpg", True),  # which may be meant
        ("COCO_val2014_000000000042.jpg", "000000000042.jpg", False),
        ("12.5mm.jpg", "12.6mm.jpg", False),
        ("img.000001.jpg", "img.000002.jpg", False),
        ("a.jpg.1", "a.jpg", False),
        ("a/.jpg", " .png", True),  # a name of spaces and its ending are spelt like a name that is an ending
    ],
)
def test_a_group_is_small(one, other, same):
    assert (group_key(one) == group_key(other)) == same


def test_names_that_are_no_text_have_a_bucket():
    name = b"caf\xe9.jpg".decode(errors="surrogateescape")
    assert bucket_of(group_key(name), 1) == 0
    assert bucket_of(group_key(name), 7) == bucket_of(group_key(f"x/{name}"), 7)
    assert {bucket_of(group_key(letter), 3) for letter in string.ascii_letters} == {0, 1, 2}


def test_the_captions_of_flickr8k_are_two_buckets_and_larger_ones_more(tmp_path):
    path = tmp_path / "captions.txt"
    for size, count in ((1_000_000, 1), (3_400_000, 2), (10 * BYTES_OF_TEXT, 11)):
        with path.open("wb") as stream:
            stream.truncate(size)
        assert bucket_count([path], with_photos=False) == count
    assert bucket_count([tmp_path], with_photos=False) == 1
