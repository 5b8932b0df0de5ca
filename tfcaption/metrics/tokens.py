"""Score tokens of captions (Penn Treebank, lower case, no punctuation) and their n-grams."""

import functools
from collections.abc import Hashable, Sequence
from typing import TypeVar

from tfcaption.metrics.treebank import treebank_spans
from tfcaption.preprocessing.normalization import normalize, tidy_lower

LONGEST_NGRAM = 4
Tokens = Sequence[Hashable]  # words or token ids
Ngram = tuple[Hashable, ...]
Token = TypeVar("Token", bound=Hashable)

_REMOVED = frozenset(  # by coco-caption (ptbtokenizer.py), or written by its tokenizer like one of these
    (".", "...", "....", ".....", "?", "!", ",", ":", ";", "-", "--", "---", "----", '"', "'", "`", "''", "``")
)
_BRACKETS = {"[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}


@functools.lru_cache(maxsize=1 << 20)  # references are tokenized for every score of every run
def score_tokens(caption: str) -> tuple[str, ...]:
    """Tokens of a raw caption for scoring: Penn Treebank, lower case, no punctuation.

    These are coco-caption's tokens (Stanford's PTBTokenizer, which needs Java) of a caption that is first normalized as
    it is for training: punctuation beyond ASCII makes no difference. As in coco-caption brackets count, as `-lrb-`: its
    list of punctuation has them in upper case only.
    """
    text = normalize(caption)
    lowered = text.lower()
    tokens = (lowered[start:end] for start, end in treebank_spans(text))
    words = " ".join(_spell(token) for token in tokens if token not in _REMOVED)
    return tuple(tidy_lower(words).split())  # coco-caption's scores, too, split tokens at spaces: a number "1 1/2"


def _spell(token: str) -> str:
    return _BRACKETS.get(token) or token.replace("(", "-lrb-").replace(")", "-rrb-")


def ngrams(tokens: Sequence[Token]) -> list[tuple[Token, ...]]:
    """All n-grams of one to four tokens, with repetitions."""
    return [
        tuple(tokens[start : start + n]) for n in range(1, LONGEST_NGRAM + 1) for start in range(len(tokens) - n + 1)
    ]
