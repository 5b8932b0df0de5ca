"""Reranking: ridge regression finds known weights, and no photo's own scores choose its hypothesis."""

import numpy as np
import pytest

from tfcaption.evaluation.reranking import choose, cross_fit, fit, fold_numbers

WEIGHTS = np.array([2.0, -1.0, 0.0, 0.5])
SCALES = np.array([1.0, 30.0, 2.0, 0.1])  # of the features, which ridge regression must not depend on


def photos_with(noise, photos=200, seed=0):
    """Features and scores of hypotheses, each photo with its own level of scores and its own number of hypotheses."""
    generator = np.random.default_rng(seed)
    features, scores = [], []
    for _ in range(photos):
        values = generator.normal(size=(generator.integers(1, 9), 4)) + generator.normal(size=4)
        features.append(values * SCALES)
        scores.append(values @ WEIGHTS + generator.normal() * 10 + generator.normal(size=len(values)) * noise)
    return features, scores, fold_numbers([f"photo {index}" for index in range(photos)], 5)


def mean_of_chosen(predictions, scores):
    return np.mean([own[np.argmax(predicted)] for predicted, own in zip(predictions, scores, strict=True)])


def mean_of_all(scores):
    return np.mean([own.mean() for own in scores])


def test_known_weights_are_found_whatever_the_scale_of_the_features_and_the_level_of_each_photo():
    found = fit(*photos_with(noise=0.1))
    np.testing.assert_allclose(found.weights * SCALES, WEIGHTS, atol=0.03)


def test_one_solution_of_the_ridge_is_that_of_an_augmented_least_squares_problem():
    features, scores, folds = photos_with(noise=1.0, photos=20)
    found = fit(features, scores, folds)
    inputs = np.concatenate([own - own.mean(0) for own in features])
    targets = np.concatenate([own - own.mean() for own in scores])
    deviations = np.sqrt((inputs**2).mean(0))
    penalty = np.sqrt(found.ridge * len(targets)) * np.eye(4)
    rows = np.concatenate([inputs / deviations, penalty]), np.concatenate([targets, np.zeros(4)])
    expected, *_ = np.linalg.lstsq(*rows, rcond=None)
    np.testing.assert_allclose(found.weights, expected / deviations, rtol=1e-6)


def test_cross_fitted_choices_are_nearly_as_good_as_those_of_the_true_weights():
    features, scores, folds = photos_with(noise=1.0)
    found = mean_of_chosen(cross_fit(features, scores, folds).predictions, scores)
    true = mean_of_chosen([own / SCALES @ WEIGHTS for own in features], scores)
    assert found - mean_of_all(scores) > 0.97 * (true - mean_of_all(scores)) > 1


def test_scores_that_say_nothing_gain_nothing_when_cross_fitted_though_they_do_on_the_photos_of_the_fit():
    gains = {"cross-fitted": [], "same photos": []}
    for seed in range(12):
        generator = np.random.default_rng(seed)
        features = [generator.normal(size=(8, 10)) for _ in range(60)]
        scores = [generator.normal(size=8) for _ in features]
        folds = fold_numbers([f"{seed}/{photo}" for photo in range(len(features))], 5)
        predictions = cross_fit(features, scores, folds).predictions
        gains["cross-fitted"].append(mean_of_chosen(predictions, scores) - mean_of_all(scores))
        weights = fit(features, scores, folds).weights
        gains["same photos"].append(mean_of_chosen([own @ weights for own in features], scores) - mean_of_all(scores))
    deviation_of_means = 1 / np.sqrt(12 * 60)
    assert np.mean(gains["cross-fitted"]) < 2 * deviation_of_means
    assert np.mean(gains["same photos"]) > 3 * deviation_of_means


def test_a_photos_own_scores_change_no_prediction_for_its_fold():
    features, scores, folds = photos_with(noise=1.0, photos=30)
    before = cross_fit(features, scores, folds)
    changed = [own[::-1] * 100 if fold == 2 else own for own, fold in zip(scores, folds, strict=True)]
    after = cross_fit(features, changed, folds)
    assert before.ridges[2] == after.ridges[2]
    for photo, fold in enumerate(folds):
        same = np.array_equal(before.predictions[photo], after.predictions[photo])
        assert same == (fold == 2)


def test_folds_are_of_equal_size_and_do_not_depend_on_the_order_of_the_photos():
    ids = [f"{number}.jpg" for number in range(23)]
    numbers = dict(zip(ids, fold_numbers(ids, 5), strict=True))
    assert sorted(np.bincount(list(numbers.values()))) == [4, 4, 5, 5, 5]
    assert numbers == dict(zip(ids[::-1], fold_numbers(ids[::-1], 5), strict=True))
    assert [numbers[photo] for photo in ids] != [index % 5 for index in range(23)]


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_feature_without_variance_has_no_weight_and_the_first_of_equal_hypotheses_is_chosen(value):
    features, scores, folds = photos_with(noise=0.1, photos=20)
    features = [np.column_stack([own, np.full(len(own), value)]) for own in features]
    weights = fit(features, scores, folds).weights
    assert weights[4] == 0 and np.isfinite(weights).all()
    assert choose(np.array([[1.0, 0], [3.0, 1], [3.0, 2]]), np.array([1.0, 0])) == 1
