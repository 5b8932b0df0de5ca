"""ResNet50: preprocessing, feature maps, and which of its layers train.

Split at `conv5_block1_out` into a trunk that never trains and a head (`conv5_block2_*`, `conv5_block3_*`, 8.9 M of
23.6 M parameters) that the fine-tuned variant trains. BatchNorm always runs in inference mode, so no moving
statistic ever changes.
"""

import functools
import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

import keras
import numpy as np
import tensorflow as tf

from tfcaption.records.examples import Stage
from tfcaption.runtime.errors import TfcaptionError
from tfcaption.runtime.paths import as_path, local_copy

STAGES: tuple[Stage, ...] = get_args(Stage)
PREPROCESSING = "RGB to BGR, less 103.939, 116.779, 123.68"
SPLIT_LAYER = "conv5_block1_out"
FEATURE_CHANNELS = 2048


class EncoderError(TfcaptionError, ValueError):
    """Weights that cannot be loaded; the message names the file and the cure."""


class Encoder(keras.layers.Layer):
    """ResNet50 without its classifier, in the stages photo -> trunk -> map -> pooled.

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
        self.base = _resnet50(image_size, weights)
        middle = self.base.get_layer(SPLIT_LAYER).output
        self.trunk = keras.Model(self.base.input, middle, name="trunk")
        self.head = keras.Model(middle, self.base.output, name="head")
        self.trunk.trainable = False
        self.head.trainable = finetuned
        self.finetuned = finetuned
        # As matrix products the head's gradients take 0.75 of the time on a CPU at 7x7 positions, 0.15 at 2x2.
        self._convolutions = bool(tf.config.list_physical_devices("GPU"))
        self.built = True

    def call(self, inputs: tf.Tensor, start: Stage = "photo", end: Stage = "pooled") -> tf.Tensor:
        """Take photos from one stage to a later one; gradients reach the head only, and only if it is fine-tuned.

        Args:
            inputs: photos at `start`. photo: (photos, size, size, 3) uint8, RGB; trunk and map: (photos, height,
                width, 2048); pooled: (photos, 2048), any float.
            start: where they are.
            end: where they shall be.

        Returns:
            The photos at `end`, in the precision policy's compute dtype.
        """
        steps = {"photo": self._trunk_maps, "trunk": self._head_maps, "map": _pool}
        outputs = inputs if start == "photo" else tf.cast(inputs, self.compute_dtype)
        for stage in STAGES[STAGES.index(start) : STAGES.index(end)]:
            outputs = steps[stage](outputs)
        return outputs

    def _trunk_maps(self, images: tf.Tensor) -> tf.Tensor:
        return tf.stop_gradient(self.trunk(preprocess(images), training=False))

    def _head_maps(self, maps: tf.Tensor) -> tf.Tensor:
        maps = self.head(maps, training=False) if self._convolutions else products_of_head(self.head, maps)
        return maps if self.finetuned else tf.stop_gradient(maps)

    def feature_shape(self, stage: Stage) -> tuple[int, ...]:
        """Shape of one photo's features at a stage."""
        maps = tuple(self.base.output.shape[1:])
        return {"photo": tuple(self.base.input.shape[1:]), "pooled": maps[-1:]}.get(stage, maps)

    def fingerprint(self, stage: Stage) -> str:
        """sha256 of all weights that decide what a photo is at `stage`."""
        digest = hashlib.sha256()
        for part in (self.trunk,) if stage == "trunk" else (self.trunk, self.head):
            for weight in part.get_weights():
                digest.update(str(weight.shape).encode() + weight.tobytes())
        return digest.hexdigest()


def products_of_head(head: keras.Model, maps: tf.Tensor) -> tf.Tensor:
    """What `head(maps, training=False)` gives, with each convolution as a matrix product over all positions."""
    for block in ("conv5_block2", "conv5_block3"):
        branch = maps
        for index in (1, 2, 3):
            branch = _product(branch, head.get_layer(f"{block}_{index}_conv"))
            branch = _normalized(branch, head.get_layer(f"{block}_{index}_bn"))
            if index < 3:
                branch = tf.nn.relu(branch)
        maps = tf.nn.relu(maps + branch)
    return maps


def _product(maps: tf.Tensor, layer: keras.layers.Conv2D) -> tf.Tensor:
    """A convolution of stride 1 that keeps the size."""
    kernel, bias = (tf.cast(weight.value, maps.dtype) for weight in (layer.kernel, layer.bias))
    return _convolution(maps, kernel) + bias


@tf.custom_gradient
def _convolution(maps: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, object]:
    """Stride 1, zeros around: (photos, height, width, channels) and (side, side, channels, filters)."""
    neighbours = _neighbours(maps, kernel.shape[0])

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Of the maps: the same convolution with the kernel turned round. TensorFlow would add up shifted copies.
        turned = tf.transpose(tf.reverse(kernel, [0, 1]), (0, 1, 3, 2))
        d_maps = _over_positions(_neighbours(upstream, kernel.shape[0]), turned)
        d_kernel = tf.tensordot(neighbours, upstream, [[0, 1, 2], [0, 1, 2]])
        return d_maps, tf.reshape(d_kernel, kernel.shape)

    return _over_positions(neighbours, kernel), gradient


def _over_positions(neighbours: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    side, _, channels, filters = kernel.shape
    return tf.tensordot(neighbours, tf.reshape(kernel, (side * side * channels, filters)), 1)


def _neighbours(maps: tf.Tensor, side: int) -> tf.Tensor:
    """Each position with those around it: (photos, height, width, side * side * channels)."""
    if side == 1:
        return maps
    height, width = maps.shape[1:3]
    padded = tf.pad(maps, [[0, 0], [side // 2] * 2, [side // 2] * 2, [0, 0]])
    return tf.concat([padded[:, i : i + height, j : j + width] for i in range(side) for j in range(side)], -1)


def _normalized(maps: tf.Tensor, layer: keras.layers.BatchNormalization) -> tf.Tensor:
    """BatchNorm in inference mode, in float32 as Keras computes it."""
    scale = layer.gamma.value * tf.math.rsqrt(layer.moving_variance.value + layer.epsilon)
    shifted = tf.cast(maps, tf.float32) * scale + (layer.beta.value - layer.moving_mean.value * scale)
    return tf.cast(shifted, maps.dtype)


def _pool(maps: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(maps, axis=(1, 2))


def preprocess(images: tf.Tensor) -> tf.Tensor:
    """What the ImageNet weights expect ("Caffe mode"): RGB uint8 -> BGR float32 less the channels' means.

    Reference: `keras.applications.resnet50.preprocess_input`.
    """
    return tf.reverse(tf.cast(images, tf.float32), [-1]) - tf.constant([103.939, 116.779, 123.68])


@contextmanager
def _draws_kept() -> Iterator[None]:
    """Leave Python's random state, from which Keras seeds each layer, as it was: the decoder that is made next begins
    with the same weights whatever the encoder is."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


@_draws_kept()
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
    if not as_path(weights).is_file():
        raise EncoderError(f"model.weights={weights}: no such file; name a file, imagenet or random")
    model = keras.applications.ResNet50(include_top=False, weights=None, input_shape=shape)
    try:
        with local_copy(weights) as path:
            model.load_weights(path)
    except Exception as error:
        raise EncoderError(f"model.weights={weights}: not weights of ResNet50(include_top=False): {error}") from error
    return model


def _random_resnet50(shape: tuple[int, int, int]) -> keras.Model:
    """Random convolutions that still tell pictures apart; the same weights on every call, under every precision policy.

    Fifty random layers in a row forget their input, so the residual branches are weighted down and the shortcuts
    shifted up before their ReLU, which lets the picture through (after Zhang et al. 2019, arXiv:1901.09321); BatchNorm
    statistics are measured on random pictures (after Krähenbühl et al. 2016, arXiv:1511.06856).
    """
    model = keras.applications.ResNet50(include_top=False, weights=None, input_shape=shape)
    model.set_weights(_random_weights(shape))
    return model


@functools.lru_cache(maxsize=1)  # measuring takes longer than all else of a model
def _random_weights(shape: tuple[int, int, int]) -> list[np.ndarray]:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        return _measured_resnet50(shape).get_weights()
    finally:
        keras.config.set_dtype_policy(policy)


def _measured_resnet50(shape: tuple[int, int, int]) -> keras.Model:
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
