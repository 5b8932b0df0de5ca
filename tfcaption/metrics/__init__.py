"""Scores of captions. Imports no TensorFlow, and of other rooms only `preprocessing.normalization` and
`runtime.errors`."""

from tfcaption.metrics.corpus import corpus_scores
from tfcaption.metrics.tokens import score_tokens

__all__ = ["corpus_scores", "score_tokens"]
