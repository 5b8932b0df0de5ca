"""ResNet50: preprocessing, feature maps, and which of its layers train.

Split at `conv5_block1_out` into a trunk that never trains and a head (`conv5_block2_*`, `conv5_block3_*`, 8.9 M of
23.6 M parameters) that the fine-tuned variant trains. BatchNorm always runs in inference mode, so no moving
statistic ever changes.
"""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

SPLIT_LAYER = "conv5_block1_out"
FEATURE_CHANNELS = 2048


class EncoderError(ValueError):
    """Weights that cannot be loaded; the message names the file and the cure."""


class Encoder(keras.layers.Layer):
    """ResNet50 without its classifier.

    Args:
        image_size: side of the photos in pixels.
        weights: `imagenet` (Keras downloads them once), a file for `ResNet50(include_top=False)`, or `random`;
            None where a checkpoint will be restored.
        finetuned: whether the head's convolutions and BatchNorm scales train.

    Raises:
        EncoderError: the weights are missing, cannot be downloaded, or do not fit.
    """

    def __init__(self, *, image_size: int, weights: str | None, finetuned: bool) -> None:
        super().__init__(name="encoder")
        base = _resnet50(image_size, weights)
        middle = base.get_layer(SPLIT_LAYER).output
        self.trunk = keras.Model(base.input, middle, name="trunk")
        self.head = keras.Model(middle, base.output, name="head")
        self.trunk.trainable = False
        self.head.trainable = finetuned
        self.finetuned = finetuned
        self.built = True

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Feature map of photos.

        Args:
            images: (photos, size, size, 3) uint8, RGB.

        Returns:
            (photos, height, width, 2048) in the precision policy's compute dtype; gradients reach the head only.
        """
        maps = tf.stop_gradient(self.trunk(preprocess(images), training=False))
        maps = self.head(maps, training=False)
        return maps if self.finetuned else tf.stop_gradient(maps)


def preprocess(images: tf.Tensor) -> tf.Tensor:
    """What the ImageNet weights expect ("Caffe mode"): RGB uint8 -> BGR float32 less the channels' means.

    Reference: `keras.applications.resnet50.preprocess_input`.
    """
    return tf.reverse(tf.cast(images, tf.float32), [-1]) - tf.constant([103.939, 116.779, 123.68])


def _resnet50(image_size: int, weights: str | None) -> keras.Model:
    shape = (image_size, image_size, 3)
    if weights is None:
        return keras.applications.ResNet50(include_top=False, weights=None, input_shape=shape)
    if weights == "random":
        return _random_resnet50(shape)
    if weights == "imagenet":
        try:
            return keras.applications.ResNet50(include_top=False, weights="imagenet", input_shape=shape)
        except Exception as error:
            raise EncoderError(
                f"model.weights=imagenet: Keras could not download the weights ({error}); "
                "name a file of ResNet50(include_top=False) weights instead"
            ) from error
    if not Path(weights).is_file():
        raise EncoderError(f"model.weights={weights}: no such file; name a file, imagenet or random")
    model = keras.applications.ResNet50(include_top=False, weights=None, input_shape=shape)
    try:
        model.load_weights(weights)
    except Exception as error:
        raise EncoderError(f"model.weights={weights}: not weights of ResNet50(include_top=False): {error}") from error
    return model


def _random_resnet50(shape: tuple[int, int, int]) -> keras.Model:
    """Random convolutions that still tell pictures apart; the same weights on every call.

    Fifty random layers in a row forget their input, so the residual branches are weighted down and the shortcuts
    shifted up before their ReLU, which lets the picture through (after Zhang et al. 2019, arXiv:1901.09321); BatchNorm
    statistics are measured on random pictures (after Krähenbühl et al. 2016, arXiv:1511.06856).
    """
    generator = np.random.default_rng(0)
    model = keras.applications.ResNet50(include_top=False, weights=None, input_shape=shape)
    normalizations = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel, bias = layer.get_weights()
            deviation = np.sqrt(2 / np.prod(kernel.shape[:3]))
            layer.set_weights([generator.normal(0, deviation, kernel.shape), np.zeros_like(bias)])
        elif isinstance(layer, keras.layers.BatchNormalization):
            if layer.name.endswith("_3_bn"):  # the end of a residual branch
                layer.gamma.assign(0.1 * layer.gamma)
            elif layer.name.endswith(("_0_bn", "conv1_bn")):  # a shortcut's projection, the first layer
                layer.beta.assign(layer.beta + 0.5)
            normalizations.append((layer, layer.momentum))
            layer.momentum = 0.0  # take the statistics of the one batch below
    patches = generator.integers(90, 166, (32, 4, 4, 3))  # soft contrasts, as most photos have
    model(preprocess(tf.image.resize(patches, shape[:2], "bicubic")), training=True)
    for layer, momentum in normalizations:
        layer.momentum = momentum
    return model
