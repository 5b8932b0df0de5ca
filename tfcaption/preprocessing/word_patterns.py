"""What a word is: the patterns of `words`, for RE2 in TensorFlow and for `regex` in Python.

They are for text in the spelling of `normalization` and in lower case.
"""

from tfcaption.preprocessing.normalization import CHARACTER, NO_CHARACTER, Rewrites

CLITICS = "s|m|d|re|ve|ll"
_END = r"\b([\x00-\x7f]|$)"  # RE2's \b alone is also between an ASCII letter and another one
_PART_CLITICS = (
    (rf"({CHARACTER})n't{_END}", r"\1 n't\2"),
    (rf"({CHARACTER})'({CLITICS}){_END}", r"\1 '\2\3"),
)
WORD_REWRITES: Rewrites = (  # in this order
    ("`", "'"),
    ("&", " and "),
    (rf"(^|{NO_CHARACTER})'((?:{CLITICS})[^\x00-\x7f])", r"\1\2"),  # a quotation mark: 'Málaga'
    *_PART_CLITICS,
    *_PART_CLITICS,  # again: matches do not overlap, so one pass leaves the second clitic of "who'd've"
)
WORD = "|".join(
    (
        r"\p{N}+(?:[.,]\p{N}+)+",  # a number with separators
        rf"{CHARACTER}+(?:['-]{CHARACTER}+)*",
        rf"'(?:{CLITICS})\b",  # a clitic, separated from its word above
    )
)
"""A word; all between the matches is none."""
