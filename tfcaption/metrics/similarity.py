"""Cosine similarity of mean word vectors of captions."""

from collections.abc import Mapping, Sequence

import numpy as np

from tfcaption.metrics.tokens import tokenize

Vectors = Mapping[str, np.ndarray]
"""word -> (dimension,) float32"""


def embedding_cosine(
    hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]], vectors: Vectors
) -> dict[str, float]:
    """Per photo, the cosine of the caption's mean word vector and each reference's, averaged over the references.

    High for any two captions in one language: read it beside `shuffled` pairs.

    Returns:
        photo id -> cosine, for photos whose captions have any word with a vector.
    """
    means: dict[str, np.ndarray | None] = {}

    def mean_vector(caption: str) -> np.ndarray | None:
        if caption not in means:
            found = [vectors[token] for token in tokenize(caption) if token in vectors]
            mean = np.mean(found, axis=0) if found else None
            means[caption] = None if mean is None or not mean.any() else mean / np.linalg.norm(mean)
        return means[caption]

    cosines = {}
    for photo, caption in hypotheses.items():
        mine = mean_vector(caption)
        others = [vector for text in references[photo] if (vector := mean_vector(text)) is not None]
        if mine is not None and others:
            cosines[photo] = float(np.mean([mine @ vector for vector in others]))
    return cosines


def shuffled(references: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Every photo with the references of another one: what a score says of unrelated pairs."""
    ids = sorted(references)
    return dict(zip(ids, [references[photo] for photo in [*ids[1:], ids[0]]], strict=True))
