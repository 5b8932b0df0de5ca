"""Kernel ridge regression of a photo's references: against the textbook formula, and on photos that it can learn."""

import numpy as np

from tfcaption.evaluation.reference_regression import RIDGE, SHARPNESS, ReferenceRegression
from tfcaption.metrics.cider import Cider
from tfcaption.metrics.tokens import ngrams

WORDS = ["a", "dog", "runs", "bird", "flies", "the", "man", "sits"]


def corpus(photos, seed=0):
    """Features of photos, some negative, one channel constant, two photos equal, and two random captions of each."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(photos, 6)).astype(np.float32)
    features[:, 2] = 3
    features[1] = features[0]
    return features, [[tuple(random.choice(WORDS, 5)) for _ in range(2)] for _ in range(photos)]


def regression(features, captions, compared):
    cider = Cider(captions)
    vectors = [[cider.tf_idf(tokens) for tokens in of_photo] for of_photo in captions]
    of_compared = [cider.tf_idf(tokens) for tokens in compared]
    return ReferenceRegression(features, vectors, of_compared), of_compared


def by_textbook(features, captions, new, compared):
    """Similarities from dense vectors: y + k (K + ridge I)^-1 (Y - y)."""
    documents = [set().union(*map(ngrams, of_photo)) for of_photo in captions]
    idf = {
        ngram: np.log(len(captions) / max(sum(ngram in document for document in documents), 1))
        for ngram in set().union(*documents, *map(ngrams, compared))
    }
    order = sorted(idf)

    def vector(tokens):
        values = np.array([ngrams(tokens).count(ngram) * idf[ngram] for ngram in order])
        for n in range(1, 5):
            chosen = np.array([len(ngram) == n for ngram in order])
            values[chosen] /= np.linalg.norm(values[chosen]) or 1
        return values

    def units(values):
        roots = [np.sign(each) * np.abs(each.astype(float)) ** 0.5 for each in (features, values)]
        return [row / np.linalg.norm(row) for row in roots[1] - roots[0].mean(0)]

    targets = np.array([np.mean([vector(tokens) for tokens in of_photo], 0) for of_photo in captions])
    mean = targets.mean(0)
    own, other = np.array(units(features)), np.array(units(new))
    kernel, to_new = (np.exp(SHARPNESS * (each @ own.T - 1)) for each in (own, other))
    predicted = mean + to_new @ np.linalg.solve(kernel + RIDGE * np.eye(len(own)), targets - mean)
    vectors = np.array([vector(tokens) for tokens in compared])
    return [np.stack([vectors @ mean, vectors @ row], 1) / 4 for row in predicted]


def test_similarities_are_those_of_kernel_ridge_regression():
    features, captions = corpus(12)
    new, compared = corpus(3, seed=1)[0], [captions[0][0], captions[5][1], ("a", "dog", "never", "flies")]
    fitted, vectors = regression(features, captions, compared)
    found = fitted.similarities(new, [vectors, vectors[1:], []])
    expected = by_textbook(features, captions, new, compared)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)
    np.testing.assert_allclose(found[1], expected[1][1:], atol=1e-5)
    assert found[2].shape == (0, 2) and np.ptp(expected[0][:, 1]) > 0.05


def test_the_right_caption_of_a_new_photo_is_predicted_to_be_more_similar_than_a_wrong_one():
    random = np.random.default_rng(0)
    kinds = random.integers(0, 2, 60)
    captions = [[("a", "dog", "runs"), ("the", "dog")] if kind else [("a", "bird", "flies")] for kind in kinds]
    looks = np.stack([np.where(kinds, 3, 1), np.where(kinds, 1, 3)], 1) + random.normal(0, 0.5, (60, 2))
    noise = random.normal(0, 0.2, (60, 4))
    features = np.concatenate([looks, noise], 1).astype(np.float32)
    fitted, vectors = regression(features[:40], captions[:40], [("the", "bird", "flies"), ("the", "dog", "runs")])
    found = np.stack(fitted.similarities(features[40:], [vectors] * 20))
    assert (found[..., 1].argmax(1) == kinds[40:]).all()
    assert np.ptp(found[..., 0], axis=0).max() == 0  # the mean over the training photos knows nothing of a photo
