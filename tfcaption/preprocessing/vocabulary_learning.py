"""Tokenizers by name, and the vocabularies that they learn from the counted words of a training split.

Imports no TensorFlow before it learns pieces.
"""

from collections.abc import Mapping, Sequence

from tfcaption.records.statistics import VocabularyCounts
from tfcaption.records.vocabulary import (
    SENTENCEPIECE,
    SPECIAL_TOKENS,
    UNICODE,
    WORDPIECE,
    WORDS,
    kind_of,
    vocabulary_words,
)
from tfcaption.runtime.errors import UsageError

FEWEST_PIECES = 100
# Defaults: the least count of a word, or of a piece longer than a character; and the most words of a caption.
MIN_COUNT = {WORDS: 5, UNICODE: 5, WORDPIECE: 2, SENTENCEPIECE: 1}
MAX_WORDS = {WORDS: 37, UNICODE: 80, WORDPIECE: 37, SENTENCEPIECE: 80}  # a character or piece is a short word


def check_tokenizer(name: str) -> str:
    """A tokenizer as a user names it, `sentencepiece` with a file, checked.

    Raises:
        UsageError: there is no such tokenizer, or its size is none.
    """
    kind, colon, detail = name.partition(":")
    if kind == WORDPIECE and detail.isdecimal() and int(detail) >= FEWEST_PIECES:
        return f"{WORDPIECE}:{int(detail)}"
    if (kind in (WORDS, UNICODE) and not colon) or (kind == SENTENCEPIECE and detail):
        return name
    raise UsageError(
        f"--tokenizer {name}: must be {WORDS}, {UNICODE}, {WORDPIECE}:SIZE, with a size of {FEWEST_PIECES} or more, or "
        f"{SENTENCEPIECE}:FILE"
    )


def learn_vocabulary(
    word_counts: Mapping[str, int], tokenizer: str, *, min_count: int, first: Sequence[str] = SPECIAL_TOKENS
) -> VocabularyCounts:
    """The vocabulary of a data set.

    Args:
        word_counts: of each word of the data set, in its training split, so it may be 0.
        tokenizer: as `RecordSettings.tokenizer` names it.
        min_count: the least count of a word or piece.
        first: a vocabulary that it begins with, of tokenizers whose tokens are words.
    """
    if kind_of(tokenizer) != WORDPIECE:
        return VocabularyCounts.of(vocabulary_words(word_counts, min_count, first), word_counts)
    # here: the words of most data sets are counted in a process that never starts TensorFlow
    from tfcaption.preprocessing.wordpieces import learn_pieces, split_into_pieces

    size = int(tokenizer.partition(":")[2])
    learnt, words = learn_pieces(word_counts, size=size, min_count=min_count), sorted(word_counts)
    pieces = dict(zip(words, split_into_pieces(words, learnt), strict=True))
    return VocabularyCounts.of_pieces(learnt, word_counts, pieces)
