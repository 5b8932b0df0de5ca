"""Score tokens of captions (Penn Treebank, lower case, no punctuation) and their n-grams."""

import functools
import re
from collections.abc import Hashable, Sequence
from typing import TypeVar

LONGEST_NGRAM = 4
Tokens = Sequence[Hashable]  # words or token ids
Ngram = tuple[Hashable, ...]
Token = TypeVar("Token", bound=Hashable)

# The tokens that the reference scorers' Penn Treebank tokenizer removes (coco-caption, ptbtokenizer.py), and the
# brackets as they are before it renames them.
_PUNCTUATION = frozenset(
    [
        *("''", "'", "``", "`", '"', ".", "?", "!", ",", ":", ";", "-", "--", "..."),
        *("(", ")", "{", "}", "[", "]"),
        *("-LRB-", "-RRB-", "-LCB-", "-RCB-", "-lrb-", "-rrb-", "-lcb-", "-rcb-"),
    ]
)


@functools.lru_cache(maxsize=1 << 20)  # references are tokenized for every score of every run
def score_tokens(caption: str) -> tuple[str, ...]:
    """Tokens of a raw caption for scoring: Penn Treebank, lower case, no punctuation.

    These are coco-caption's tokens (Stanford's PTBTokenizer, which needs Java) except for brackets: coco-caption keeps
    them as `-lrb-`, since its list of punctuation has them in upper case only.
    """
    from nltk.tokenize import TreebankWordTokenizer  # a second that `tfcaption.evaluate --help` need not wait for

    # An abbreviation such as "d.c." at the end keeps its full stop.
    text = re.sub(r"(?<!\S)((?:[a-z]\.){2,})\s*$", r"\1 .", caption.lower())
    tokens = TreebankWordTokenizer().tokenize(text.replace("\n", " "))
    return tuple(token for token in tokens if token not in _PUNCTUATION)


def ngrams(tokens: Sequence[Token]) -> list[tuple[Token, ...]]:
    """All n-grams of one to four tokens, with repetitions."""
    return [
        tuple(tokens[start : start + n]) for n in range(1, LONGEST_NGRAM + 1) for start in range(len(tokens) - n + 1)
    ]
