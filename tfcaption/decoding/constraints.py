"""Which tokens may come next: banned ones, the end of a caption that is too short, repeated n-grams."""

import tensorflow as tf

from tfcaption.decoding.hypotheses import NEG_INF
from tfcaption.models.captioner import banned_token_mask
from tfcaption.records.vocabulary import END, PAD


def allowed_logits(
    logits: tf.Tensor, tokens: tf.Tensor, time: tf.Tensor, *, min_tokens: int, no_repeat_ngram: int
) -> tf.Tensor:
    """Logits with -inf for each token that must not come next.

    Args:
        logits: (hypotheses, vocabulary) float32.
        tokens: (hypotheses, max_tokens) int32.
        time: () int32, number of tokens chosen so far.
        min_tokens: <end> is not allowed before so many tokens, itself included.
        no_repeat_ngram: no n-gram of this length may occur twice; 0 allows repeats.

    Returns:
        (hypotheses, vocabulary) float32. Where all else is ruled out <end> is allowed, however short the caption is.
    """
    mask = banned_token_mask(logits.shape[-1])
    if min_tokens > 1:
        without_end = mask + banned_token_mask(logits.shape[-1], tokens=(END,))
        mask = tf.where(time + 1 < min_tokens, without_end, mask)
    allowed = logits + mask
    if not no_repeat_ngram:
        return allowed
    allowed = mask_repeated_ngrams(allowed, tokens, time, no_repeat_ngram)
    if min_tokens <= 1:
        return allowed  # <end> always is
    is_end = tf.range(logits.shape[-1]) == END
    nothing_left = tf.reduce_max(allowed, -1, keepdims=True) <= NEG_INF
    return tf.where(nothing_left & is_end, logits, allowed)


def mask_repeated_ngrams(logits: tf.Tensor, tokens: tf.Tensor, time: tf.Tensor, length: int) -> tf.Tensor:
    """Logits with -inf for each token that would complete an n-gram which the hypothesis already contains.

    Args:
        logits: (hypotheses, vocabulary) float32.
        tokens: (hypotheses, max_tokens) int32.
        time: () int32, number of tokens chosen so far.
        length: n, the number of tokens in an n-gram.
    """
    starts = max(tokens.shape[1] - length + 1, 0)  # n-grams of a caption of max_tokens
    last = tf.gather(tokens, tf.maximum(time - length + 1 + tf.range(length - 1), 0), axis=1)
    matches = tf.fill(tf.shape(tokens[:, :starts]), True) & (tf.range(starts) + length <= time)
    for index in range(length - 1):
        matches &= tokens[:, index : index + starts] == last[:, index, None]
    # Where nothing matches, mask <pad>, which is banned anyway.
    repeated = tf.where(matches, tokens[:, length - 1 :][:, :starts], PAD)
    rows = tf.repeat(tf.range(tf.shape(logits)[0]), starts)
    indices = tf.stack([rows, tf.reshape(repeated, (-1,))], 1)
    return tf.tensor_scatter_nd_update(logits, indices, tf.fill(tf.shape(rows), NEG_INF))
