"""Beam search, greedy search where the beam is 1: batched, in the graph."""

from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from tfcaption.decoding.constraints import allowed_logits
from tfcaption.decoding.hypotheses import NEG_INF, Hypotheses, compute_active_rows, length_normalized
from tfcaption.decoding.options import LENGTH_ALPHA
from tfcaption.models.decoder import State
from tfcaption.models.ensemble import CaptionModel
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
    decoder: State  # nest of (photos * beam, ...)


class NextTokens(NamedTuple):
    """The best next tokens of each hypothesis, best first."""

    log_probs: tf.Tensor  # (photos * beam, width) float32, of each token alone
    tokens: tf.Tensor  # (photos * beam, width) int32
    decoder: State  # nest of (photos * beam, ...)


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
    width = min(beam, decoder.logits.units)  # next tokens of one hypothesis that can survive
    photos = tf.shape(tf.nest.flatten(features)[0])[0]
    photo_indices = tf.repeat(tf.range(photos), beam)  # (photos * beam,)
    memory, decoder_state = decoder.start(features)

    def advance(state: BeamState) -> tuple[BeamState]:
        def extend(tokens: tf.Tensor, decoder_state: State, photo_indices: tf.Tensor) -> NextTokens:
            previous = tf.where(state.time > 0, tokens[:, tf.maximum(state.time - 1, 0)], START)
            logits, decoder_state = decoder.step(previous, decoder_state, memory, photo_indices)
            log_probs, tokens = best_next_tokens(logits, tokens, state.time, width, options)
            return NextTokens(log_probs, tokens, decoder_state)

        candidates = compute_active_rows(
            flatten_beams(is_active(state)),
            extend,
            (flatten_beams(state.tokens), state.decoder, photo_indices),
            otherwise=padding_only(state, width),
            packed=uses_packed_tokens(compiled),
        )
        return (select_beams(state, candidates, options.length_alpha),)

    (final,) = tf.while_loop(
        lambda state: tf.reduce_any(is_active(state)),
        advance,
        (initial_state(photos, beam, options.max_tokens, decoder_state),),
        maximum_iterations=options.max_tokens,
    )
    exists = final.log_probs > NEG_INF
    scores = length_normalized(final.log_probs, final.lengths, options.length_alpha)
    return Hypotheses(tf.where(exists[..., None], final.tokens, PAD), tf.where(exists, scores, NEG_INF))


def initial_state(photos: tf.Tensor, beam: int, max_tokens: int, decoder_state: State) -> BeamState:
    """The state before the first token: one empty hypothesis of each photo, since equal ones would stay equal.

    Args:
        photos: () int32.
        beam: hypotheses of each photo.
        max_tokens: length of a caption.
        decoder_state: nest of (photos, ...).
    """
    log_probs = tf.where(tf.range(beam) == 0, 0.0, NEG_INF)
    return BeamState(
        time=tf.constant(0),
        tokens=tf.fill((photos, beam, max_tokens), PAD),
        log_probs=tf.tile(log_probs[None], (photos, 1)),
        lengths=tf.zeros((photos, beam), tf.int32),
        finished=tf.fill((photos, beam), False),
        decoder=tf.nest.map_structure(lambda values: tf.repeat(values, beam, axis=0), decoder_state),
    )


def is_active(state: BeamState) -> tf.Tensor:
    """(photos, beam) bool: the hypothesis exists and continues."""
    return ~state.finished & (state.log_probs > NEG_INF)


def best_next_tokens(
    logits: tf.Tensor, tokens: tf.Tensor, time: tf.Tensor, width: int, options: SearchOptions
) -> tuple[tf.Tensor, tf.Tensor]:
    """The most probable next tokens that the options allow.

    Args:
        logits: (hypotheses, vocabulary) float32.
        tokens: (hypotheses, max_tokens) int32.
        time: () int32, number of tokens chosen so far.
        width: number of next tokens.
        options: of the search.

    Returns:
        (hypotheses, width) float32 log-probabilities and int32 tokens, best first. Banned tokens have -inf, but
        count in the softmax, as in the teacher-forced pass.
    """
    allowed = allowed_logits(
        logits, tokens, time, min_tokens=options.min_tokens, no_repeat_ngram=options.no_repeat_ngram
    )
    best, next_tokens = tf.math.top_k(allowed, width)
    return best - tf.reduce_logsumexp(logits, -1, keepdims=True), next_tokens


def padding_only(state: BeamState, width: int) -> NextTokens:
    """Next tokens of finished hypotheses: <pad> at no cost, and nothing else."""
    hypotheses = tf.size(state.finished)
    log_probs = tf.concat([[0.0], tf.fill((width - 1,), NEG_INF)], 0)
    return NextTokens(tf.tile(log_probs[None], (hypotheses, 1)), tf.fill((hypotheses, width), PAD), state.decoder)


def select_beams(state: BeamState, candidates: NextTokens, length_alpha: float) -> BeamState:
    """The state after one more token: the best `beam` of each photo's beam * width candidates."""
    beam, width = state.tokens.shape[1], candidates.tokens.shape[1]
    log_probs = state.log_probs[..., None] + unflatten_beams(candidates.log_probs, beam)  # (photos, beam, width)
    lengths = tf.where(state.finished, state.lengths, state.time + 1)
    ranks = length_normalized(log_probs, lengths[..., None], length_alpha)
    _, best = tf.math.top_k(flatten_candidates(ranks), beam)  # (photos, beam) of beam * width
    parents = best // width  # (photos, beam), the hypothesis that each candidate extends
    next_tokens = gather_beams(flatten_candidates(unflatten_beams(candidates.tokens, beam)), best)
    is_next = tf.range(state.tokens.shape[2]) == state.time  # (max_tokens,)
    return BeamState(
        time=state.time + 1,
        tokens=tf.where(is_next, next_tokens[..., None], gather_beams(state.tokens, parents)),
        log_probs=gather_beams(flatten_candidates(log_probs), best),
        lengths=gather_beams(lengths, parents),
        finished=gather_beams(state.finished, parents) | (next_tokens == END),
        decoder=gather_decoder_state(candidates.decoder, parents) if beam > 1 else candidates.decoder,
    )


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


def gather_decoder_state(state: State, parents: tf.Tensor) -> State:
    """The state (photos * beam, ...) of the hypotheses `parents`, (photos, beam) indices within each photo's beam."""
    photos, beam = tf.unstack(tf.shape(parents))
    rows = tf.reshape(parents + beam * tf.range(photos)[:, None], (-1,))
    return tf.nest.map_structure(lambda values: tf.ensure_shape(tf.gather(values, rows), values.shape), state)
