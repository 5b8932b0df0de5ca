"""What a search returns, length normalisation, and computing only the rows that are still active."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfcaption.models.ensemble import CaptionModel
from tfcaption.records.vocabulary import START

LENGTH_ALPHA = 0.7
NEG_INF = float("-inf")


class Hypotheses(NamedTuple):
    """The captions of a batch of photos, best first."""

    tokens: tf.Tensor  # (photos, beam, max_tokens) int32 without <start>; <pad> after <end>, and for no caption at all
    scores: tf.Tensor  # (photos, beam) float32, see `normalized`; -inf for no caption at all


def compute_active_rows(
    going: tf.Tensor, compute: Callable[..., Any], by_row: Any, *, otherwise: Any, packed: bool
) -> Any:
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


def attention_weights(captioner: CaptionModel, features: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor | None:
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


def length_normalized(totals: tf.Tensor, lengths: tf.Tensor, length_alpha: float) -> tf.Tensor:
    """Scores of captions of different lengths: the sum of log-probabilities over length ** alpha, <end> counted.

    With 0 the sum itself, which prefers short captions; with 1 the mean.
    """
    return totals / tf.cast(tf.maximum(lengths, 1), totals.dtype) ** length_alpha
