"""Beam search, greedy where the beam is 1: batched, in the graph."""

from typing import Any

import tensorflow as tf

from tfcaption.decoding.hypotheses import LENGTH_ALPHA, NEG_INF, Hypotheses, compute_active_rows, length_normalized
from tfcaption.models.captioner import banned
from tfcaption.models.ensemble import CaptionModel
from tfcaption.models.token_layout import uses_packed_tokens
from tfcaption.records.vocabulary import END, PAD, START


def beam_search(
    captioner: CaptionModel,
    features: tf.Tensor,
    *,
    max_tokens: int,
    beam: int = 1,
    length_alpha: float = LENGTH_ALPHA,
    min_tokens: int = 1,
    blocked_ngram: int = 0,
    compiled: bool = False,
) -> Hypotheses:
    """The most probable captions among those that a beam of the best beginnings reaches.

    Beams that have ended stay as they are and compete with those that go on, by their normalised log-probability.

    Args:
        captioner: the model.
        features: (photos, ...), as `Captioner.encode` gives them.
        max_tokens: captions that have not ended by then are cut.
        beam: beginnings kept for each photo; 1 is greedy search.
        length_alpha: see `normalized`.
        min_tokens: a caption ends with its `min_tokens`-th token at the earliest, <end> included.
        blocked_ngram: no sequence of so many words comes twice in a caption; 0: any may.
        compiled: whether XLA compiles it, which wants static shapes; otherwise a CPU leaves ended beams out.
    """
    decoder = captioner.decoder
    photos, vocabulary = tf.shape(tf.nest.flatten(features)[0])[0], decoder.logits.units
    width = min(beam, vocabulary)
    never, never_yet = banned(vocabulary), banned(vocabulary, tokens=(END,))
    memory, first_state = decoder.start(features)
    all_photos = tf.repeat(tf.range(photos), beam)

    def continuations(
        time: tf.Tensor, sequences: tf.Tensor, state: Any, of_photos: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, Any]:
        """The best next tokens of each row and their log-probabilities, (rows, width), and the next state."""
        previous = tf.where(time > 0, sequences[:, tf.maximum(time - 1, 0)], START)
        logits, state = decoder.step(previous, state, memory, of_photos)
        allowed = logits + (tf.where(time + 1 < min_tokens, never + never_yet, never) if min_tokens > 1 else never)
        if blocked_ngram:
            allowed = _without_repeats(allowed, sequences, time, blocked_ngram)
        best, tokens = tf.math.top_k(allowed, width)
        return best - tf.reduce_logsumexp(logits, -1, keepdims=True), tokens, state

    def continuations_of(
        going: tf.Tensor, time: tf.Tensor, sequences: tf.Tensor, state: Any
    ) -> tuple[tf.Tensor, tf.Tensor, Any]:
        """The same, computed for the rows that go on; an ended one goes on with <pad> at no cost."""
        only_pad = tf.concat([[0.0], tf.fill((width - 1,), NEG_INF)], 0)
        rows = tf.size(going)
        return compute_active_rows(
            going,
            lambda sequences, state, of_photos: continuations(time, sequences, state, of_photos),
            (sequences, state, all_photos),
            otherwise=(tf.repeat(only_pad[None], rows, 0), tf.fill((rows, width), PAD), state),
            packed=uses_packed_tokens(compiled),
        )

    def advance(
        time: tf.Tensor, sequences: tf.Tensor, totals: tf.Tensor, lengths: tf.Tensor, ended: tf.Tensor, state: Any
    ) -> tuple[Any, ...]:
        going = tf.reshape(~ended & (totals > NEG_INF), (-1,))
        flat = tf.reshape(sequences, (photos * beam, max_tokens))
        best, tokens, state = continuations_of(going, time, flat, state)  # of each beam, then of all beams
        best = tf.reshape(best, (photos, beam, width))
        candidates = totals[..., None] + best
        lengths = tf.where(ended, lengths, time + 1)
        ranks = tf.reshape(length_normalized(candidates, lengths[..., None], length_alpha), (photos, beam * width))
        _, chosen = tf.math.top_k(ranks, beam)
        parents = chosen // width

        def follow(values: tf.Tensor) -> tf.Tensor:
            return tf.gather(values, parents, batch_dims=1)

        tokens = tf.gather(tf.reshape(tokens, (photos, beam * width)), chosen, batch_dims=1)
        totals = tf.gather(tf.reshape(candidates, (photos, beam * width)), chosen, batch_dims=1)
        sequences = tf.where(tf.range(max_tokens) == time, tokens[..., None], follow(sequences))
        if beam > 1:
            rows = tf.reshape(parents + beam * tf.range(photos)[:, None], (-1,))
            state = tf.nest.map_structure(lambda values: tf.ensure_shape(tf.gather(values, rows), values.shape), state)
        return time + 1, sequences, totals, follow(lengths), follow(ended) | (tokens == END), state

    first = tf.where(tf.range(beam) == 0, 0.0, NEG_INF)  # all beams begin alike: one is enough
    _, sequences, totals, lengths, _, _ = tf.while_loop(
        lambda time, sequences, totals, lengths, ended, state: ~tf.reduce_all(ended | (totals == NEG_INF)),
        advance,
        (
            tf.constant(0),
            tf.fill((photos, beam, max_tokens), PAD),
            tf.tile(first[None], (photos, 1)),
            tf.zeros((photos, beam), tf.int32),
            tf.fill((photos, beam), False),
            tf.nest.map_structure(lambda values: tf.repeat(values, beam, axis=0), first_state),
        ),
        maximum_iterations=max_tokens,
    )
    there = totals > NEG_INF
    return Hypotheses(
        tf.where(there[..., None], sequences, PAD),
        tf.where(there, length_normalized(totals, lengths, length_alpha), NEG_INF),
    )


def _without_repeats(logits: tf.Tensor, sequences: tf.Tensor, time: tf.Tensor, length: int) -> tf.Tensor:
    """Rule out each token that would end a sequence of `length` tokens which the beam has already.

    Args:
        logits: (rows, vocabulary).
        sequences: (rows, max_tokens).
        time: tokens that are there.
        length: of the sequences.
    """
    starts = max(sequences.shape[1] - length + 1, 0)
    last = tf.gather(sequences, tf.maximum(time - length + 1 + tf.range(length - 1), 0), axis=1)
    repeats = tf.fill(tf.shape(sequences[:, :starts]), True) & (tf.range(starts) + length <= time)
    for place in range(length - 1):
        repeats &= sequences[:, place : place + starts] == last[:, place, None]
    # <pad> is ruled out anyway: it stands for the places where nothing repeats.
    ruled_out = tf.where(repeats, sequences[:, length - 1 :][:, :starts], PAD)
    rows = tf.repeat(tf.range(tf.shape(logits)[0]), starts)
    indices = tf.stack([rows, tf.reshape(ruled_out, (-1,))], 1)
    return tf.tensor_scatter_nd_update(logits, indices, tf.fill(tf.shape(rows), NEG_INF))
