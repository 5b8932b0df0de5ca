"""Candidates: the hypotheses of several searches for each photo, their log-probabilities, and features of them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfcaption.decoding.captioning import find_hypotheses
from tfcaption.decoding.hypotheses import NEG_INF
from tfcaption.decoding.options import CaptionOptions
from tfcaption.evaluation.predictions import photo_batches
from tfcaption.input_pipeline.split import Split
from tfcaption.metrics.cider import SCALE, Cider
from tfcaption.metrics.score_tokenizers import Tokenize
from tfcaption.models.captioner import Captioner
from tfcaption.models.ensemble import CaptionModel, Ensemble
from tfcaption.preprocessing.tokenizer import Tokenizer
from tfcaption.records.vocabulary import PAD, START, Vocabulary

_SCORED_AT_ONCE = 256  # hypotheses; 5,000 words and 20 tokens are 100 MB of logits for each run


class Candidates(NamedTuple):
    """The different hypotheses of one photo, those of the first model first, each model's best first."""

    captions: list[str]
    log_probs: np.ndarray  # (hypotheses, models) float64, summed over the tokens of each
    tokens: np.ndarray  # (hypotheses,) int, number of tokens with <end>


def collect_candidates(
    captioners: Sequence[Captioner],
    split: Split,
    vocabulary: Vocabulary,
    *,
    batch_size_photos: int,
    options: CaptionOptions,
    progress: Callable[[int], Any] = lambda done: None,
) -> dict[str, Candidates]:
    """The hypotheses that the ensemble and each captioner find for each photo, scored by all of them.

    Args:
        captioners: of one vocabulary.
        split: as for `caption_split`.
        vocabulary: of the captioners.
        batch_size_photos: photos per batch.
        options: of each search; all `available` hypotheses count.
        progress: called after each batch with the number of photos done.

    Returns:
        Photo id -> candidates, whose models are those of `rerank_weights.model_names`.

    Raises:
        RecordError: a photo occurs twice, or a record is damaged.
    """
    tokenizer = Tokenizer(vocabulary)
    models: list[CaptionModel] = [*([Ensemble(captioners)] if len(captioners) > 1 else []), *captioners]

    @tf.function(autograph=False, reduce_retracing=True)
    def search(inputs: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], tf.Tensor, tf.Tensor, tf.Tensor]:
        features = tuple(captioner.encode(inputs, split.stage) for captioner in captioners)
        of_models = [*([features] if len(captioners) > 1 else []), *features]
        found = [
            find_hypotheses(model, own, options, max_tokens=split.lengths[-1])
            for model, own in zip(models, of_models, strict=True)
        ]
        tokens = tf.concat([hypotheses.tokens for hypotheses in found], 1)
        exists = tf.concat([hypotheses.scores for hypotheses in found], 1) > NEG_INF
        return features, tokens, exists, tokenizer.decode(tokens)

    log_probs_of = tf.function(
        lambda features, tokens: log_probabilities(captioners, features, tokens), autograph=False, reduce_retracing=True
    )
    candidates: dict[str, Candidates] = {}
    for ids, batch in photo_batches(split, batch_size_photos):
        features, *found = search(batch["inputs"])
        pooled = [_distinct(*of_photo) for of_photo in zip(*(each.numpy() for each in found), strict=True)]
        tokens = _padded([tokens for _, tokens in pooled])
        size = max(1, _SCORED_AT_ONCE // tokens.shape[1])
        parts = [slice(start, start + size) for start in range(0, len(ids), size)]
        scored = [log_probs_of(tuple(own[part] for own in features), tokens[part]).numpy() for part in parts]
        log_probs = np.concatenate(scored).astype(float)
        for photo_id, (captions, own_tokens), own_log_probs in zip(ids, pooled, log_probs, strict=True):
            if photo_id:
                lengths = (own_tokens != PAD).sum(-1)
                candidates[photo_id] = Candidates(captions, own_log_probs[: len(captions)], lengths)
        progress(len(candidates))
    return candidates


def log_probabilities(captioners: Sequence[Captioner], features: tuple[tf.Tensor, ...], tokens: tf.Tensor) -> tf.Tensor:
    """Log-probability of captions under each model of `rerank_weights.model_names`; for use in a `tf.function`.

    Args:
        captioners: of one vocabulary.
        features: of each captioner (photos, ...), as `Captioner.encode` gives them.
        tokens: (photos, captions, time) int, without <start>, as in `Hypotheses`.

    Returns:
        (photos, captions, models) float32, summed over the tokens that are not <pad>.
    """
    start = tf.fill(tf.shape(tokens[..., :1]), tf.constant(START, tokens.dtype))
    real = tf.cast(tokens != PAD, tf.float32)
    with_start = tf.concat([start, tokens], -1)
    each = tf.stack(  # (captioners, photos, captions, time)
        [
            -real * tf.nn.sparse_softmax_cross_entropy_with_logits(tokens, captioner.predict(own, with_start).logits)
            for captioner, own in zip(captioners, features, strict=True)
        ]
    )
    if len(captioners) > 1:  # the ensemble's probability of a token is the mean of theirs
        mean = tf.reduce_logsumexp(each, 0, keepdims=True) - tf.math.log(float(len(captioners)))
        each = tf.concat([mean, each], 0)
    return tf.transpose(tf.reduce_sum(each, -1), (1, 2, 0))


def hypothesis_features(
    candidates: Candidates, cider: Cider, tokenize: Tokenize, similarities: np.ndarray
) -> np.ndarray:
    """What is known of each hypothesis without references: (hypotheses, features) float64.

    `rerank_weights.feature_names` names them: summed and mean log-probability under each model, consensus, words,
    similarities.

    Args:
        candidates: of one photo.
        cider: with document frequencies that are not from this photo's references.
        tokenize: divides captions into the tokens of `cider`.
        similarities: (hypotheses, 2), as `ReferenceRegression.similarities` returns them.
    """
    means = candidates.log_probs / np.maximum(candidates.tokens, 1)[:, None]
    by_model = np.stack([candidates.log_probs, means], -1).reshape(len(means), -1)
    words = [len(caption.split()) for caption in candidates.captions]
    return np.column_stack(
        [by_model, consensus(candidates.captions, candidates.log_probs[:, 0], cider, tokenize), words, similarities]
    )


def consensus(captions: Sequence[str], log_probs: np.ndarray, cider: Cider, tokenize: Tokenize) -> np.ndarray:
    """Mean CIDEr-D similarity of each caption to the others, weighted by their probabilities: (captions,) float64.

    Args:
        captions: raw, of one photo; a single one gets 0.
        log_probs: (captions,) float64.
        cider: with document frequencies.
        tokenize: divides captions into the tokens of `cider`.

    Returns:
        From 0 to 1.
    """
    vectors = [cider.tf_idf(tokenize(caption)) for caption in captions]
    found = np.zeros(len(captions))
    for index, vector in enumerate(vectors):
        others = [other for other in range(len(captions)) if other != index]
        if others:
            weights = np.exp(log_probs[others] - log_probs[others].max())
            similarities = [cider.score(vector, [vectors[other]]) / SCALE for other in others]
            found[index] = weights @ similarities / weights.sum()
    return found


def _distinct(tokens: np.ndarray, exists: np.ndarray, captions: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The existing captions of a photo, the first of equal ones, and their tokens (hypotheses, time)."""
    first: dict[str, int] = {}
    for index in np.flatnonzero(exists):
        first.setdefault(captions[index].decode(), int(index))
    return list(first), tokens[list(first.values())]


def _padded(tokens: Sequence[np.ndarray]) -> np.ndarray:
    """Tokens of all photos of a batch, (photos, hypotheses, time) int32, without times that are padding in all."""
    padded = np.full((len(tokens), max(map(len, tokens)), tokens[0].shape[-1]), PAD, np.int32)
    for photo, own in enumerate(tokens):
        padded[photo, : len(own)] = own
    return padded[..., : max(1, int((padded != PAD).any((0, 1)).sum()))]
