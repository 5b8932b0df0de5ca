"""Captions of a batch of photos as strings, with scores and attention: the graph function of evaluation, export and
captioning."""

from typing import NamedTuple

import tensorflow as tf

from tfcaption.decoding.beam_search import SearchOptions, beam_search
from tfcaption.decoding.hypotheses import Hypotheses, attention_weights
from tfcaption.decoding.options import CaptionOptions
from tfcaption.decoding.sampling import SamplingOptions, sample
from tfcaption.models.ensemble import CaptionModel
from tfcaption.preprocessing.tokenizer import Tokenizer
from tfcaption.runtime.errors import UsageError


class CaptionBatch(NamedTuple):
    """The captions of a batch of photos, best first, and the attention of the best one."""

    captions: tf.Tensor  # (photos, options.available) string
    scores: tf.Tensor  # (photos, options.available) float32, length-normalised; -inf where no hypothesis exists
    words: tf.Tensor | None = None  # (photos, time) string, of the best caption; empty after its end
    attention: tf.Tensor | None = None  # (photos, time, regions) float32, of each word; regions in row-major order


def caption_features(
    captioner: CaptionModel,
    features: tf.Tensor,
    tokenizer: Tokenizer,
    options: CaptionOptions,
    *,
    max_tokens: int,
    seed: tf.Tensor | int | None = None,
    attention: bool = True,
) -> CaptionBatch:
    """Search for captions, or sample them, and decode them; for use in a `tf.function`.

    Args:
        captioner: the model.
        features: (photos, ...), as `Captioner.encode` gives them.
        tokenizer: of the model.
        options: of the search.
        max_tokens: a caption without <end> is cut after so many tokens.
        seed: () int32, of sampling, in place of `options.seed`.
        attention: whether to compute words and attention. Without it, or if the decoder has no attention, both are
            None.

    Raises:
        UsageError: `options.min_words` is more than `max_tokens`.
    """
    hypotheses = find_hypotheses(captioner, features, options, max_tokens=max_tokens, seed=seed)
    captions = tokenizer.decode(hypotheses.tokens)
    best = hypotheses.tokens[:, 0]
    weights = attention_weights(captioner, features, best) if attention else None
    if weights is None:
        return CaptionBatch(captions, hypotheses.scores)
    return CaptionBatch(captions, hypotheses.scores, tokenizer.decode_each(best), weights)


def find_hypotheses(
    captioner: CaptionModel,
    features: tf.Tensor,
    options: CaptionOptions,
    *,
    max_tokens: int,
    seed: tf.Tensor | int | None = None,
) -> Hypotheses:
    """The hypotheses of each photo by beam search or sampling, best first; see `caption_features`."""
    if options.min_words > max_tokens:
        raise UsageError(f"--min_words {options.min_words}: captions of this model have at most {max_tokens} words")
    limits = {"min_tokens": options.min_words + 1, "no_repeat_ngram": options.no_repeat_ngram}
    if not options.samples:
        search = SearchOptions(max_tokens, options.beam, length_alpha=options.length_alpha, **limits)
        return beam_search(captioner, features, search)
    sampling = SamplingOptions(
        max_tokens,
        options.nbest,
        temperature=1.0 if options.temperature is None else options.temperature,
        top_p=1.0 if options.top_p is None else options.top_p,
        length_alpha=options.length_alpha,
        same_for_each_photo=True,
        **limits,
    )
    seed = tf.cast(options.seed if seed is None else seed, tf.int32)
    sampled = sample(captioner, features, sampling, seed=tf.stack([seed, 0]))
    order = tf.argsort(sampled.scores, direction="DESCENDING", stable=True)
    return Hypotheses(*(tf.gather(values, order, batch_dims=1) for values in sampled))
