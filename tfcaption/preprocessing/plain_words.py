"""The words of captions in Latin letters by the rules of `words`, without TensorFlow.

A Beam worker that tokenizes such captions alone then starts at once and needs no memory for TensorFlow. Characters
whose Unicode data may differ between Python and TensorFlow are left to `tokenizer`.
"""

import re

import regex

from tfcaption.preprocessing.normalization import normalize, rewrite, tidy_lower
from tfcaption.preprocessing.word_patterns import WORD, WORD_REWRITES

_LETTERS_ALONE = re.compile(r'[A-Za-z .,;:!?"()]*')  # most captions in English, in a fifth of the time
_PLAIN = regex.compile("[\x00-\u0233\u0300-\u034e\u2010-\u2027]*")  # Latin letters, accents, quotation marks, dashes
# RE2's \b knows ASCII letters only.
_WORD = regex.compile(WORD.replace(r"\b", r"(?a:\b)"))
_REWRITES = tuple((pattern.replace(r"\b", r"(?a:\b)"), replacement) for pattern, replacement in WORD_REWRITES)


def plain_words(caption: str) -> list[str] | None:
    """What `tokenizer.tokenize` gives for a caption; None for captions with other characters."""
    if _LETTERS_ALONE.fullmatch(caption):
        return re.findall("[a-z]+", caption.lower())
    if not _PLAIN.fullmatch(caption):
        return None
    text = tidy_lower(normalize(caption).lower())
    return _WORD.findall(rewrite(text, _REWRITES))
