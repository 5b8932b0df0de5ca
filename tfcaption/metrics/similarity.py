"""Cosine similarity of the mean word vectors of captions."""

from collections.abc import Mapping, Sequence

import numpy as np

from tfcaption.metrics.score_tokenizers import Tokenize

Vectors = Mapping[str, np.ndarray]
"""word -> (dimension,) float32"""


def embedding_cosine(
    hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]], vectors: Vectors, tokenize: Tokenize
) -> dict[str, float]:
    """Cosine of a caption's mean word vector and that of each reference, averaged over the references.

    Any two captions in one language have a high cosine. Compare with the cosine of `shuffled` references.

    Returns:
        photo id -> cosine, for photos whose caption and references have words with a vector.
    """
    unit_means: dict[str, np.ndarray | None] = {}

    def unit_mean(caption: str) -> np.ndarray | None:
        if caption not in unit_means:
            known = [vectors[token] for token in tokenize(caption) if token in vectors]
            mean = np.mean(known, axis=0) if known else None
            unit_means[caption] = None if mean is None or not mean.any() else mean / np.linalg.norm(mean)
        return unit_means[caption]

    cosines = {}
    for photo, caption in hypotheses.items():
        hypothesis = unit_mean(caption)
        others = [mean for reference in references[photo] if (mean := unit_mean(reference)) is not None]
        if hypothesis is not None and others:
            cosines[photo] = float(np.mean([hypothesis @ mean for mean in others]))
    return cosines


def shuffled(references: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Gives every photo the references of another one, for the score of unrelated pairs."""
    ids = sorted(references)
    return dict(zip(ids, [references[photo] for photo in [*ids[1:], ids[0]]], strict=True))
