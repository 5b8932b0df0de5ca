"""Captions as people read them."""

import pytest

from tfcaption.records.display import display_text, wrapped_lines


@pytest.mark.parametrize(
    ("caption", "shown"),
    [
        ("A dog runs .", "A dog runs."),
        ("A dog , a cat , and ( maybe ) a bird !", "A dog, a cat, and (maybe) a bird!"),
        ("the dog 's toy is n't red ; it 's blue .", "the dog's toy isn't red; it's blue."),
        ("Wait . . .", "Wait..."),
        ("A .5 liter bottle :", "A .5 liter bottle:"),
        ("  a man in a hat ", "a man in a hat"),
        ('A "second" of it , 2.5 m', 'A "second" of it, 2.5 m'),
        ("already. Fine, too", "already. Fine, too"),
        ("", ""),
    ],
)
def test_punctuation_stands_beside_the_word_before_it(caption, shown):
    assert display_text(caption) == shown == display_text(shown)


def wide(text):
    """A font in which an i is 1 wide and all else 3."""
    return sum(1 if character == "i" else 3 for character in text)


def test_lines_are_broken_by_their_width_and_a_wide_word_inside():
    assert wrapped_lines("iiii iiii mm mmmmm i", 12, wide) == ["iiii iiii", "mm m", "mmmm", "i"]
    assert wrapped_lines("mm", 1, wide) == ["m", "m"]
    assert wrapped_lines("", 12, wide) == [""]


@pytest.mark.parametrize("width", [9, 12, 20, 33])
def test_no_line_is_wider_than_the_width_and_no_letter_is_lost(width):
    text = "a man in a young young young man mimimimimimimimimimimi in ii m ."
    lines = wrapped_lines(text, width, wide)
    assert max(map(wide, lines)) <= width
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_the_last_of_too_many_lines_says_that_it_is_cut():
    assert wrapped_lines("mm mm mm", 9, wide, most=2) == ["mm", "mm…"]
    assert wrapped_lines("mm mmm mm", 9, wide, most=2) == ["mm", "mm…"]
    assert wrapped_lines("mm mm", 9, wide, most=2) == ["mm", "mm"]
