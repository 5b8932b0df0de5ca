"""WordPiece (Schuster and Nakajima 2012): pieces that are learnt from counted words, and words split into them.

Both are TensorFlow Text's own: its learner and its `FastWordpieceTokenizer` (Song et al. 2021, arXiv:2012.15524).
"""

from collections.abc import Mapping, Sequence

import tensorflow as tf
import tensorflow_text as tf_text
from tensorflow_text.tools.wordpiece_vocab import wordpiece_tokenizer_learner_lib as learner

from tfcaption.records.vocabulary import CONTINUED, OOV, SPECIAL_TOKENS

_SLACK = 0.1  # the learner finds a threshold of counts, not a size


def learn_pieces(word_counts: Mapping[str, int], *, size: int, min_count: int) -> list[str]:
    """The pieces of words, the special tokens first.

    Every character of the words is a piece, so that all their spellings have pieces. Of more than `size / 4` different
    characters the rarest are left out, and with them all words that have them.

    Args:
        word_counts: of the training split.
        size: the most tokens.
        min_count: the least count of a piece of more than one character.

    Returns:
        At most `size` tokens; a piece that continues a word begins with `##`.
    """
    counts = sorted((word, count) for word, count in word_counts.items() if count)
    if not counts:
        return list(SPECIAL_TOKENS)
    by_rank = sorted((count for _, count in counts), reverse=True)
    learnt = learner.learn(
        counts,
        round(size * (1 + _SLACK)),
        list(SPECIAL_TOKENS),
        # There are more pieces than words of that count; the learner tries all thresholds below, seconds for each.
        upper_thresh=by_rank[min(size // 4, len(by_rank) - 1)],
        lower_thresh=min_count,
        max_unique_chars=size // 4,
        slack_ratio=_SLACK,
        joiner=CONTINUED,
    )
    pieces = learnt[len(SPECIAL_TOKENS) :]  # by falling count, but for characters
    characters = {piece for piece in pieces if len(piece.removeprefix(CONTINUED)) == 1}
    longer = [piece for piece in pieces if piece not in characters]
    kept = characters.union(longer[: max(size - len(SPECIAL_TOKENS) - len(characters), 0)])
    return [*SPECIAL_TOKENS, *(piece for piece in pieces if piece in kept)]


def split_into_pieces(words: Sequence[str], vocabulary: Sequence[str]) -> list[list[int]]:
    """Token ids of the pieces of each word, the longest first; <oov> for a word that has none, or over 100 bytes.

    Args:
        words: without spaces.
        vocabulary: as `learn_pieces` returns it.
    """
    tokenizer = tf_text.FastWordpieceTokenizer(
        list(vocabulary),
        suffix_indicator=CONTINUED,
        token_out_type=tf.int32,
        unknown_token=SPECIAL_TOKENS[OOV],
        no_pretokenization=True,
    )
    ids: list[list[int]] = tokenizer.tokenize(tf.constant(words, tf.string)).to_list()
    return ids
