"""SentencePiece (Kudo and Richardson 2018, arXiv:1808.06226): pieces of captions by a model that the user brings.

Captions are split by TensorFlow Text, as they are written but for line breaks: the model has its own normalization.
Pieces are joined by TensorFlow alone.
"""

import re
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_text as tf_text

from tfcaption.records.vocabulary import BEGUN, OOV, SPECIAL_TOKENS
from tfcaption.runtime.errors import UsageError

_UNKNOWN = "\ue000"  # of private use, so no piece
_BYTE = re.compile("<0x([0-9A-F]{2})>")  # a piece for one byte of a character that has no piece


def split_into_sentencepieces(captions: tf.Tensor, model: bytes) -> tf.RaggedTensor:
    """The pieces of raw captions: (batch,) string -> (batch, pieces) ragged string, `<oov>` for what has no piece.

    Raises:
        UsageError: the model cannot be read.
    """
    try:
        tokenizer = tf_text.SentencepieceTokenizer(model, out_type=tf.int32)
        unknown = tokenizer.string_to_id(_UNKNOWN)
    except tf.errors.OpError as error:
        raise UsageError("--tokenizer sentencepiece: the file is no SentencePiece model") from error
    # A piece with a line break would be two lines of `vocabulary.txt`, and move the ids of all pieces after it.
    ids = tokenizer.tokenize(tf.strings.regex_replace(captions, r"[\r\n]", " "))
    return ids.with_flat_values(
        tf.where(ids.flat_values == unknown, SPECIAL_TOKENS[OOV], tokenizer.id_to_string(ids.flat_values))
    )


def text_of_pieces(pieces: Sequence[str]) -> list[bytes]:
    """What each piece adds to the text, for `join_sentencepieces`."""
    texts = [bytes([int(found[1], 16)]) if (found := _BYTE.fullmatch(piece)) else piece.encode() for piece in pieces]
    return [BEGUN.encode() + text if token == OOV else text for token, text in enumerate(texts)]


def join_sentencepieces(texts: tf.RaggedTensor) -> tf.Tensor:
    """Captions from the texts of their pieces: (batch, pieces) ragged string -> (batch,) string."""
    joined = tf.strings.reduce_join(texts, axis=-1)
    whole = tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8")  # a model may say some bytes of a character only
    return tf.strings.strip(tf.strings.regex_replace(whole, f"{BEGUN}+", " "))
