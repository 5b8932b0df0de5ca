"""Captions to words and token ids, and back."""

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfcaption.preprocessing.tokenizer import Vocabulary, detokenize, split_words, tokenize
from tfcaption.records.vocabulary import END, OOV, PAD, SPECIAL_TOKENS, START, encode_words, vocabulary_words


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A child in a pink dress .", "a child in a pink dress"),
        ("The dog's T-shirt isn't red !", "the dog 's t-shirt is n't red"),
        ("The dogs' ball , they’re “happy”", "the dogs ball they 're happy"),
        ("'Hello' -- it is 5 o'clock", "hello it is 5 o'clock"),
        ("3rd of 1,000 : 2.5 m", "3rd of 1,000 2.5 m"),
        ("who'd've 0n't", "who 'd 've 0 n't"),
        ("R&B rock 'n' roll", "r and b rock n roll"),
        ("man.The x/y a_b (c)", "man the x y a b c"),
        ("É CAFÉ ﬁne ２", "é café fine 2"),
        ("I am a b", "i am a b"),
        (" \t\n ", ""),
        ("... !?", ""),
    ],
)
def test_captions_are_split_into_words_as_documented(caption, expected):
    assert " ".join(split_words([caption])[0]) == expected


@settings(max_examples=50, deadline=None)  # of many captions each, since a call takes as long for one as for all
@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"]), max_size=40), min_size=1, max_size=32))
def test_detokenized_captions_are_split_into_equal_words(captions):
    tokenized = tokenize(tf.constant(captions))
    assert tokenize(detokenize(tokenized)).to_list() == tokenized.to_list()


def test_clitics_are_joined_to_their_word():
    assert detokenize(tokenize(tf.constant(["the dog's isn't"])))[0].numpy() == b"the dog's isn't"


def test_vocabulary_is_by_falling_count_then_spelling_after_the_special_tokens():
    counts = {"b": 5, "a": 5, "z": 9, "rare": 4, "<end>": 99}
    assert vocabulary_words(counts, 5) == [*SPECIAL_TOKENS, "z", "a", "b"]


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary([*SPECIAL_TOKENS, "a", "dog", "'s", "runs"])


def test_encode_puts_start_and_end_and_truncation_keeps_end(vocabulary):
    encoded = vocabulary.encode(tf.constant(["A dog's cat runs", "a a a a a a", ""]), max_words=4)
    assert encoded.to_list() == [[START, 4, 5, 6, OOV, END], [START, 4, 4, 4, 4, END], [START, END]]


def test_spelled_out_special_tokens_are_ordinary_words(vocabulary):
    assert vocabulary.encode(tf.constant(["<end> <pad>"]), max_words=9).to_list() == [[START, OOV, OOV, END]]


def test_decode_stops_at_the_first_end(vocabulary):
    tokens = tf.constant([[START, 4, 5, 6, END, 7, PAD], [4, 5, END, END, PAD, PAD, PAD], [4, OOV, 7, 7, 7, 7, 7]])
    assert vocabulary.decode(tokens).numpy().tolist() == [b"a dog's", b"a dog", b"a <oov> runs runs runs runs runs"]


def test_the_beam_jobs_dictionary_gives_the_ids_of_the_graph(vocabulary):
    captions = ["A dog's cat runs", "dog dog dog dog dog dog", "<start> a", "-- !"]
    index = {word: i for i, word in enumerate(vocabulary.words) if i >= len(SPECIAL_TOKENS)}
    by_dictionary = [encode_words(words, index, 4) for words in split_words(captions)]
    assert by_dictionary == vocabulary.encode(tf.constant(captions), max_words=4).to_list()


def test_decode_each_gives_the_words_before_the_end_at_their_positions(vocabulary):
    tokens = tf.constant([[START, 4, 5, END, 6, PAD]])
    words = [vocabulary.words[4].encode(), vocabulary.words[5].encode()]
    assert vocabulary.decode_each(tokens).numpy().tolist() == [[b"", *words, b"", b"", b""]]


def test_encode_and_decode_work_in_a_graph(vocabulary):
    graph = tf.function(lambda captions: vocabulary.decode(vocabulary.encode(captions, max_words=9).to_tensor()))
    assert graph(tf.constant(["a dog runs"]))[0].numpy() == b"a dog runs"
