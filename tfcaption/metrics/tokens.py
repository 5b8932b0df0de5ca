"""Score tokens of captions (Penn Treebank, lower case, no punctuation) and their n-grams."""

import functools
from collections.abc import Hashable, Sequence
from typing import TypeVar

import regex

from tfcaption.preprocessing.normalization import normalize, tidy_lower

LONGEST_NGRAM = 4
Tokens = Sequence[Hashable]  # words or token ids
Ngram = tuple[Hashable, ...]
Token = TypeVar("Token", bound=Hashable)

# coco-caption's list (ptbtokenizer.py) without its brackets: they are in upper case, so that it removes none.
_REMOVED = frozenset(("''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"))
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}

# Where coco-caption's tokenizer differs from NLTK's, as its output shows for captions.
_ABBREVIATIONS = (
    r"ave|blvd|capt|co|col|corp|dept|dr|etc|gen|gov|inc|jr|lt|ltd|mr|mrs|ms|mt|ph\.d|prof|rd|rev|sen|sgt|sr|st|vs|"
    "jan|feb|aug|sept|oct|nov|dec"
)
_WHOLE = regex.compile(  # one token each
    rf"""(
        (?:https?://|www\.)[^\s<>()"]*[\w/]
        | [\w.+-]{{0,64}}@\w+(?:[.-]\w+)*  # mail address or @name
        | \#[a-z]\w*
        | </?[a-z]+/?>  # as <unk>
        | (?<!\w)(?-i:[A-Z]{{1,2}}&[A-Z]{{1,2}})(?:-\d+)?(?!\w)  # AT&T, but not at&t
        | [:;]-?[()dp](?!\w)  # smiley
        | [?!]{{2,}}
        | 'n'
        | (?<![\w.'-])(?:(?:[a-z]\.)+|(?:{_ABBREVIATIONS})\.)(?!\w)  # U.S., P. or Mr.
    )""",
    regex.VERBOSE | regex.IGNORECASE,
)
_BETWEEN = regex.compile(  # becomes a space, in lower case
    r"""["`] | \.{2,} | \.(?!\w)
        | (?<!\w)-(?!\d) | -(?!\w) | (?<='s)-  # x-ray and -5 keep theirs
        | (?<=-[a-z]+)\.(?=[a-z])  # mid-air.A dog
        | (?<=\d)'(?=\d)  # 5'10"
        | (?<=:\d\d)(?=[ap]m(?!\w))  # 10:30pm
        | (?<!\w)'(?!(?:[sdmnt]|re|ve|ll|em|cause|til|tis|twas)(?!\w))(?=[a-z])  # 'slide, but not 's
    """,
    regex.VERBOSE,
)
_SYMBOLS = regex.compile(r"[=~|\\*]|(?<!\+)\+(?![\d+])|(?<!\w)/|/(?!\w)")


@functools.lru_cache(maxsize=1 << 20)  # references are tokenized for every score of every run
def score_tokens(caption: str) -> tuple[str, ...]:
    """Tokens of a raw caption for scoring: Penn Treebank, lower case, no punctuation.

    These are coco-caption's tokens (Stanford's PTBTokenizer, which needs Java), but for rare ones named in
    docs/internals.md, of a caption that is first normalized as it is for training: punctuation beyond ASCII makes no
    difference. As in coco-caption brackets count, as `-lrb-`: its list of punctuation has them in upper case only.
    """
    return tuple(token for word in normalize(caption).split() for token in _word_tokens(word))


@functools.lru_cache(maxsize=1 << 18)  # captions share most of their words
def _word_tokens(word: str) -> tuple[str, ...]:
    """Tokens of a part of a caption without spaces."""
    from nltk.tokenize import TreebankWordTokenizer  # a second that `tfcaption.evaluate --help` need not wait for

    tokens: list[str] = []
    for place, part in enumerate(_WHOLE.split(word)):
        part = tidy_lower(part.lower())
        if place % 2:
            tokens.append("".join(_BRACKETS.get(character, character) for character in part))
        else:
            split = TreebankWordTokenizer().tokenize(_SYMBOLS.sub(r" \g<0> ", _BETWEEN.sub(" ", part)))
            tokens += (_BRACKETS.get(token, token) for token in split if token not in _REMOVED)
    return tuple(tokens)


def ngrams(tokens: Sequence[Token]) -> list[tuple[Token, ...]]:
    """All n-grams of one to four tokens, with repetitions."""
    return [
        tuple(tokens[start : start + n]) for n in range(1, LONGEST_NGRAM + 1) for start in range(len(tokens) - n + 1)
    ]
