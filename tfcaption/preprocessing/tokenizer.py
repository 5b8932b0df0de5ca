"""Captions to token ids and back, in TensorFlow: one implementation for the Beam jobs, training and serving.

`Tokenizer` is that of a data set, by its vocabulary. The tokenizers, by the names that `build_records` has for them:

- `words`: captions are normalized first (`normalization`): Unicode NFKC, lower case, one apostrophe and one hyphen.
    - Apostrophes as in the Penn Treebank, GloVe and the metrics: clitics are separate words ("the dog's" -> the dog 's,
      "don't" -> do n't). Apostrophes inside other words are kept ("o'clock"); quotation marks are removed.
    - Hyphens inside a word are kept ("t-shirt"); dashes between words are removed.
    - Numbers are kept ("2", "3rd", "2.5", "1,000"); the vocabulary decides about rare ones.
    - "&" becomes "and"; all other punctuation and symbols are removed.
    - One-letter words are kept ("a" contributes much to a caption's scores).
- `unicode`: the same, but each character of a script without spaces (`normalization.SPACELESS`) is a word, with its
  combining marks, and so is each emoji. Such characters are joined to their neighbours without a space; where a caption
  had one there, it is lost.
- `wordpiece`: the words of `unicode`, and these in pieces (`wordpieces`) that are joined again.
- `sentencepiece`: pieces of the caption as it is written, by the user's model (`sentencepieces`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf
import tensorflow_text as tf_text

from tfcaption.preprocessing.normalization import (
    AFTER_LOWER,
    AFTER_NFKC,
    AFTER_NFKC_EMOJI,
    BEFORE_NFKC,
    BEFORE_NFKC_EMOJI,
    EMOJI,
    JOINERS,
    SPACELESS,
    Rewrites,
)
from tfcaption.preprocessing.sentencepieces import join_sentencepieces, split_into_sentencepieces, text_of_pieces
from tfcaption.preprocessing.word_patterns import CLITICS, WORD, WORD_REWRITES
from tfcaption.preprocessing.wordpieces import split_into_pieces
from tfcaption.records.vocabulary import (
    BEGUN,
    CONTINUED,
    END,
    PAD,
    SENTENCEPIECE,
    SPECIAL_TOKENS,
    START,
    UNICODE,
    WORDPIECE,
    WORDS,
    Vocabulary,
    encode_words,
    kind_of,
    word_index,
)

_JOINED = ((rf" ('(?:{CLITICS})|n't)\b", r"\1"),)  # clitics, with their words
_SPACELESS_CHARACTER = rf"[{SPACELESS}][\p{{M}}{JOINERS}]*"  # with its combining marks
_JOIN_SPACELESS = (
    (f" ([{SPACELESS}])", r"\1"),
    (f"({_SPACELESS_CHARACTER}) ", r"\1"),
)


def normalize_in_graph(captions: tf.Tensor, *, emoji: bool = False) -> tf.Tensor:
    """Captions in the spelling of `normalization` and in lower case: (batch,) string -> (batch,) string.

    Args:
        captions: UTF-8.
        emoji: whether emoji are kept.
    """
    before, after = (BEFORE_NFKC_EMOJI, AFTER_NFKC_EMOJI) if emoji else (BEFORE_NFKC, AFTER_NFKC)
    text = _rewrite(tf_text.normalize_utf8(_rewrite(captions, before), "NFKC"), after)
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
    return _matches(_rewrite(normalize_in_graph(captions), WORD_REWRITES), WORD)


def detokenize(words: tf.RaggedTensor) -> tf.Tensor:
    """Join words with spaces, and clitics with their words: the dog 's -> "the dog's".

    Args:
        words: (batch, words) ragged string.

    Returns:
        (batch,) string; `tokenize` splits it into the words again.
    """
    text = tf.strings.reduce_join(words, axis=-1, separator=" ")
    return _rewrite(text, _JOINED)


def _tokenize_unicode(captions: tf.Tensor) -> tf.RaggedTensor:
    """As `tokenize`, by the rules of `unicode`."""
    text = _rewrite(normalize_in_graph(captions, emoji=True), WORD_REWRITES)
    # A number, a run of letters and a clitic end at a space, and so at such a character.
    return _matches(tf.strings.regex_replace(text, _SPACELESS_CHARACTER, r" \0 "), f"{WORD}|{EMOJI}")


def _detokenize_unicode(words: tf.RaggedTensor) -> tf.Tensor:
    """As `detokenize`, by the rules of `unicode`."""
    return _rewrite(detokenize(words), _JOIN_SPACELESS)


def _matches(text: tf.Tensor, pattern: str) -> tf.RaggedTensor:
    """All matches of an RE2 pattern: (batch,) string -> (batch, matches) ragged string."""
    # Every match and every other character is a "delimiter"; only the matches are kept.
    return tf_text.regex_split(text, rf"{pattern}|(?s:.)", keep_delim_regex_pattern=pattern)


def _rewrite(text: tf.Tensor, rewrites: Rewrites) -> tf.Tensor:
    for pattern, replacement in rewrites:
        text = tf.strings.regex_replace(text, pattern, replacement)
    return text


def _detokenize_pieces(pieces: tf.RaggedTensor) -> tf.Tensor:
    """As `detokenize`, of the pieces of `wordpiece`."""
    text = tf.strings.reduce_join(pieces, axis=-1, separator=" ")
    return _rewrite(text, ((f"(^| ){CONTINUED}", ""), *_JOINED, *_JOIN_SPACELESS))


class _Rules(NamedTuple):
    """How one kind of tokenizer splits captions, and joins what it split."""

    split: Callable[[tf.Tensor, bytes], tf.RaggedTensor]  # (batch,) string, model -> (batch, words) ragged string
    join: Callable[[tf.RaggedTensor], tf.Tensor]  # with core TensorFlow alone, since exports hold it
    mark: str = ""  # what begins some tokens and is no part of the text
    texts: Callable[[list[str]], Sequence[str | bytes]] = list  # of the tokens, as `join` takes them


_RULES = {
    WORDS: _Rules(lambda captions, _: tokenize(captions), detokenize),
    UNICODE: _Rules(lambda captions, _: _tokenize_unicode(captions), _detokenize_unicode),
    WORDPIECE: _Rules(lambda captions, _: _tokenize_unicode(captions), _detokenize_pieces, CONTINUED),
    SENTENCEPIECE: _Rules(split_into_sentencepieces, join_sentencepieces, BEGUN, text_of_pieces),
}


def split_words(captions: Sequence[str], tokenizer: str = WORDS, model: bytes = b"") -> list[list[str]]:
    """The words of each caption, or its pieces by SentencePiece, as Python strings.

    Args:
        captions: raw.
        tokenizer: as `RecordSettings.tokenizer` names it.
        model: the content of its model file, if it has one.

    Raises:
        UsageError: the model cannot be read.
    """
    words = _RULES[kind_of(tokenizer)].split(tf.constant(captions, tf.string), model)
    return [[word.decode() for word in caption] for caption in words.to_list()]


class Tokenizer:
    """Captions to token ids and back, for the vocabulary of a data set; decodes in eager code, graphs and SavedModels.

    Args:
        vocabulary: of the data set.

    Raises:
        ValueError: the vocabulary does not begin with the special tokens.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        words = vocabulary.words
        if tuple(words[: len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
            raise ValueError(f"a vocabulary must begin with {' '.join(SPECIAL_TOKENS)}, not with {words[:4]}")
        self._vocabulary, self._rules = vocabulary, _RULES[vocabulary.kind]
        self._texts = tf.constant(self._rules.texts(words), tf.string)
        self._shown = tf.constant([word.removeprefix(self._rules.mark) for word in words])

    def encode(self, captions: Sequence[str], *, max_words: int) -> list[list[int]]:
        """Token ids of raw captions: <start>, those of at most `max_words` words, <end>; see `encode_words`."""
        split = split_words(captions, self._vocabulary.tokenizer, self._vocabulary.model)
        index = self._index(sorted({word for words in split for word in words}))
        return [encode_words(words, index, max_words)[0] for words in split]

    def split(self, captions: Sequence[str]) -> list[list[str]]:
        """The tokens of each raw caption as text: words whether in the vocabulary or not, or pieces."""
        split = split_words(captions, self._vocabulary.tokenizer, self._vocabulary.model)
        if self._vocabulary.kind != WORDPIECE:
            return split
        index = self._index(sorted({word for words in split for word in words}))
        return [[self._vocabulary.words[token] for word in words for token in index[word]] for words in split]

    def _index(self, words: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """Word -> its tokens, of all words that have tokens or of these."""
        if self._vocabulary.kind != WORDPIECE:
            return word_index(self._vocabulary.words)
        return dict(zip(words, split_into_pieces(words, self._vocabulary.words), strict=True))

    def decode(self, tokens: tf.Tensor) -> tf.Tensor:
        """Captions from the token ids before the first <end>, without <pad> and <start>.

        Args:
            tokens: (..., time) int.

        Returns:
            (...) string.
        """
        keep = self._is_word(tokens)
        shape = tf.shape(tokens)
        words, keep = (tf.reshape(values, (-1, shape[-1])) for values in (tf.gather(self._texts, tokens), keep))
        return tf.reshape(self._rules.join(tf.ragged.boolean_mask(words, keep)), shape[:-1])

    def decode_each(self, tokens: tf.Tensor) -> tf.Tensor:
        """The text of each token id: (..., time) int -> (..., time) string, empty where `decode` drops the token."""
        return tf.where(self._is_word(tokens), tf.gather(self._shown, tokens), "")

    def _is_word(self, tokens: tf.Tensor) -> tf.Tensor:
        """Whether tokens belong to the caption: (..., time) int -> (..., time) bool."""
        before_end = tf.cumsum(tf.cast(tokens == END, tf.int32), axis=-1) == 0
        return before_end & (tokens != PAD) & (tokens != START)
