"""Photos by their names in captions and lists: by path, by its end, in another spelling, without an ending."""

import pytest

from beam_jobs.sources.matching import Matches, match_names, short_names


@pytest.mark.parametrize(
    ("name", "paths", "found"),
    [
        ("data/a/0.jpg", ["data/a/0.jpg", "data/b/0.jpg"], "data/a/0.jpg"),
        ("data/a/0.jpg", ["a/0.jpg", "b/0.jpg"], "a/0.jpg"),  # --images is `data`
        ("a/0.jpg", ["x/data/a/0.jpg", "x/data/b/0.jpg"], "x/data/a/0.jpg"),  # or a folder above it
        ("other/a/0.jpg", ["x/a/0.jpg", "x/b/0.jpg"], "x/a/0.jpg"),
        ("other/0.jpg", ["x/y/0.jpg"], "x/y/0.jpg"),
        ("Train/0.jpg", ["train/images/0.jpg", "val/images/0.jpg"], "train/images/0.jpg"),
        ("0.jpg", ["x/y/0.jpg"], "x/y/0.jpg"),
        ("0.jpg", ["0.jpg", "thumbnails/0.jpg"], "0.jpg"),
        ("Train/0.JPG", ["train/0.jpg", "val/0.jpg"], "train/0.jpg"),
        ("e\u0301 1.jpg", ["a/\u00e9\u202f1.JPG"], "a/\u00e9\u202f1.JPG"),
        ("a.jpg", ["x/a.jpg", "A.JPG"], "x/a.jpg"),  # spelt like the name
        ("0123", ["x/0123.jpg"], "x/0123.jpg"),
        ("0123.png", ["x/0123"], "x/0123"),
        ("a.jpg", ["a.png"], None),
        ("b/a.jpg", ["ba.jpg", "aa.jpg"], None),
    ],
)
def test_a_name_finds_the_path_that_has_most_in_common_with_it(name, paths, found):
    assert match_names([name], paths) == Matches({name: found} if found else {})


@pytest.mark.parametrize(
    ("names", "paths", "found", "ambiguous"),
    [
        (["0.jpg"], ["a/0.jpg", "b/0.jpg"], {}, {"0.jpg": ["a/0.jpg", "b/0.jpg"]}),
        (["a/0.jpg"], ["a/x/0.jpg", "y/a/x/0.jpg", "b/0.jpg"], {}, {"a/0.jpg": ["a/x/0.jpg", "y/a/x/0.jpg"]}),
        (["a.jpg"], ["a.JPG", "A.jpg"], {}, {"a.jpg": ["A.jpg", "a.JPG"]}),
        (["0"], ["0.jpg", "0.png"], {}, {"0": ["0.jpg", "0.png"]}),
        (["x/0.jpg", "y/0.jpg"], ["0.jpg"], {}, {"x/0.jpg": ["0.jpg"], "y/0.jpg": ["0.jpg"]}),
        (["a/0.jpg", "b/0.jpg"], ["a/0.jpg"], {"a/0.jpg": "a/0.jpg"}, {}),  # never the photo of another name
        (["c/a/0.jpg", "b/0.jpg"], ["a/0.jpg"], {"c/a/0.jpg": "a/0.jpg"}, {}),
    ],
)
def test_no_path_is_guessed_and_none_has_two_names(names, paths, found, ambiguous):
    assert match_names(names, paths) == Matches(found, ambiguous)


def test_many_paths_of_one_file_name_take_a_time_in_proportion_to_their_number():
    names = [f"{index}/rgb.png" for index in range(20_000)]
    matches = match_names(names, [f"x/{name}" for name in names[:10_000]] + [f"y{name}" for name in names])
    assert len(matches.path_of) == 10_000 and len(matches.ambiguous) == 10_000


def test_short_names_are_file_names_where_these_are_unique():
    assert short_names(["a/0.jpg", "b/0.jpg", "b/1.jpg"]) == {
        **{"a/0.jpg": "a/0.jpg", "b/0.jpg": "b/0.jpg", "b/1.jpg": "1.jpg"}
    }
