"""A SavedModel with the signature of an exported captioner, whose captions are easy to predict: the mean colour."""

import io
import json

import numpy as np
import tensorflow as tf
from PIL import Image

from tfcaption.preprocessing.photos import prepare_photo

IMAGE_SIZE, BEAM = 16, 3


class MeanColour(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None, IMAGE_SIZE, IMAGE_SIZE, 3), tf.uint8, name="pixels")])
    def caption(self, pixels):
        means = tf.reduce_mean(tf.cast(pixels, tf.float32), (1, 2))
        # The last caption of the n-best list holds the batch size, so that a test sees whether every batch is full.
        numbers = [tf.strings.as_string(means[:, channel], precision=0) for channel in range(3)]
        best = tf.strings.join([*numbers], " ")
        rows = tf.fill(tf.shape(best), tf.strings.as_string(tf.shape(pixels)[0]))
        nbest = tf.stack([best, tf.strings.join(["not ", best]), tf.strings.join(["rows ", rows])], axis=1)
        scores = tf.stack([-means[:, 0] / 1000, -means[:, 0] - 1, -means[:, 0] - 2], 1)
        return {"captions": nbest[:, 0], "scores": scores[:, 0], "nbest_captions": nbest, "nbest_scores": scores}


def write_export(folder):
    model = MeanColour()
    tf.saved_model.save(model, str(folder), signatures={"from_pixels": model.caption})
    (folder / "assets.extra").mkdir()
    described = {"variant": "frozen", "image_size": IMAGE_SIZE, "resize": "squash", "search": {"beam": BEAM}}
    (folder / "assets.extra" / "export.json").write_text(json.dumps(described))
    return folder


def expected_caption(data):
    """By Pillow and NumPy: the mean colour of the prepared photo."""
    with Image.open(io.BytesIO(prepare_photo(data, image_size=IMAGE_SIZE, resize="squash"))) as image:
        return " ".join(f"{mean:.0f}" for mean in np.asarray(image, np.float32).mean((0, 1)))
