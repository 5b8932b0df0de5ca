"""One spelling of caption text, for words (`tokenizer`, in TensorFlow) and for scores (`metrics.tokens`, in Python).

Both apply the same tables: `BEFORE_NFKC`, Unicode NFKC, `AFTER_NFKC`, lower case, `AFTER_LOWER`, Unicode NFC. After
that every character beyond ASCII belongs to a word. ASCII text changes only in case, and where it holds one of HTML's
common character references. `BEFORE_NFKC_EMOJI` and `AFTER_NFKC_EMOJI` are the same tables for tokenizers that keep
emoji.

Imports no TensorFlow.
"""

import functools
import unicodedata
from collections.abc import Sequence

import regex

JOINERS = "\u200c\u200d"  # zero width non-joiner and joiner: parts of words in the scripts of India and Sri Lanka
_OF_WORDS = rf"\p{{L}}\p{{M}}\p{{N}}{JOINERS}"
CHARACTER, NO_CHARACTER = f"[{_OF_WORDS}]", f"[^{_OF_WORDS}]"
"""Characters of words and all others, as classes for RE2 and `regex`."""

_EAST_ASIAN = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Yi}ー〆〼"  # with the signs that they share
SPACELESS = (
    rf"{_EAST_ASIAN}\p{{Thai}}\p{{Lao}}\p{{Khmer}}\p{{Myanmar}}\p{{Javanese}}\p{{Balinese}}"
    r"\p{Tai_Tham}\p{New_Tai_Lue}\p{Tai_Le}\p{Tai_Viet}"
)
"""Scripts that put no spaces between words (Korean does), as the inside of a class for RE2 and `regex`.

Tibetan is not among them: it marks the end of each syllable, and these marks become spaces."""

_MARK = rf"[\p{{M}}{JOINERS}]"
_SYMBOL_OF_LETTERS = "℃℉№㉐-㏿"  # NFKC makes words of them: ㎏ -> kg
_TEXT = rf"\x00-\x7f{_OF_WORDS}⁄"  # all but punctuation, symbols and spaces beyond ASCII

# Longer than a word of these scripts in captions that have spaces between words.
_RUN = rf"[{_EAST_ASIAN}]{{7,}}|[{SPACELESS}\p{{M}}]{{21,}}"

# Emoji by their blocks, without those that NFKC turns into letters; variation selectors are removed as everywhere.
_PICTURES = "⌚⌛⌨⏏⏩-⏺☀-➿⬅-⬇⬛⬜⭐⭕\U0001f000-\U0001f0ff\U0001f300-\U0001faff"
_OF_FLAGS = "\U0001f1e6-\U0001f1ff"  # two of them are a flag
_PICTURE = f"[{_PICTURES}][\U0001f3fb-\U0001f3ff]*"  # with its skin tone
EMOJI = f"[{_OF_FLAGS}]{{1,2}}|{_PICTURE}(?:\u200d{_PICTURE})*"
"""One emoji as people see it, for RE2 and `regex`: a flag, or several joined."""
_JOINED = "\ue000"  # stands for the joiner between two emoji; captions have no characters of private use any more

Rewrites = tuple[tuple[str, str], ...]


def _before_nfkc(kept: str) -> Rewrites:
    """(pattern, rewrite), in this order. The patterns mean the same to RE2 and to `regex`.

    Args:
        kept: symbols beyond ASCII that are not replaced by spaces, as part of a class.
    """
    return (
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
        (f"[^{_TEXT}{_SYMBOL_OF_LETTERS}{kept}]", " "),
    )


def _after_nfkc(kept: str) -> Rewrites:
    join = ((f"({_PICTURE})\u200d([{_PICTURES}])", rf"\1{_JOINED}\2"),) if kept else ()
    return (
        (f"[^{_TEXT}{kept}]", " "),  # the degree of ℃
        ("⁄", "/"),
        ("İ", "I"),
        ("(\\p{Arabic}\\p{M}*)\u200c+", r"\1 "),  # Persian prefixes and suffixes
        *join,
        *join,  # again: matches do not overlap, so one pass leaves the second joiner of three emoji
        (rf"(^|{NO_CHARACTER}){_MARK}+", r"\1"),  # marks without a letter
        *(((_JOINED, "\u200d"),) if kept else ()),
    )


BEFORE_NFKC, AFTER_NFKC = _before_nfkc(""), _after_nfkc("")
BEFORE_NFKC_EMOJI, AFTER_NFKC_EMOJI = (table(_PICTURES + _OF_FLAGS) for table in (_before_nfkc, _after_nfkc))
AFTER_LOWER: Rewrites = (("([ijį])\u0307", r"\1"),)  # the dot of i̇, as lower case of İ or beside other accents


def normalize(caption: str) -> str:
    """A caption in the spelling of this module, before lower case; `normalize(caption).lower()` has equal length."""
    if caption.isascii() and "&" not in caption:
        return caption
    return rewrite(unicodedata.normalize("NFKC", rewrite(caption, BEFORE_NFKC)), AFTER_NFKC)


def tidy_lower(text: str) -> str:
    """The last steps, for text of `normalize` that is in lower case already."""
    return text if text.isascii() else unicodedata.normalize("NFC", rewrite(text, AFTER_LOWER))


def lacks_spaces(words: Sequence[str]) -> bool:
    """Whether most words of a caption are long runs of characters of scripts without spaces, so several words each.

    Long are more than 6 characters of Chinese and Japanese, and more than 20 of Thai, Khmer and others.
    """
    if "".join(words).isascii():
        return False
    runs = sum(len(word) > 6 and bool(_compile(_RUN).search(word)) for word in words)
    return 2 * runs > len(words)


def rewrite(text: str, rewrites: Rewrites) -> str:
    """Apply rewrites to text, in their order."""
    for pattern, replacement in rewrites:
        text = _compile(pattern).sub(replacement, text)
    return text


@functools.cache
def _compile(pattern: str) -> "regex.Pattern[str]":
    return regex.compile(pattern)
