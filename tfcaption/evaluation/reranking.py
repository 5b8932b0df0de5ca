"""Reranking: features of each photo's hypotheses -> weights by ridge regression -> the hypothesis that is chosen.

Pure NumPy. The weights predict which hypothesis of a photo scores best, so features and scores count as differences
from their means over the photo.
"""

import hashlib
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

RIDGES = tuple(10.0**power for power in range(-4, 3))  # as a share of the standardised features' variance


class Fit(NamedTuple):
    """Weights, and how they were found."""

    weights: np.ndarray  # (features,) float64, of features as they are, not standardised
    ridge: float


class CrossFit(NamedTuple):
    """Predicted scores of the hypotheses of each photo, by weights that were fitted without the photo's own scores."""

    predictions: list[np.ndarray]  # of each photo (hypotheses,) float64, comparable within the photo
    ridges: list[float]  # of each fold


class _Moments(NamedTuple):
    """What a ridge regression needs of some photos; sums over their hypotheses."""

    gram: np.ndarray  # (features, features)
    products: np.ndarray  # (features,), with the scores
    hypotheses: int


def fold_numbers(photo_ids: Sequence[str], folds: int) -> np.ndarray:
    """The fold of each photo, (photos,) int: photos in the order of a hash of their ids, dealt out in turn.

    A photo's fold depends neither on the order of the photos nor on anything that is known about them, and the folds
    are of equal size.
    """
    hashes = [hashlib.blake2b(f"rerank/{photo}".encode()).digest() for photo in photo_ids]
    numbers = np.empty(len(photo_ids), int)
    numbers[np.array(sorted(range(len(hashes)), key=hashes.__getitem__), int)] = np.arange(len(hashes)) % folds
    return numbers


def choose(features: np.ndarray, weights: np.ndarray) -> int:
    """The hypothesis of a photo with the highest predicted score, the first of equal ones: (hypotheses, features)."""
    return int(np.argmax(features @ weights))


def fit(features: Sequence[np.ndarray], scores: Sequence[np.ndarray], folds: np.ndarray) -> Fit:
    """Weights from all of these photos, with the ridge that chooses best in a cross-validation over their folds.

    Args:
        features: of each photo (hypotheses, features) float64.
        scores: of each photo (hypotheses,) float64, higher is better.
        folds: (photos,) int, the fold of each photo; at least two different ones.
    """
    return _fit(features, scores, folds, _moments_of_folds(features, scores, folds), set(folds.tolist()))


def cross_fit(features: Sequence[np.ndarray], scores: Sequence[np.ndarray], folds: np.ndarray) -> CrossFit:
    """Predict the scores of each photo's hypotheses by weights, and a ridge, from the photos of other folds alone.

    Args:
        features: of each photo (hypotheses, features) float64.
        scores: of each photo (hypotheses,) float64, higher is better.
        folds: (photos,) int, the fold of each photo; at least three different ones.
    """
    moments = _moments_of_folds(features, scores, folds)
    by_fold = {fold: _fit(features, scores, folds, moments, moments.keys() - {fold}) for fold in moments}
    predictions = [own @ by_fold[fold].weights for own, fold in zip(features, folds.tolist(), strict=True)]
    return CrossFit(predictions, [by_fold[fold].ridge for fold in sorted(by_fold)])


def _fit(
    features: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
    folds: np.ndarray,
    moments: dict[int, _Moments],
    training: Collection[int],
) -> Fit:
    """Weights from some folds; nothing of the others is read."""
    held_out: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {fold: [] for fold in training}
    for own, of_photo, fold in zip(features, scores, folds.tolist(), strict=True):
        if fold in held_out:
            held_out[fold].append((own, of_photo))

    def mean_choice(ridge: float) -> float:
        """Mean score of the hypotheses chosen in each fold by the weights of the others."""
        chosen = []
        for fold, photos in held_out.items():
            weights = _solve([moments[other] for other in training if other != fold], ridge)
            chosen += [of_photo[choose(own, weights)] for own, of_photo in photos]
        return float(np.mean(chosen))

    ridge = max(reversed(RIDGES), key=mean_choice)  # the strongest of equally good ones
    return Fit(_solve([moments[fold] for fold in training], ridge), ridge)


def _moments_of_folds(
    features: Sequence[np.ndarray], scores: Sequence[np.ndarray], folds: np.ndarray
) -> dict[int, _Moments]:
    found = {}
    for fold in sorted(set(folds.tolist())):
        photos = np.flatnonzero(folds == fold).tolist()
        inputs = np.concatenate([features[photo] - features[photo].mean(0) for photo in photos])
        targets = np.concatenate([scores[photo] - scores[photo].mean() for photo in photos])
        found[fold] = _Moments(inputs.T @ inputs, inputs.T @ targets, len(targets))
    return found


def _solve(parts: Sequence[_Moments], ridge: float) -> np.ndarray:
    """Weights of a ridge regression with standardised features, for features as they are: (features,) float64."""
    hypotheses = sum(part.hypotheses for part in parts)
    covariance = sum(part.gram for part in parts) / hypotheses
    products = sum(part.products for part in parts) / hypotheses
    deviations = np.sqrt(np.diag(covariance))
    scale = np.where(deviations > 0, deviations, 1.0)  # a feature without variance gets the weight 0
    standardised = covariance / np.outer(scale, scale)
    return np.linalg.solve(standardised + ridge * np.eye(len(scale)), products / scale) / scale
