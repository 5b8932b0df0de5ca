"""Captions to token ids and back, in TensorFlow: one implementation for the Beam jobs, training and serving.

The rules of tokenization:

- Captions are normalized first (`normalization`): Unicode NFKC, lower case, one apostrophe and one hyphen.
- Apostrophes as in the Penn Treebank, GloVe and the metrics: clitics are separate words ("the dog's" -> the dog 's,
  "don't" -> do n't). Apostrophes inside other words are kept ("o'clock"); quotation marks are removed.
- Hyphens inside a word are kept ("t-shirt"); dashes between words are removed.
- Numbers are kept ("2", "3rd", "2.5", "1,000"); the vocabulary decides about rare ones.
- "&" becomes "and"; all other punctuation and symbols are removed.
- One-letter words are kept ("a" contributes much to a caption's scores).
"""

from collections.abc import Sequence

import tensorflow as tf
import tensorflow_text as tf_text

from tfcaption.preprocessing.normalization import (
    AFTER_LOWER,
    AFTER_NFKC,
    BEFORE_NFKC,
    CHARACTER,
    NO_CHARACTER,
    Rewrites,
)
from tfcaption.records.vocabulary import END, OOV, PAD, SPECIAL_TOKENS, START

_CLITICS = "s|m|d|re|ve|ll"
_END = r"\b([\x00-\x7f]|$)"  # RE2's \b alone is also between an ASCII letter and another one
_PART_CLITICS = (
    (rf"({CHARACTER})n't{_END}", r"\1 n't\2"),
    (rf"({CHARACTER})'({_CLITICS}){_END}", r"\1 '\2\3"),
)
_REWRITES = (  # (RE2 pattern, rewrite), in this order
    ("`", "'"),
    ("&", " and "),
    (rf"(^|{NO_CHARACTER})'((?:{_CLITICS})[^\x00-\x7f])", r"\1\2"),  # a quotation mark: 'Málaga'
    *_PART_CLITICS,
    *_PART_CLITICS,  # again: matches do not overlap, so one pass leaves the second clitic of "who'd've"
)
_WORD = "|".join(
    (
        r"\p{N}+(?:[.,]\p{N}+)+",  # a number with separators
        rf"{CHARACTER}+(?:['-]{CHARACTER}+)*",
        rf"'(?:{_CLITICS})\b",  # a clitic, separated from its word above
    )
)
_CLITIC = rf" ('(?:{_CLITICS})|n't)\b"


def normalize_in_graph(captions: tf.Tensor) -> tf.Tensor:
    """Captions in the spelling of `normalization` and in lower case: (batch,) string -> (batch,) string."""
    text = _rewrite(tf_text.normalize_utf8(_rewrite(captions, BEFORE_NFKC), "NFKC"), AFTER_NFKC)
    # ASCII first: the other one goes by the language of the process, and "I" is "ı" in a Turkish one.
    text = tf.strings.lower(tf.strings.lower(text), encoding="utf-8")
    return tf_text.normalize_utf8(_rewrite(text, AFTER_LOWER), "NFC")


def tokenize(captions: tf.Tensor) -> tf.RaggedTensor:
    """Split captions into words.

    Args:
        captions: (batch,) string, UTF-8.

    Returns:
        (batch, words) ragged string.
    """
    text = _rewrite(normalize_in_graph(captions), _REWRITES)
    # Every word and every other character is a "delimiter"; only the words are kept.
    return tf_text.regex_split(text, rf"{_WORD}|(?s:.)", keep_delim_regex_pattern=_WORD)


def _rewrite(text: tf.Tensor, rewrites: Rewrites) -> tf.Tensor:
    for pattern, replacement in rewrites:
        text = tf.strings.regex_replace(text, pattern, replacement)
    return text


def split_words(captions: Sequence[str]) -> list[list[str]]:
    """The words of each caption, as Python strings."""
    return [[word.decode() for word in words] for words in tokenize(tf.constant(captions, tf.string)).to_list()]


def detokenize(words: tf.RaggedTensor) -> tf.Tensor:
    """Join words with spaces, and clitics with their words: the dog 's -> "the dog's".

    Args:
        words: (batch, words) ragged string.

    Returns:
        (batch,) string; `tokenize` splits it into the words again.
    """
    text = tf.strings.reduce_join(words, axis=-1, separator=" ")
    return tf.strings.regex_replace(text, _CLITIC, r"\1")


class Vocabulary:
    """Words and their token ids, as lookup tables for eager code, graphs and SavedModels.

    Args:
        words: all words in the order of their ids, the special tokens first.
    """

    def __init__(self, words: Sequence[str]) -> None:
        if tuple(words[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
            raise ValueError(f"a vocabulary must begin with {' '.join(SPECIAL_TOKENS)}, not with {words[:4]}")
        self.words = list(words)
        keys = tf.constant(self.words[len(SPECIAL_TOKENS) :], tf.string)
        ids = tf.range(len(SPECIAL_TOKENS), len(self.words), dtype=tf.int64)
        # Special tokens have no key, so that "<end>" or "<pad>" in a caption has no special meaning.
        self._table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, ids), OOV)
        self._words = tf.constant(self.words)

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, captions: tf.Tensor, *, max_words: int) -> tf.RaggedTensor:
        """Token ids of captions: <start>, at most `max_words` words, <end>.

        Args:
            captions: (batch,) string, raw.
            max_words: longer captions are truncated before <end>.

        Returns:
            (batch, tokens) ragged int64.
        """
        ids = self._table[tokenize(captions)[:, :max_words]]
        edge = tf.ones_like(captions, tf.int64)[:, None]
        return tf.concat([edge * START, ids, edge * END], axis=1)

    def decode(self, tokens: tf.Tensor) -> tf.Tensor:
        """Captions from the token ids before the first <end>, without <pad> and <start>.

        Args:
            tokens: (..., time) int.

        Returns:
            (...) string.
        """
        keep = self._is_word(tokens)
        shape = tf.shape(tokens)
        words, keep = (tf.reshape(values, (-1, shape[-1])) for values in (tf.gather(self._words, tokens), keep))
        return tf.reshape(detokenize(tf.ragged.boolean_mask(words, keep)), shape[:-1])

    def decode_each(self, tokens: tf.Tensor) -> tf.Tensor:
        """The word of each token id: (..., time) int -> (..., time) string, empty where `decode` drops the token."""
        return tf.where(self._is_word(tokens), tf.gather(self._words, tokens), "")

    def _is_word(self, tokens: tf.Tensor) -> tf.Tensor:
        """Whether tokens belong to the caption: (..., time) int -> (..., time) bool."""
        before_end = tf.cumsum(tf.cast(tokens == END, tf.int32), axis=-1) == 0
        return before_end & (tokens != PAD) & (tokens != START)
