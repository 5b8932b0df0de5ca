"""Text files of any Unicode encoding and line end, and names as people and systems spell them."""

import io

import pytest

from beam_jobs.sources.text_files import (
    Span,
    can_be_divided,
    count_lines,
    file_lines,
    normal_name,
    photo_names,
    stream_lines,
)
from tfcaption.records.photo_names import spelling

LINES = ["a.jpg\tA café .", "", "b.jpg\tIt runs\u2028far\x0c, \x85well .", "c.jpg\tEnd ."]


def lines(data):
    return [(number, line.decode()) for number, line in stream_lines(io.BytesIO(data))]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_the_lines_of_a_text_do_not_depend_on_its_encoding_and_line_ends(encoding, end, last):
    data = (end.join(LINES) + end * last).encode(encoding)
    assert lines(data) == [(1, LINES[0]), (3, LINES[2]), (4, LINES[3])]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n", "\r\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_spans_of_any_size_hold_each_line_once_with_its_number(end, encoding, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes((end.join(LINES) + end).encode(encoding))
    size, whole = path.stat().st_size, [*file_lines(path)]
    for step in range(1, size + 2):
        found, before = [], 0
        for start in range(0, size, step):
            span = Span(start, start + step, before)
            found += file_lines(path, span)
            before += count_lines(path, span)
        assert found == whole


def test_only_utf_8_can_be_divided(tmp_path):
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"):
        (tmp_path / encoding).write_text("a line", encoding=encoding)
        assert can_be_divided(tmp_path / encoding) == encoding.startswith("utf-8")


def test_what_is_not_utf_16_in_a_file_of_it_is_not_utf_8_either():
    (_, first), (_, second) = stream_lines(io.BytesIO("one\ntwo".encode("utf-16") + b"\x00"))
    assert first == b"one" and second == b"two\xff"


def test_a_list_of_photos_may_be_utf_16(tmp_path):
    (tmp_path / "list.txt").write_bytes("a.jpg\r\nbé.jpg\r\n".encode("utf-16"))
    assert [name for _, name in photo_names(tmp_path / "list.txt")] == ["a.jpg", "bé.jpg"]


@pytest.mark.parametrize("name", ["a b.jpg", "3\u202fPM.jpg", "a\xa0b.jpg", "👩\u200d🍳.jpg", "a\u200bb.jpg", "é.jpg"])
def test_names_with_any_space_or_joiner_are_safe(name):
    assert normal_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/../b", "/etc/a", "C:\\a", "gs://b/a", "a\nb", "a\x00", "a\u2028b", "a\x85b", "\udce9"],
)
def test_paths_and_control_characters_are_not_safe(name):
    assert not normal_name(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Bild 1.JPG", "bild\xa01.jpg"), ("3\u202fPM.png", "3 PM.png"), ("e\u0301\u200d.jpg", "é.jpg"), ("ÉA", "éa")],
)
def test_names_of_one_spelling(one, other):
    assert spelling(one) == spelling(other) != spelling("another.jpg")
