"""WordPiece: learnt from counted words, applied to any word, joined again."""

import random
import unicodedata
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from tests.tfcaption.preprocessing.test_tokenizer import CAPTIONS_OF_SCRIPTS
from tfcaption.preprocessing.tokenizer import Tokenizer, detokenize, split_words, tokenize
from tfcaption.preprocessing.vocabulary_learning import learn_vocabulary
from tfcaption.preprocessing.word_vectors import embedding_matrix
from tfcaption.preprocessing.wordpieces import split_into_pieces
from tfcaption.records.vocabulary import END, OOV, SPECIAL_TOKENS, START, Vocabulary, left_right_tokens

NAME = "wordpiece:300"


def captions_of(count, seed):
    """English captions with rare words, made of syllables."""
    chance = random.Random(seed)
    frequent = ["a", "dog's", "isn't", "t-shirt", "the", "playing", "played", "left", "right", "2", "man"]
    return [
        " ".join(
            "".join(chance.choices(["sun", "ing", "ed", "k", "wo", "man"], k=3))
            if chance.random() < 0.1
            else chance.choice(frequent)
            for _ in range(9)
        )
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def learnt():
    counts = Counter(word for words in split_words(captions_of(400, 0) + CAPTIONS_OF_SCRIPTS, NAME) for word in words)
    return counts, learn_vocabulary(counts, NAME, min_count=2)


@pytest.fixture(scope="module")
def vocabulary(learnt):
    return Vocabulary(learnt[1].words, NAME)


def longest_first(word, pieces):
    """WordPiece by its definition."""
    ids, start = [], 0
    while start < len(word):
        found = [end for end in range(start + 1, len(word) + 1) if "##" * (start > 0) + word[start:end] in pieces]
        if not found:
            return [OOV]
        ids.append(pieces.index("##" * (start > 0) + word[start : found[-1]]))
        start = found[-1]
    return ids


def test_words_are_split_into_the_longest_pieces_first(learnt):
    pieces = learnt[1].words
    words = sorted({word for words in split_words(captions_of(200, 1), NAME) for word in words} | {"qqq", "dögs", "s"})
    found = split_into_pieces(words, pieces)
    assert found == [longest_first(word, pieces) for word in words]
    assert found[words.index("dögs")] == [OOV] and max(map(len, found)) > 2


def test_the_vocabulary_has_the_size_and_every_character_whatever_the_order_of_the_counts(learnt):
    counts, learnt = learnt
    assert learnt.words[:4] == list(SPECIAL_TOKENS) and 200 < len(learnt.words) <= 300
    assert learn_vocabulary(dict(reversed(counts.items())), NAME, min_count=2) == learnt
    english = {word: count for word, count in counts.items() if word.isascii()}
    pieces = set(learn_vocabulary(english, NAME, min_count=2).words)
    assert all({character, f"##{character}"} <= pieces for character in set("".join(english)))


def test_counts_are_those_of_the_pieces_of_all_training_captions(learnt, vocabulary):
    counts, learnt = learnt
    tokens = Tokenizer(vocabulary).encode(captions_of(400, 0) + CAPTIONS_OF_SCRIPTS, max_words=99)
    found = Counter(token for caption in tokens for token in caption[1:-1])
    assert [found[token] for token in range(len(learnt.words))] == learnt.counts
    assert sum(learnt.counts) > sum(counts.values())
    assert learn_vocabulary({**counts, "sunwork": 0}, NAME, min_count=2).counts == learnt.counts  # of the dev split


def test_pieces_are_joined_to_the_text_of_the_words(vocabulary):
    captions = captions_of(300, 2)  # other rare words
    tokens = Tokenizer(vocabulary).encode(captions, max_words=99)
    padded = tf.ragged.constant(tokens).to_tensor()
    assert not np.isin(OOV, padded)
    spoken = Tokenizer(vocabulary).decode(padded).numpy()
    np.testing.assert_array_equal(spoken, detokenize(tokenize(tf.constant(captions))))
    each = Tokenizer(vocabulary).decode_each(padded).numpy()
    assert [b"".join(row) for row in each] == [caption.replace(b" ", b"") for caption in spoken]


@pytest.mark.parametrize("caption", CAPTIONS_OF_SCRIPTS)
def test_captions_of_any_script_come_back_byte_for_byte_from_pieces(caption):
    normal = unicodedata.normalize("NFKC", caption)
    learnt = learn_vocabulary(Counter(normal.replace(" ", "")), "wordpiece:999", min_count=1)  # of characters alone
    tokenizer = Tokenizer(Vocabulary(learnt.words, "wordpiece:999"))
    (tokens,) = tokenizer.encode([caption], max_words=99)
    assert tokenizer.decode(tf.constant(tokens)).numpy().decode() == normal


def test_captions_are_cut_after_words_and_none_has_over_two_tokens_for_each(vocabulary):
    tokenizer = Tokenizer(vocabulary)
    rare = "sunwomaning"
    (word,) = tokenizer.encode([rare], max_words=1000)
    assert len(word) > 4
    (cut,) = tokenizer.encode([f"a {rare} a a a a a"], max_words=5)
    assert tokenizer.decode(tf.constant(cut)).numpy().decode() == f"a {rare} a a a"
    (bounded,) = tokenizer.encode([f"{rare} " * 9], max_words=3)
    assert (bounded[0], bounded[-1], len(bounded)) == (START, END, 8)


def test_left_and_right_are_swapped_as_whole_words_and_vectors_are_those_of_whole_words(vocabulary, tmp_path):
    words = vocabulary.words
    assert left_right_tokens(vocabulary) == [words.index("left"), words.index("right")]
    assert left_right_tokens(Vocabulary([*SPECIAL_TOKENS, "##left", "right"], NAME)) == []
    (tmp_path / "glove").write_text("a 1 2\n##ing 3 4\ndog 5 6\n")
    own = Vocabulary([*SPECIAL_TOKENS, "a", "##ing", "##dog", "dog"], NAME)
    matrix, coverage = embedding_matrix(own, tmp_path / "glove", word_counts=[0, 0, 0, 0, 2, 3, 4, 1], seed=0)
    assert matrix[[4, 7]].tolist() == [[1, 2], [5, 6]] and not np.isin(matrix[5:7], [3, 4]).any()
    assert (coverage.by_type, coverage.by_token) == (0.5, 0.3)
