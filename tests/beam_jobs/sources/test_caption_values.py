"""What counts as one caption: in cells, JSON values and the files of one photo."""

import json

import pytest

from beam_jobs.sources.base import Columns, Listing
from beam_jobs.sources.caption_values import captions_in, captions_of_files

TWO = ["A dog .", 'It\'s a "cat" , too .']


@pytest.mark.parametrize(
    "value",
    [
        TWO,
        json.dumps(TWO),
        f" {TWO!r} ",
        json.dumps(TWO, indent=1),
        "['A dog .' 'It\\'s a \"cat\" , too .']",  # as NumPy writes it
        '[\'A dog .\'\n "It\'s a \\"cat\\" , too ."]',
        "[u'A dog .', u'It\\'s a \"cat\" , too .']",
        [[TWO[0]], [TWO[1]]],
        [{"raw": TWO[0], "tokens": ["a"]}, {"caption": TWO[1]}],
        json.dumps([{"raw": text, "sentid": 1} for text in TWO]),
        repr([{"raw": text} for text in TWO]),
        {"captions": TWO},
        repr(tuple(TWO)),
        "{'A dog .', 'It\\'s a \"cat\" , too .'}",  # a set, in the order in which it is written
        '{"A dog .","It\'s a \\"cat\\" , too ."}',  # an array of PostgreSQL
        json.dumps({"raw": TWO}),
        repr({"caption": tuple(TWO)}),
    ],
)
def test_a_list_is_a_list_of_captions_however_it_is_written(value):
    assert captions_in(value) == TWO


@pytest.mark.parametrize("text", ['["A", null]', "['A', None]", "['A', nan]", "['A' nan]", '["A", NaN]'])
def test_a_gap_in_a_list_is_left_for_its_rejection(text):
    caption, gap = captions_in(text)
    assert caption == "A" and not isinstance(gap, str)


NO_LISTS = ("A dog", "[a dog]", "[a, dog]", "[1]", "[]", "['a' or 'b']", "A\ndog", " 'a' 'b' ", "('a')", "(a, b)", "{}")


@pytest.mark.parametrize("text", [*NO_LISTS, "('a dog' 'b')", '{"x": "a"}', "(A dog) and (a cat)", "[nan]", "'a', 'b'"])
def test_any_other_text_is_one_caption(text):
    assert captions_in(text) == [text]


@pytest.mark.parametrize("value", [None, 5, {"x": "A dog ."}, {"a": 1}])
def test_what_is_not_text_is_left_for_its_rejection(value):
    assert captions_in(value) == [value] and captions_in([value, "A"]) == [value, "A"]


def test_an_empty_list_is_an_empty_caption_and_too_deep_ones_are_not_read():
    assert captions_in([]) == [""]
    deep = ["A dog ."]
    for _ in range(900):
        deep = [deep]
    (left,) = captions_in(deep)
    assert isinstance(left, list)


def read(*files):
    listing = Listing()
    found = [line.caption for line in captions_of_files(files, listing, Columns())]
    assert listing.captions_in == len(found) + len(listing.rejections)
    return found


BROKEN = "A red\ndog , \u2028 wet ."


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_text_that_is_one_caption_of_the_json_file_is_one_caption(end, encoding):
    text = ("a.txt", BROKEN.replace("\n", end).encode(encoding))
    row = ("a.json", json.dumps({"caption": BROKEN, "url": "x"}).encode())
    assert read(text, row) == read(row, text) == read(row) == [BROKEN]


def test_a_caption_that_several_files_hold_counts_once_but_twice_in_one_file_twice():
    files = [("a.caption", b"One .\nTwo .\n"), ("a.txt", b"Two  .\nThree .\nThree .\n")]
    assert read(*files) == ["One .", "Two .", "Three .", "Three ."]
    assert read(*files, ("a.json", b'{"captions": [" One .", "Four ."]}')) == [*read(*files), "Four ."]


def test_a_form_feed_a_vertical_tab_and_separators_of_lines_are_inside_a_caption():
    text = "A\x0bdog\x0cruns\u2028far\u2029and\x85wide ."
    assert read(("a.txt", f"{text}\nTwo .\n".encode())) == [text, "Two ."]
