"""Predicts the references of a photo from its features, by kernel ridge regression over the training photos.

Pure NumPy.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from tfcaption.metrics.cider import TfIdf
from tfcaption.metrics.tokens import LONGEST_NGRAM, Ngram

MOST_PHOTOS = 10_000  # of the training split; their kernel takes 400 MB
SHARPNESS = 4.0  # of the kernel exp(SHARPNESS * (cosine - 1))
RIDGE = 0.5


class ReferenceRegression:
    """The TF-IDF vectors that the references of a photo are expected to have, given those of the training photos.

    The vector of a photo is the mean over its references, each normalised for each n as CIDEr does. It is predicted as
    the mean vector of the training photos, and a kernel ridge regression of the differences from it. The kernel
    compares the signed square roots of the features, less their means over the training photos.

    Args:
        photos: (photos, channels) float32, features of the training photos.
        references: TF-IDF vectors of each training photo's references, in the same order.
        captions: TF-IDF vectors of all captions that will be compared; only their n-grams are predicted.
    """

    def __init__(self, photos: np.ndarray, references: Iterable[Sequence[TfIdf]], captions: Iterable[TfIdf]) -> None:
        roots = _signed_roots(photos)
        self._center = roots.mean(0)
        self._photos = _units(roots - self._center)
        wanted = {ngram for caption in captions for ngram in caption.weights}
        found: dict[Ngram, list[tuple[int, float]]] = {ngram: [] for ngram in wanted}
        for photo, of_photo in enumerate(references):
            for ngram, weight in _mean_vector(of_photo).items():
                if ngram in wanted:
                    found[ngram].append((photo, weight))
        # Each n-gram's weights in the vectors of the training photos that have it.
        self._numbers = {ngram: np.array([photo for photo, _ in pairs], int) for ngram, pairs in found.items()}
        self._weights = {ngram: np.array([weight for _, weight in pairs]) for ngram, pairs in found.items()}

    def similarities(self, photos: np.ndarray, captions: Sequence[Sequence[TfIdf]]) -> list[np.ndarray]:
        """Cosine similarity, averaged over n, of captions to all training references and to the predicted ones.

        Args:
            photos: (photos, channels) float32.
            captions: TF-IDF vectors of each photo's captions.

        Returns:
            Of each photo (captions, 2) float64: the mean over the training photos, and the prediction.
        """
        units = _units(_signed_roots(photos) - self._center)
        kernel = _kernel(self._photos, self._photos)
        np.fill_diagonal(kernel, 1 + RIDGE)
        shares = np.linalg.solve(kernel, _kernel(self._photos, units)).T.astype(float)
        return [self._of_photo(own, of_photo) for own, of_photo in zip(shares, captions, strict=True)]

    def _of_photo(self, shares: np.ndarray, captions: Sequence[TfIdf]) -> np.ndarray:
        """(captions, 2), given the shares that the training photos have in the prediction."""
        vectors = [_mean_vector([caption]) for caption in captions]
        mean = {ngram: self._weights[ngram].sum() / len(shares) for vector in vectors for ngram in vector}
        rest = 1 - shares.sum()
        predicted = {
            ngram: rest * value + shares[self._numbers[ngram]] @ self._weights[ngram] for ngram, value in mean.items()
        }
        products = [
            [sum(weight * expected[ngram] for ngram, weight in vector.items()) for expected in (mean, predicted)]
            for vector in vectors
        ]
        return np.array(products, float).reshape(-1, 2) / LONGEST_NGRAM


def _mean_vector(captions: Sequence[TfIdf]) -> dict[Ngram, float]:
    """The mean of the captions' vectors, each of norm 1 for each n."""
    weights: defaultdict[Ngram, float] = defaultdict(float)
    for caption in captions:
        for ngram, weight in caption.weights.items():
            if weight:
                weights[ngram] += weight / caption.norms[len(ngram) - 1] / len(captions)
    return weights


def _signed_roots(features: np.ndarray) -> np.ndarray:
    return np.sign(features) * np.sqrt(np.abs(features))


def _units(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _kernel(units: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.exp(SHARPNESS * (units @ others.T - 1))
