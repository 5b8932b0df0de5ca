"""Sampling, with temperature and top-p: batched, in the graph."""

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
class SamplingOptions:
    """Options of sampling.

    Attributes:
        max_tokens: a caption without <end> is cut after so many tokens.
        count: captions of each photo.
        temperature: divides the logits; towards 0 only the most probable token is sampled.
        top_p: sample from the smallest set of tokens whose probabilities reach this sum (Holtzman et al. 2020,
            arXiv:1904.09751).
        length_alpha: of the score, see `length_normalized`.
        min_tokens: the least number of tokens in a caption, <end> included.
        no_repeat_ngram: no n-gram of this length occurs twice in a caption; 0 allows repeats.
        same_for_each_photo: all photos of a batch get the same random numbers, so that the captions of a photo do not
            depend on the photos beside it. Training needs independent ones.
    """

    max_tokens: int
    count: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    length_alpha: float = LENGTH_ALPHA
    min_tokens: int = 1
    no_repeat_ngram: int = 0
    same_for_each_photo: bool = False


@dataclass(frozen=True)
class BatchPart:
    """Which of several equal parts of a batch the photos are, where replicas share one."""

    index: tf.Tensor | int = 0
    count: int = 1


class SamplingState(NamedTuple):
    """State of sampling between two time steps."""

    time: tf.Tensor  # () int32, number of tokens sampled so far
    tokens: tf.Tensor  # (photos * count, max_tokens) int32, <pad> from `time` on
    log_probs: tf.Tensor  # (photos * count,) float32, summed over the tokens
    finished: tf.Tensor  # (photos, count) bool, the caption ends with <end>


class NextToken(NamedTuple):
    """One sampled token of each caption."""

    tokens: tf.Tensor  # (captions,) int32
    log_probs: tf.Tensor  # (captions,) float32


def sample(
    captioner: CaptionModel,
    features: tf.Tensor,
    options: SamplingOptions,
    *,
    seed: tf.Tensor,
    dropout_seed: tf.Tensor | None = None,
    part: BatchPart = BatchPart(),
    compiled: bool = False,
) -> Hypotheses:
    """Sample captions token by token; equal seeds give equal captions.

    Args:
        captioner: the model.
        features: (photos, ...), as `Captioner.encode` gives them.
        options: limits, number of captions, temperature and top-p.
        seed: (2,) int32.
        dropout_seed: (2,) int32 in training, for dropout of the photo in `Decoder.start`; None otherwise.
        part: the random numbers are those that the photos would get in the whole batch.
        compiled: as for `beam_search`.

    Returns:
        `options.count` captions of each photo in the order of sampling, scored without temperature and top-p.
    """
    decoder, count = captioner.decoder, options.count
    photos = tf.shape(tf.nest.flatten(features)[0])[0]
    packed = uses_packed_tokens(compiled)
    memory, decoder_state = decoder.start(features, dropout_seed, static_shapes=not packed)

    def advance(state: SamplingState, current: ActiveRows) -> tuple[SamplingState, ActiveRows]:
        step_seed = tf.random.experimental.stateless_fold_in(seed, state.time)
        if options.same_for_each_photo:
            uniform = tf.tile(tf.random.stateless_uniform((count, 1), step_seed, 1e-20), (photos, 1))
        else:
            uniform = tf.random.stateless_uniform((part.count * photos * count, 1), step_seed, 1e-20)
            uniform = uniform[part.index * photos * count :][: photos * count]

        tokens = tf.gather(state.tokens, current.rows)
        previous = tf.where(state.time > 0, tokens[:, tf.maximum(state.time - 1, 0)], START)
        captions = step_captions(current, count, packed=packed)
        logits, decoder_state = decoder.step(previous, current.decoder_state, current.memory, captions)
        allowed = allowed_logits(
            logits / options.temperature,
            tokens,
            state.time,
            min_tokens=options.min_tokens,
            no_repeat_ngram=options.no_repeat_ngram,
        )
        chosen = sample_tokens(allowed, tf.gather(uniform, current.rows), options.top_p)
        computed = NextToken(chosen, tf.gather(tf.nn.log_softmax(logits), chosen, batch_dims=1))
        none = NextToken(tf.fill((photos * count,), PAD), tf.zeros((photos * count,)))
        sampled = fill_rows(computed, current, ~state.finished, none, packed=packed)
        is_next = tf.range(options.max_tokens) == state.time  # (max_tokens,)
        state = SamplingState(
            time=state.time + 1,
            tokens=tf.where(is_next, sampled.tokens[:, None], state.tokens),
            log_probs=state.log_probs + sampled.log_probs,
            finished=state.finished | tf.reshape(sampled.tokens == END, (-1, count)),
        )
        return state, next_rows(current, decoder_state, ~state.finished, None, packed=packed)

    state = initial_state(photos, options)
    rows = start_rows(memory, decoder_state, ~state.finished, packed=packed)
    with cast_once(decoder.parts):
        final, _ = tf.while_loop(
            lambda state, _: ~tf.reduce_all(state.finished),
            advance,
            (state, rows),
            maximum_iterations=options.max_tokens,
        )
    lengths = tf.math.count_nonzero(final.tokens, 1, dtype=tf.int32)
    scores = length_normalized(final.log_probs, lengths, options.length_alpha)
    return Hypotheses(
        tf.reshape(final.tokens, (photos, count, options.max_tokens)), tf.reshape(scores, (photos, count))
    )


def initial_state(photos: tf.Tensor, options: SamplingOptions) -> SamplingState:
    """The state before the first token, for a number of photos, () int32."""
    captions = photos * options.count
    return SamplingState(
        time=tf.constant(0),
        tokens=tf.fill((captions, options.max_tokens), PAD),
        log_probs=tf.zeros((captions,)),
        finished=tf.fill((photos, options.count), False),
    )


def sample_tokens(allowed: tf.Tensor, uniform: tf.Tensor, top_p: float) -> tf.Tensor:
    """One token of each caption, by inverse transform sampling.

    Args:
        allowed: (captions, vocabulary) float32 logits, -inf for tokens that must not come next.
        uniform: (captions, 1) float32 in (0, 1).
        top_p: see `SamplingOptions`.

    Returns:
        (captions,) int32.
    """
    by_block = in_blocks(tf.nn.softmax(mask_outside_top_p(allowed, top_p)), 0.0)
    block, share = _first_reaching(tf.reduce_sum(by_block, 2), uniform)
    token, _ = _first_reaching(tf.gather(by_block, block, batch_dims=1), share)
    return block * by_block.shape[2] + token


def _first_reaching(values: tf.Tensor, share: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Where partial sums reach a share of the sum; never a value of 0.

    Args:
        values: (n, size) float32, not negative, and not all 0.
        share: (n, 1) float32, more than 0 and at most 1.

    Returns:
        The first such index (n,) int32, and the share of the value there that the sum needs, (n, 1).
    """
    sums = tf.cumsum(values, axis=-1)
    wanted = share * sums[:, -1:]
    index = tf.searchsorted(sums, wanted)
    value = tf.gather(values, index, batch_dims=1)
    rest = (wanted - tf.gather(sums, index, batch_dims=1)) / value + 1
    return index[:, 0], tf.clip_by_value(rest, 1e-6, 1.0)  # rounding


def mask_outside_top_p(logits: tf.Tensor, top_p: float) -> tf.Tensor:
    """Logits (captions, vocabulary) with -inf for all but the most probable tokens that together reach `top_p`."""
    if top_p >= 1:
        return logits
    ordered = tf.sort(logits, direction="DESCENDING")
    before = tf.cumsum(tf.nn.softmax(ordered), axis=-1, exclusive=True)  # probability of all better tokens
    threshold = tf.reduce_min(tf.where(before < top_p, ordered, float("inf")), axis=-1, keepdims=True)
    return tf.where(logits >= threshold, logits, NEG_INF)
