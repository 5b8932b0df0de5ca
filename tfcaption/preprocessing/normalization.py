"""One spelling of caption text, for words (`tokenizer`, in TensorFlow) and for scores (`metrics.tokens`, in Python).

Both apply the same tables: `BEFORE_NFKC`, Unicode NFKC, `AFTER_NFKC`, lower case, `AFTER_LOWER`, Unicode NFC. After
that every character beyond ASCII belongs to a word. ASCII text changes only in case, and where it holds one of HTML's
common character references.

Imports no TensorFlow.
"""

import functools
import unicodedata

import regex

JOINERS = "\u200c\u200d"  # zero width non-joiner and joiner: parts of words in the scripts of India and Sri Lanka
_OF_WORDS = rf"\p{{L}}\p{{M}}\p{{N}}{JOINERS}"
CHARACTER, NO_CHARACTER = f"[{_OF_WORDS}]", f"[^{_OF_WORDS}]"
"""Characters of words and all others, as classes for RE2 and `regex`."""

SPACELESS = (
    r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}\p{Javanese}\p{Balinese}"
    r"\p{Tai_Tham}\p{New_Tai_Lue}\p{Tai_Le}\p{Tai_Viet}ー"
)
"""Scripts that put no spaces between words (Korean does), as the inside of a class for RE2 and `regex`."""

_MARK = rf"[\p{{M}}{JOINERS}]"
_SYMBOL_OF_LETTERS = "℃℉№㉐-㏿"  # NFKC makes words of them: ㎏ -> kg
_TEXT = rf"\x00-\x7f{_OF_WORDS}⁄"  # all but punctuation, symbols and spaces beyond ASCII

Rewrites = tuple[tuple[str, str], ...]

# (pattern, rewrite), in this order. The patterns mean the same to RE2 and to `regex`.
BEFORE_NFKC: Rewrites = (
    ("&quot;", '"'),
    ("&(?:apos|#39|#x27);", "'"),
    ("&lt;", " < "),
    ("&gt;", " > "),
    ("&(?:nbsp|mdash|ndash);", " "),
    ("&amp;", "&"),
    # Characters that are not seen: soft hyphen, word joiner, byte order mark, enclosing marks, variation selectors.
    ("[\u00ad\u2060\ufeff\\p{Me}\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]", ""),
    ("[’‘‛ʼʻ´′׳＇Ꞌꞌ]", "'"),
    ("[‐‑־֊]", "-"),  # other dashes separate words
    (f"([¼½¾⅐-⅞{_SYMBOL_OF_LETTERS}])", r" \1 "),  # NFKC alone makes 21⁄2 of 2½
    (f"[^{_TEXT}{_SYMBOL_OF_LETTERS}]", " "),
)
AFTER_NFKC: Rewrites = (
    (f"[^{_TEXT}]", " "),  # the degree of ℃
    ("⁄", "/"),
    ("İ", "I"),
    ("(\\p{Arabic}\\p{M}*)\u200c+", r"\1 "),  # Persian prefixes and suffixes
    (rf"(^|{NO_CHARACTER}){_MARK}+", r"\1"),  # marks without a letter
)
AFTER_LOWER: Rewrites = (("([ijį])\u0307", r"\1"),)  # the dot of i̇, as lower case of İ or beside other accents


def normalize(caption: str) -> str:
    """A caption in the spelling of this module, before lower case; `normalize(caption).lower()` has equal length."""
    if caption.isascii() and "&" not in caption:
        return caption
    return rewrite(unicodedata.normalize("NFKC", rewrite(caption, BEFORE_NFKC)), AFTER_NFKC)


def tidy_lower(text: str) -> str:
    """The last steps, for text of `normalize` that is in lower case already."""
    return text if text.isascii() else unicodedata.normalize("NFC", rewrite(text, AFTER_LOWER))


def rewrite(text: str, rewrites: Rewrites) -> str:
    """Apply rewrites to text, in their order."""
    for pattern, replacement in rewrites:
        text = _compile(pattern).sub(replacement, text)
    return text


@functools.cache
def _compile(pattern: str) -> "regex.Pattern[str]":
    return regex.compile(pattern)
