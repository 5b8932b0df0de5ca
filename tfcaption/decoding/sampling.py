"""Sampling, with temperature and top-p: batched, in the graph."""

from typing import Any

import tensorflow as tf

from tfcaption.decoding.hypotheses import LENGTH_ALPHA, NEG_INF, Hypotheses, compute_active_rows, length_normalized
from tfcaption.models.captioner import Captioner, banned
from tfcaption.models.token_layout import uses_packed_tokens
from tfcaption.records.vocabulary import END, PAD, START


def sample(
    captioner: Captioner,
    features: tf.Tensor,
    *,
    max_tokens: int,
    seed: tf.Tensor,
    count: int = 1,
    temperature: float = 1.0,
    top_p: float = 1.0,
    dropout_seed: tf.Tensor | None = None,
    compiled: bool = False,
) -> Hypotheses:
    """Captions drawn word by word; the same seed draws the same ones.

    Args:
        captioner: the model.
        features: as for `beam_search`.
        max_tokens: as for `beam_search`.
        seed: (2,) int32.
        count: captions of each photo.
        temperature: divides the logits; towards 0 the most probable word alone is drawn.
        top_p: only the fewest words that together have this probability are drawn (Holtzman et al. 2020,
            arXiv:1904.09751).
        dropout_seed: (2,) int32 in training, which drops from the photos as `Decoder.start` does; None otherwise.
        compiled: as for `beam_search`.

    Returns:
        `count` captions of each photo as they were drawn, and their scores under the captioner itself.
    """
    decoder = captioner.decoder
    photos = tf.shape(tf.nest.flatten(features)[0])[0]
    never = banned(decoder.logits.units)
    memory, first_state = decoder.start(features, dropout_seed)
    all_photos = tf.repeat(tf.range(photos), count)

    def advance(
        time: tf.Tensor, sequences: tf.Tensor, totals: tf.Tensor, ended: tf.Tensor, state: Any
    ) -> tuple[Any, ...]:
        previous = tf.where(time > 0, sequences[:, tf.maximum(time - 1, 0)], START)
        uniform = tf.random.stateless_uniform(
            (photos * count, 1), tf.random.experimental.stateless_fold_in(seed, time), 1e-20
        )

        def draw(
            previous: tf.Tensor, state: Any, of_photos: tf.Tensor, uniform: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, Any]:
            logits, state = decoder.step(previous, state, memory, of_photos)
            allowed = tf.nn.softmax(_nucleus(logits / temperature + never, top_p))
            # The first word up to which the probabilities add up to a number between 0 and 1 (all of them).
            total = tf.cumsum(allowed, axis=-1)
            drawn = tf.searchsorted(total, uniform * total[:, -1:])[:, 0]
            return drawn, tf.gather(tf.nn.log_softmax(logits), drawn, batch_dims=1), state

        drawn, log_p, state = compute_active_rows(
            ~ended,
            draw,
            (previous, state, all_photos, uniform),
            otherwise=(tf.fill((photos * count,), PAD), tf.zeros((photos * count,)), state),
            packed=uses_packed_tokens(compiled),
        )
        sequences = tf.where(tf.range(max_tokens) == time, drawn[:, None], sequences)
        return time + 1, sequences, totals + log_p, ended | (drawn == END), state

    _, sequences, totals, _, _ = tf.while_loop(
        lambda time, sequences, totals, ended, state: ~tf.reduce_all(ended),
        advance,
        (
            tf.constant(0),
            tf.fill((photos * count, max_tokens), PAD),
            tf.zeros((photos * count,)),
            tf.fill((photos * count,), False),
            tf.nest.map_structure(lambda values: tf.repeat(values, count, axis=0), first_state),
        ),
        maximum_iterations=max_tokens,
    )
    lengths = tf.math.count_nonzero(sequences, 1, dtype=tf.int32)
    scores = length_normalized(totals, lengths, LENGTH_ALPHA)
    return Hypotheses(tf.reshape(sequences, (photos, count, max_tokens)), tf.reshape(scores, (photos, count)))


def _nucleus(logits: tf.Tensor, top_p: float) -> tf.Tensor:
    """Logits with all words ruled out but the most probable ones that together reach `top_p`."""
    if top_p >= 1:
        return logits
    ordered = tf.sort(logits, direction="DESCENDING")
    before = tf.cumsum(tf.nn.softmax(ordered), axis=-1, exclusive=True)
    least = tf.reduce_min(tf.where(before < top_p, ordered, float("inf")), axis=-1, keepdims=True)
    return tf.where(logits >= least, logits, NEG_INF)
