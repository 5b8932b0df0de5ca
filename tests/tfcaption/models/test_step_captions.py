"""The captions of a step and their photos."""

import numpy as np
import tensorflow as tf

from tfcaption.models.decoder import StepCaptions

PHOTOS = tf.constant([[10.0], [20.0], [30.0]])


def test_all_captions_of_photos_in_order():
    captions = StepCaptions(3, 2)
    values = tf.constant([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]])
    np.testing.assert_array_equal(captions.repeat(PHOTOS)[:, 0], [10, 10, 20, 20, 30, 30])
    by_photo = captions.by_photo(values)
    np.testing.assert_array_equal(by_photo[..., 0], [[1, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(captions.from_photo(by_photo), values)


def test_some_captions_of_photos_in_any_order():
    captions = StepCaptions(3, 2, tf.constant([5, 0, 1]))
    values = tf.constant([[1.0], [2.0], [3.0]])
    np.testing.assert_array_equal(captions.repeat(PHOTOS)[:, 0], [30, 10, 10])
    by_photo = captions.by_photo(values)
    np.testing.assert_array_equal(by_photo[..., 0], [[2, 3], [0, 0], [0, 1]])
    np.testing.assert_array_equal(captions.from_photo(by_photo), values)
