"""Words of captions in Latin letters, without TensorFlow."""

import random
import subprocess
import sys

import pytest

from tfcaption.preprocessing.plain_words import plain_words
from tfcaption.preprocessing.tokenizer import split_words

LATIN = [chr(code) for code in (*range(1, 0x234), *range(0x300, 0x34F), *range(0x2010, 0x2028))]
PARTS = [*"aAzŻéßıİ0 9½'’`-–&.,;:#\n", "n't", "'s", "'ve", "'d", " dog", "s'", "&quot;", "&amp;", "e\u0301", "\u0301"]


def check(captions):
    for caption, expected in zip(captions, split_words(captions), strict=True):
        assert plain_words(caption) == expected, ascii(caption)


def test_words_are_those_of_tensorflow_around_each_character():
    check([f"A{c}b don{c}t x{c}s {c}s{c} 1{c}5 o'{c}ve 'd{c} {c}'s {c}\u0301n't" for c in LATIN])


def test_words_are_those_of_tensorflow_for_random_captions():
    draw = random.Random(7)
    check(["".join(draw.choices(PARTS, k=draw.randint(0, 14))) for _ in range(20_000)])


def test_words_of_real_captions_are_those_of_tensorflow(shared_data):
    lines = (shared_data / "data/flickr8k/Flickr8k_text/Flickr8k.token.txt").read_text().splitlines()
    check([line.partition("\t")[2] for line in lines])


@pytest.mark.parametrize("caption", ["一只狗", "un perro 🐶", "ο σκύλος", "собака", "a\u2028b"])
def test_captions_with_other_characters_are_left_to_tensorflow(caption):
    assert plain_words(caption) is None


def test_tensorflow_is_not_imported():
    code = "import sys; from tfcaption.preprocessing.plain_words import plain_words as p; p('é'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "tensorflow" not in done.stdout.split()
