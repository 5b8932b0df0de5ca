"""Captions from a captioner: beam search (greedy where the beam is 1) and sampling, batched, in the graph."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfcaption.models.captioner import Captioner, banned
from tfcaption.models.token_layout import uses_packed_tokens
from tfcaption.records.vocabulary import END, PAD, START

LENGTH_ALPHA = 0.7
_NEVER = float("-inf")


class Found(NamedTuple):
    """The captions of a batch of photos, best first."""

    tokens: tf.Tensor  # (photos, beam, max_tokens) int32 without <start>; <pad> after <end>, and for no caption at all
    scores: tf.Tensor  # (photos, beam) float32, see `normalized`; -inf for no caption at all


def beam_search(
    captioner: Captioner,
    features: tf.Tensor,
    *,
    max_tokens: int,
    beam: int = 1,
    length_alpha: float = LENGTH_ALPHA,
    min_tokens: int = 1,
    blocked_ngram: int = 0,
    compiled: bool = False,
) -> Found:
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
        only_pad = tf.concat([[0.0], tf.fill((width - 1,), _NEVER)], 0)
        rows = tf.size(going)
        return _for_rows(
            going,
            lambda sequences, state, of_photos: continuations(time, sequences, state, of_photos),
            (sequences, state, all_photos),
            otherwise=(tf.repeat(only_pad[None], rows, 0), tf.fill((rows, width), PAD), state),
            packed=uses_packed_tokens(compiled),
        )

    def advance(
        time: tf.Tensor, sequences: tf.Tensor, totals: tf.Tensor, lengths: tf.Tensor, ended: tf.Tensor, state: Any
    ) -> tuple[Any, ...]:
        going = tf.reshape(~ended & (totals > _NEVER), (-1,))
        flat = tf.reshape(sequences, (photos * beam, max_tokens))
        best, tokens, state = continuations_of(going, time, flat, state)  # of each beam, then of all beams
        best = tf.reshape(best, (photos, beam, width))
        candidates = totals[..., None] + best
        lengths = tf.where(ended, lengths, time + 1)
        ranks = tf.reshape(normalized(candidates, lengths[..., None], length_alpha), (photos, beam * width))
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

    first = tf.where(tf.range(beam) == 0, 0.0, _NEVER)  # all beams begin alike: one is enough
    _, sequences, totals, lengths, _, _ = tf.while_loop(
        lambda time, sequences, totals, lengths, ended, state: ~tf.reduce_all(ended | (totals == _NEVER)),
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
    there = totals > _NEVER
    return Found(
        tf.where(there[..., None], sequences, PAD),
        tf.where(there, normalized(totals, lengths, length_alpha), _NEVER),
    )


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
) -> Found:
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

        drawn, log_p, state = _for_rows(
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
    scores = normalized(totals, lengths, LENGTH_ALPHA)
    return Found(tf.reshape(sequences, (photos, count, max_tokens)), tf.reshape(scores, (photos, count)))


def _for_rows(going: tf.Tensor, compute: Callable[..., Any], by_row: Any, *, otherwise: Any, packed: bool) -> Any:
    """What `compute` gives for the rows that go on, and `otherwise` for the rest.

    Args:
        going: (rows,) bool.
        compute: from tensors like `by_row`, of any number of rows, to tensors like `otherwise`.
        by_row: tuple of nests of tensors (rows, ...).
        otherwise: nest of tensors (rows, ...).
        packed: whether to compute only those rows, or all and choose.
    """
    if not packed:

        def choose(new: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
            return tf.where(tf.reshape(going, (-1, *[1] * (new.shape.rank - 1))), new, other)

        return tf.nest.map_structure(choose, compute(*by_row), otherwise)
    rows = tf.where(going)
    found = compute(*tf.nest.map_structure(lambda values: tf.gather_nd(values, rows), by_row))
    return tf.nest.map_structure(lambda other, new: tf.tensor_scatter_nd_update(other, rows, new), otherwise, found)


def attention_of(captioner: Captioner, features: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor | None:
    """Where a captioner looked for each token of a caption.

    Args:
        captioner: the model.
        features: (photos, ...), as `Captioner.encode` gives them.
        tokens: (photos, time) int, as `Found` has them.

    Returns:
        (photos, time, regions) float32, rows of regions from the top left; None if its decoder has no attention.
    """
    start = tf.fill((tf.shape(tokens)[0], 1), START)
    attention = captioner.predict(features, tf.concat([start, tokens], 1)[:, None]).attention
    return None if attention is None else attention[:, 0]


def normalized(totals: tf.Tensor, lengths: tf.Tensor, length_alpha: float) -> tf.Tensor:
    """Scores of captions of different lengths: the sum of log-probabilities over length ** alpha, <end> counted.

    With 0 the sum itself, which prefers short captions; with 1 the mean.
    """
    return totals / tf.cast(tf.maximum(lengths, 1), totals.dtype) ** length_alpha


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
    return tf.tensor_scatter_nd_update(logits, indices, tf.fill(tf.shape(rows), _NEVER))


def _nucleus(logits: tf.Tensor, top_p: float) -> tf.Tensor:
    """Logits with all words ruled out but the most probable ones that together reach `top_p`."""
    if top_p >= 1:
        return logits
    ordered = tf.sort(logits, direction="DESCENDING")
    before = tf.cumsum(tf.nn.softmax(ordered), axis=-1, exclusive=True)
    least = tf.reduce_min(tf.where(before < top_p, ordered, float("inf")), axis=-1, keepdims=True)
    return tf.where(logits >= least, logits, _NEVER)
