"""What counts as one token of a caption in its scores: Penn Treebank words, characters, or both by script."""

from collections.abc import Callable
from typing import NamedTuple

import regex

from tfcaption.metrics.tokens import score_tokens
from tfcaption.preprocessing.normalization import CHARACTER, SPACELESS, normalize, tidy_lower
from tfcaption.runtime.errors import UsageError

Tokenize = Callable[[str], tuple[str, ...]]
"""A raw caption -> its score tokens."""

_OTHER = rf"(?:(?![{SPACELESS}]){CHARACTER})"
_CHARACTER = regex.compile(rf"(?={CHARACTER})\X")
_WORD_OR_CHARACTER = regex.compile(
    rf"(?=[{SPACELESS}])\X | \p{{N}}+(?:[.,]\p{{N}}+)+ | {_OTHER}+(?:['-]{_OTHER}+)*", regex.VERBOSE
)


class ScoreTokenizer(NamedTuple):
    """One way to divide captions into tokens for scores."""

    name: str  # of --score_tokenizer, and in metrics.json
    description: str  # for people, in the protocol of the scores
    tokenize: Tokenize


def _spelt(caption: str) -> str:
    return tidy_lower(normalize(caption).lower())


def characters(caption: str) -> tuple[str, ...]:
    """Every letter and digit, in lower case and with its marks (a grapheme of Unicode): how Chinese is scored."""
    return tuple(_CHARACTER.findall(_spelt(caption)))


def words_or_characters(caption: str) -> tuple[str, ...]:
    """Characters of the scripts that put no spaces between words, words of all others, in lower case."""
    return tuple(_WORD_OR_CHARACTER.findall(_spelt(caption)))


TREEBANK = ScoreTokenizer("treebank", "Penn Treebank tokens", score_tokens)
_CHARACTERS = ScoreTokenizer("characters", "characters", characters)
_UNICODE = ScoreTokenizer("unicode", "words (characters of scripts without spaces)", words_or_characters)
SCORE_TOKENIZERS = {tokenizer.name: tokenizer for tokenizer in (TREEBANK, _CHARACTERS, _UNICODE)}


def tokenizer_for(trained_on: str, name: str | None = None) -> ScoreTokenizer:
    """The tokenizer for captions of some records: by default the Penn Treebank's where their tokens are words or pieces
    of words.

    Args:
        trained_on: the tokenizer of the records, as `dataset.json` names it.
        name: of a tokenizer that was chosen instead.

    Raises:
        UsageError: there is none of that name.
    """
    if name is not None:
        return score_tokenizer(name)
    return TREEBANK if trained_on.partition(":")[0] in ("words", "wordpiece") else _UNICODE


def score_tokenizer(name: str) -> ScoreTokenizer:
    """The tokenizer of a name.

    Raises:
        UsageError: there is none.
    """
    if name not in SCORE_TOKENIZERS:
        raise UsageError(f"score tokenizer '{name}': there is none; choose from {', '.join(SCORE_TOKENIZERS)}")
    return SCORE_TOKENIZERS[name]
