"""Captions as the scores see them: Penn Treebank tokens without punctuation, and their n-grams."""

import functools
import re
from collections.abc import Hashable, Sequence
from typing import TypeVar

LONGEST_NGRAM = 4
Tokens = Sequence[Hashable]  # words, or their numbers
Token = TypeVar("Token", bound=Hashable)


def ngrams(tokens: Sequence[Token]) -> list[tuple[Token, ...]]:
    """All runs of one to four tokens, with repetitions."""
    return [
        tuple(tokens[start : start + n]) for n in range(1, LONGEST_NGRAM + 1) for start in range(len(tokens) - n + 1)
    ]


# The tokens that the reference scorers' Penn Treebank tokenizer removes (coco-caption, ptbtokenizer.py), and the
# brackets as they are before it renames them.
_PUNCTUATION = frozenset(
    [
        "''",
        "'",
        "``",
        "`",
        "-LRB-",
        "-RRB-",
        "-LCB-",
        "-RCB-",
        "-lrb-",
        "-rrb-",
        "-lcb-",
        "-rcb-",
        ".",
        "?",
        "!",
        ",",
        ":",
        "-",
        "--",
        "...",
        ";",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        '"',
    ]
)


def score_tokens(caption: str) -> list[str]:
    """Tokens of a raw caption as the scores see them: Penn Treebank, lower case, no punctuation.

    The tokens of coco-caption (Stanford's PTBTokenizer, which needs Java), but for brackets: those stay in as `-lrb-`
    there, because its list of punctuation has them in upper case only.
    """
    return list(tokenize(caption))


@functools.lru_cache(maxsize=1 << 20)  # references are tokenized for every score and every run
def tokenize(caption: str) -> tuple[str, ...]:
    """`score_tokens` as a tuple, remembered."""
    from nltk.tokenize import TreebankWordTokenizer

    text = re.sub(r"(?<!\S)((?:[a-z]\.){2,})\s*$", r"\1 .", caption.lower())  # a last "d.c." keeps its full stop
    tokens = TreebankWordTokenizer().tokenize(text.replace("\n", " "))
    return tuple(token for token in tokens if token not in _PUNCTUATION)
