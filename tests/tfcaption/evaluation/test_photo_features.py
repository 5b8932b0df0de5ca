"""Pooled features of the photos of a split, from the photos themselves."""

import numpy as np

from tests.support.features import all_features
from tfcaption.evaluation.photo_features import pooled_features
from tfcaption.input_pipeline.options import NO_CACHE
from tfcaption.input_pipeline.split import open_split
from tfcaption.records.dataset import load_dataset
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import load_run


def test_features_from_photos_are_the_stored_ones_and_an_encoder_of_two_runs_counts_once(
    trained_run, glove_run, small_pooled, sample_records
):
    captioners = [load_captioner(load_run(path))[0] for path in (trained_run, glove_run)]
    split = open_split("dev", load_dataset(sample_records), buckets=2, cache=NO_CACHE)
    found = pooled_features(captioners, split, batch_size_photos=4)
    stored = all_features(small_pooled)
    assert len(found) == split.photos
    for photo, values in found.items():
        np.testing.assert_allclose(values, np.frombuffer(stored[photo], np.float16), rtol=2e-2, atol=2e-3)
    first = pooled_features(captioners[:1], split, batch_size_photos=4, most_photos=5)
    assert list(first) == list(found)[:5]
