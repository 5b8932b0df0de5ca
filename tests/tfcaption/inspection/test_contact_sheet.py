"""The picture of photos with their captions."""

import numpy as np
import pytest
from PIL import ImageColor

from tests.support.photos import encoded, picture
from tfcaption.inspection.contact_sheet import CELL_WIDTH, HEADING_HEIGHT, UNKNOWN, contact_sheet, is_unknown
from tfcaption.records.examples import PhotoRecord

VOCABULARY = {"a", "dog", "'s", "n't", "is", "toy", "t-shirt", "1,000", "o'clock"}


def sheet(*captions, vocabulary=VOCABULARY, heading="train: 1 of 9 photos of records"):
    record = PhotoRecord(photo_id="a.jpg", jpeg=encoded(picture(32, 32), "JPEG"), captions=list(captions), token_ids=[])
    return np.asarray(contact_sheet([record], heading=heading, vocabulary=vocabulary))


def in_colour(pixels, colour):
    return (pixels == ImageColor.getrgb(colour)).all(-1)


@pytest.mark.parametrize("word", ["dog", "Dog,", "dog's", "isn't", "t-shirt.", "1,000", "o'clock", ".", "dog’s", '"a"'])
def test_words_of_the_vocabulary_with_their_punctuation_and_clitics_are_known(word):
    assert not is_unknown(word, VOCABULARY)


@pytest.mark.parametrize("word", ["cat", "cat's", "dog'll", "dog-cat", "1,001", "Zebra."])
def test_other_words_are_unknown(word):
    assert is_unknown(word, VOCABULARY)


def test_only_words_outside_the_vocabulary_have_the_colour_of_the_legend():
    known, unknown = sheet("a dog 's toy ."), sheet("a zebra 's toy .")
    below = slice(HEADING_HEIGHT + CELL_WIDTH, None)
    assert not in_colour(known[below], UNKNOWN).any() and in_colour(unknown[below], UNKNOWN).any()
    assert in_colour(known[:HEADING_HEIGHT], UNKNOWN).any()  # the legend
    assert not in_colour(sheet("a zebra", vocabulary=None), UNKNOWN).any()


def test_captions_stay_in_their_cell_and_have_two_lines_at_most():
    long = "w" * 300
    pixels = sheet(long, "a " * 200)
    assert pixels.shape == sheet("a\n" * 2, *["a"] * 3)[:, : pixels.shape[1]].shape  # four lines
    assert (pixels[HEADING_HEIGHT:, CELL_WIDTH:] == 255).all()
    assert (pixels[:HEADING_HEIGHT] < 255).any()
