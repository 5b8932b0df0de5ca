"""Beam search, greedy search where the beam is 1: batched, in the graph."""

from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from tfcaption.decoding.active_rows import ActiveRows, fill_rows, next_rows, start_rows, step_captions
from tfcaption.decoding.constraints import allowed_logits
from tfcaption.decoding.hypotheses import NEG_INF, Hypotheses, in_blocks, length_normalized
from tfcaption.decoding.options import LENGTH_ALPHA
from tfcaption.models.ensemble import CaptionModel
from tfcaption.models.layers import cast_once
from tfcaption.models.token_layout import uses_packed_tokens
from tfcaption.records.vocabulary import END, PAD, START


@dataclass(frozen=True)
class SearchOptions:
    """Options of beam search.

    Attributes:
        max_tokens: a caption without <end> is cut after so many tokens.
        beam: hypotheses kept for each photo; 1 is greedy search.
        length_alpha: see `length_normalized`.
        min_tokens: the least number of tokens in a caption, <end> included.
        no_repeat_ngram: no n-gram of this length occurs twice in a caption; 0 allows repeats.
    """

    max_tokens: int
    beam: int = 1
    length_alpha: float = LENGTH_ALPHA
    min_tokens: int = 1
    no_repeat_ngram: int = 0


class BeamState(NamedTuple):
    """State of the search between two time steps."""

    time: tf.Tensor  # () int32, number of tokens chosen so far
    tokens: tf.Tensor  # (photos, beam, max_tokens) int32, <pad> from `time` on
    log_probs: tf.Tensor  # (photos, beam) float32, summed over the tokens; -inf where no hypothesis exists
    lengths: tf.Tensor  # (photos, beam) int32, number of tokens with <end>
    finished: tf.Tensor  # (photos, beam) bool, the hypothesis ends with <end>


class NextTokens(NamedTuple):
    """The best next tokens of each hypothesis, best first."""

    log_probs: tf.Tensor  # (hypotheses, width) float32, of each token alone
    tokens: tf.Tensor  # (hypotheses, width) int32


def beam_search(
    captioner: CaptionModel, features: tf.Tensor, options: SearchOptions, *, compiled: bool = False
) -> Hypotheses:
    """The hypotheses with the highest length-normalised log-probability among those that the beam reaches.

    Finished hypotheses stay in the beam and compete with those that continue.

    Args:
        captioner: the model.
        features: (photos, ...), as `Captioner.encode` gives them.
        options: limits and beam.
        compiled: whether XLA compiles the search, which requires static shapes; otherwise a CPU skips finished
            hypotheses.
    """
    decoder, beam = captioner.decoder, options.beam
    packed = uses_packed_tokens(compiled)
    width = min(beam, decoder.logits.units)  # next tokens of one hypothesis that can survive
    photos = tf.shape(tf.nest.flatten(features)[0])[0]
    memory, decoder_state = decoder.start(features, static_shapes=not packed)

    def advance(state: BeamState, current: ActiveRows) -> tuple[BeamState, ActiveRows]:
        tokens = tf.gather(flatten_beams(state.tokens), current.rows)
        previous = tf.where(state.time > 0, tokens[:, tf.maximum(state.time - 1, 0)], START)
        captions = step_captions(current, beam, packed=packed)
        logits, decoder_state = decoder.step(previous, current.decoder_state, current.memory, captions)
        computed = best_next_tokens(logits, tokens, state.time, width, options)
        candidates = fill_rows(computed, current, is_active(state), padding_only(state, width), packed=packed)
        state, parents = select_beams(state, candidates, options.length_alpha)
        parents = parents if beam > 1 else None
        return state, next_rows(current, decoder_state, is_active(state), parents, packed=packed)

    state = initial_state(photos, beam, options.max_tokens)
    rows = start_rows(memory, decoder_state, is_active(state), packed=packed)
    with cast_once(decoder.parts):
        final, _ = tf.while_loop(
            lambda state, _: tf.reduce_any(is_active(state)),
            advance,
            (state, rows),
            maximum_iterations=options.max_tokens,
        )
    exists = final.log_probs > NEG_INF
    scores = length_normalized(final.log_probs, final.lengths, options.length_alpha)
    return Hypotheses(tf.where(exists[..., None], final.tokens, PAD), tf.where(exists, scores, NEG_INF))


def initial_state(photos: tf.Tensor, beam: int, max_tokens: int) -> BeamState:
    """The state before the first token: one empty hypothesis of each photo, since equal ones would stay equal.

    Args:
        photos: () int32.
        beam: hypotheses of each photo.
        max_tokens: length of a caption.
    """
    log_probs = tf.where(tf.range(beam) == 0, 0.0, NEG_INF)
    return BeamState(
        time=tf.constant(0),
        tokens=tf.fill((photos, beam, max_tokens), PAD),
        log_probs=tf.tile(log_probs[None], (photos, 1)),
        lengths=tf.zeros((photos, beam), tf.int32),
        finished=tf.fill((photos, beam), False),
    )


def is_active(state: BeamState) -> tf.Tensor:
    """(photos, beam) bool: the hypothesis exists and continues."""
    return ~state.finished & (state.log_probs > NEG_INF)


def best_next_tokens(
    logits: tf.Tensor, tokens: tf.Tensor, time: tf.Tensor, width: int, options: SearchOptions
) -> NextTokens:
    """The most probable next tokens that the options allow.

    Args:
        logits: (hypotheses, vocabulary) float32.
        tokens: (hypotheses, max_tokens) int32.
        time: () int32, number of tokens chosen so far.
        width: number of next tokens.
        options: of the search.

    Returns:
        `width` of each hypothesis. Banned tokens have -inf, but count in the softmax, as in the teacher-forced pass.
    """
    allowed = allowed_logits(
        logits, tokens, time, min_tokens=options.min_tokens, no_repeat_ngram=options.no_repeat_ngram
    )
    best, next_tokens = top_k(allowed, width)
    return NextTokens(best - tf.reduce_logsumexp(logits, -1, keepdims=True), next_tokens)


def top_k(values: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
    """`tf.math.top_k` of (n, size) float32, from the k blocks of the largest maxima."""
    by_block = in_blocks(values, NEG_INF)
    _, blocks, block = by_block.shape
    if k == 1 or blocks <= k:
        return tf.math.top_k(values, k)
    _, chosen = tf.math.top_k(tf.reduce_max(by_block, 2), k)
    chosen = tf.sort(chosen)  # so that of equal values the first one wins, as in all values
    best, indices = tf.math.top_k(tf.reshape(tf.gather(by_block, chosen, batch_dims=1), (-1, k * block)), k)
    return best, tf.gather(chosen, indices // block, batch_dims=1) * block + indices % block


def padding_only(state: BeamState, width: int) -> NextTokens:
    """Next tokens of finished hypotheses: <pad> at no cost, and nothing else."""
    hypotheses = tf.size(state.finished)
    log_probs = tf.concat([[0.0], tf.fill((width - 1,), NEG_INF)], 0)
    return NextTokens(tf.tile(log_probs[None], (hypotheses, 1)), tf.fill((hypotheses, width), PAD))


def select_beams(state: BeamState, candidates: NextTokens, length_alpha: float) -> tuple[BeamState, tf.Tensor]:
    """The state after one more token: the best `beam` of each photo's beam * width candidates.

    Also the hypothesis of the photo that each of them extends, (photos, beam) int32.
    """
    beam, width = state.tokens.shape[1], candidates.tokens.shape[1]
    log_probs = state.log_probs[..., None] + unflatten_beams(candidates.log_probs, beam)  # (photos, beam, width)
    lengths = tf.where(state.finished, state.lengths, state.time + 1)
    ranks = length_normalized(log_probs, lengths[..., None], length_alpha)
    _, best = tf.math.top_k(flatten_candidates(ranks), beam)  # (photos, beam) of beam * width
    parents = best // width
    next_tokens = gather_beams(flatten_candidates(unflatten_beams(candidates.tokens, beam)), best)
    is_next = tf.range(state.tokens.shape[2]) == state.time  # (max_tokens,)
    selected = BeamState(
        time=state.time + 1,
        tokens=tf.where(is_next, next_tokens[..., None], gather_beams(state.tokens, parents)),
        log_probs=gather_beams(flatten_candidates(log_probs), best),
        lengths=gather_beams(lengths, parents),
        finished=gather_beams(state.finished, parents) | (next_tokens == END),
    )
    return selected, parents


def flatten_beams(values: tf.Tensor) -> tf.Tensor:
    """(photos, beam, ...) -> (photos * beam, ...)."""
    return tf.reshape(values, (-1, *values.shape[2:]))


def unflatten_beams(values: tf.Tensor, beam: int) -> tf.Tensor:
    """(photos * beam, ...) -> (photos, beam, ...)."""
    return tf.reshape(values, (-1, beam, *values.shape[1:]))


def flatten_candidates(values: tf.Tensor) -> tf.Tensor:
    """(photos, beam, width) -> (photos, beam * width)."""
    return tf.reshape(values, (-1, values.shape[1] * values.shape[2]))


def gather_beams(values: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """Values (photos, n, ...) at the indices (photos, beam) of each photo -> (photos, beam, ...)."""
    return tf.gather(values, indices, batch_dims=1)
