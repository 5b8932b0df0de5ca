"""What backbones take instead of RGB bytes: one function for the five input conventions."""

import tensorflow as tf

from tfcaption.backbones.families import EncoderInput

PREPROCESSING: dict[EncoderInput, str] = {
    "caffe": "RGB to BGR, less 103.939, 116.779, 123.68",
    "tf": "RGB / 127.5 - 1",
    "torch": "RGB / 255, less 0.485, 0.456, 0.406, divided by 0.229, 0.224, 0.225",
    "0..255": "RGB from 0 to 255",
    "inside": "RGB from 0 to 255, normalized by the encoder's own layers",
}
"""What `features.json` says of each convention."""


def preprocess(images: tf.Tensor, convention: EncoderInput) -> tf.Tensor:
    """What a backbone of an input convention takes; `caffe`, `tf` and `torch` equal Keras' `preprocess_input`.

    Args:
        images: (photos, height, width, 3) uint8 RGB.
        convention: one of `PREPROCESSING`.

    Returns:
        (photos, height, width, 3) float32.
    """
    pixels = tf.cast(images, tf.float32)
    if convention == "caffe":
        return tf.reverse(pixels, [-1]) - tf.constant([103.939, 116.779, 123.68])
    if convention == "tf":
        return pixels / 127.5 - 1.0
    if convention == "torch":
        return (pixels / 255.0 - tf.constant([0.485, 0.456, 0.406])) / tf.constant([0.229, 0.224, 0.225])
    return pixels
