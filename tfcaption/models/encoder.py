"""The encoder: ResNet50 in stages, its preprocessing, and the layers of it that train.

It is split at `conv5_block1_out` into a trunk that never trains and a head (`conv5_block2_*`, `conv5_block3_*`, 8.9 M
of 23.6 M parameters) that the fine-tuned variant trains. BatchNorm always runs in inference mode, so its moving
statistics never change.
"""

import functools
import hashlib
import os
from pathlib import Path
from typing import get_args

import keras
import numpy as np
import tensorflow as tf

from tfcaption.backbones.building import building, random_state_restored
from tfcaption.records.examples import Stage
from tfcaption.runtime.errors import TfcaptionError
from tfcaption.runtime.paths import as_path, local_copy

STAGES: tuple[Stage, ...] = get_args(Stage)
PREPROCESSING = "RGB to BGR, less 103.939, 116.779, 123.68"
SPLIT_LAYER = "conv5_block1_out"
FEATURE_CHANNELS = 2048
# What `imagenet` makes Keras download, once.
IMAGENET_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
    "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
)


class EncoderError(TfcaptionError, ValueError):
    """Weights cannot be loaded; the message begins with the file, so that a caller can add the option before it."""


class Encoder(keras.layers.Layer):
    """ResNet50 without its classifier, in the stages photo -> trunk -> map -> pooled.

    Args:
        image_size: side of the photos in pixels.
        weights: `imagenet` (downloaded once by Keras), the path of weights for `ResNet50(include_top=False)`, or
            `random`; None if a checkpoint will be restored.
        finetuned: whether the head's convolutions and BatchNorm scales train.

    Raises:
        EncoderError: the weights are missing, cannot be downloaded, or do not fit ResNet50.
    """

    def __init__(self, *, image_size: int, weights: str | None, finetuned: bool) -> None:
        super().__init__(name="encoder")
        self.base = _resnet50(image_size, weights)
        trunk_output = self.base.get_layer(SPLIT_LAYER).output
        self.trunk = keras.Model(self.base.input, trunk_output, name="trunk")
        self.head = keras.Model(trunk_output, self.base.output, name="head")
        self.trunk.trainable = False
        self.head.trainable = finetuned
        self.finetuned = finetuned
        # On a CPU, matrix products instead of convolutions take 0.75 of the time for the head's gradients at 7x7
        # positions, and 0.15 of it at 2x2.
        self._uses_convolutions = bool(tf.config.list_physical_devices("GPU"))
        self.built = True

    def call(self, inputs: tf.Tensor, start: Stage = "photo", end: Stage = "pooled") -> tf.Tensor:
        """Run the stages from `start` to `end`; gradients reach the head only, and only if it is fine-tuned.

        Args:
            inputs: photos at `start`. photo: (photos, size, size, 3) uint8 RGB; trunk and map: (photos, height,
                width, 2048) any float; pooled: (photos, 2048) any float.
            start: stage of the inputs.
            end: stage of the outputs.

        Returns:
            The photos at `end`, in the compute dtype of the precision policy.
        """
        steps = {"photo": self._trunk_maps, "trunk": self._head_maps, "map": _pool}
        outputs = inputs if start == "photo" else tf.cast(inputs, self.compute_dtype)
        for stage in STAGES[STAGES.index(start) : STAGES.index(end)]:
            outputs = steps[stage](outputs)
        return outputs

    def _trunk_maps(self, images: tf.Tensor) -> tf.Tensor:
        return tf.stop_gradient(self.trunk(preprocess(images), training=False))

    def _head_maps(self, maps: tf.Tensor) -> tf.Tensor:
        maps = self.head(maps, training=False) if self._uses_convolutions else head_as_matrix_products(self.head, maps)
        return maps if self.finetuned else tf.stop_gradient(maps)

    def feature_shape(self, stage: Stage) -> tuple[int, ...]:
        """Shape of one photo's features at a stage."""
        maps = tuple(self.base.output.shape[1:])
        return {"photo": tuple(self.base.input.shape[1:]), "pooled": maps[-1:]}.get(stage, maps)

    def fingerprint(self, stage: Stage) -> str:
        """sha256 of all weights that a photo passes on its way to `stage`."""
        digest = hashlib.sha256()
        for part in (self.trunk,) if stage == "trunk" else (self.trunk, self.head):
            for weight in part.get_weights():
                digest.update(str(weight.shape).encode() + weight.tobytes())
        return digest.hexdigest()


def head_as_matrix_products(head: keras.Model, maps: tf.Tensor) -> tf.Tensor:
    """The same function as `head(maps, training=False)`, each convolution as one matrix product over all positions."""
    for block in ("conv5_block2", "conv5_block3"):
        branch = maps
        for index in (1, 2, 3):
            branch = _convolution_layer(branch, head.get_layer(f"{block}_{index}_conv"))
            branch = _batch_norm_layer(branch, head.get_layer(f"{block}_{index}_bn"))
            if index < 3:
                branch = tf.nn.relu(branch)
        maps = tf.nn.relu(maps + branch)
    return maps


def _convolution_layer(maps: tf.Tensor, layer: keras.layers.Conv2D) -> tf.Tensor:
    """A convolution of stride 1 and padding `same`."""
    kernel, bias = (tf.cast(weight.value, maps.dtype) for weight in (layer.kernel, layer.bias))
    return _convolution(maps, kernel) + bias


@tf.custom_gradient
def _convolution(maps: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, object]:
    """Stride 1, zero padding: maps (photos, height, width, channels), kernel (side, side, channels, filters)."""
    patches = _patches(maps, kernel.shape[0])

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # The maps' gradient is a convolution with the flipped kernel; TensorFlow would add up shifted copies.
        flipped = tf.transpose(tf.reverse(kernel, [0, 1]), (0, 1, 3, 2))
        d_maps = _apply_kernel(_patches(upstream, kernel.shape[0]), flipped)
        d_kernel = tf.tensordot(patches, upstream, [[0, 1, 2], [0, 1, 2]])
        return d_maps, tf.reshape(d_kernel, kernel.shape)

    return _apply_kernel(patches, kernel), gradient


def _apply_kernel(patches: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    side, _, channels, filters = kernel.shape
    return tf.tensordot(patches, tf.reshape(kernel, (side * side * channels, filters)), 1)


def _patches(maps: tf.Tensor, side: int) -> tf.Tensor:
    """The patch around each position (im2col): (photos, height, width, side * side * channels)."""
    if side == 1:
        return maps
    height, width = maps.shape[1:3]
    padded = tf.pad(maps, [[0, 0], [side // 2] * 2, [side // 2] * 2, [0, 0]])
    return tf.concat([padded[:, i : i + height, j : j + width] for i in range(side) for j in range(side)], -1)


def _batch_norm_layer(maps: tf.Tensor, layer: keras.layers.BatchNormalization) -> tf.Tensor:
    """BatchNorm in inference mode, in float32 as Keras computes it."""
    scale = layer.gamma.value * tf.math.rsqrt(layer.moving_variance.value + layer.epsilon)
    shifted = tf.cast(maps, tf.float32) * scale + (layer.beta.value - layer.moving_mean.value * scale)
    return tf.cast(shifted, maps.dtype)


def _pool(maps: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(maps, axis=(1, 2))


def preprocess(images: tf.Tensor) -> tf.Tensor:
    """The preprocessing of the ImageNet weights ("Caffe mode"): RGB uint8 -> BGR float32 minus the channel means.

    Equals `keras.applications.resnet50.preprocess_input`.
    """
    return tf.reverse(tf.cast(images, tf.float32), [-1]) - tf.constant([103.939, 116.779, 123.68])


@random_state_restored()  # so that the decoder built next has the same initial weights with every encoder
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
            cache = Path(os.environ.get("KERAS_HOME", "~/.keras")) / "models"
            raise EncoderError(
                f"imagenet: Keras could not download the weights ({error}); fetch {IMAGENET_URL} on another machine, "
                f"then put it into {cache}/ of this one, or name the file instead of imagenet"
            ) from error
    path = as_path(weights)
    if not path.is_file():
        raise EncoderError(f"{weights}: no such file; name a file, imagenet or random")
    model = keras.applications.ResNet50(include_top=False, weights=None, input_shape=shape)
    try:
        with local_copy(path) as local_path:
            model.load_weights(local_path)
    except Exception as error:
        raise EncoderError(f"{weights}: not weights of ResNet50(include_top=False): {error}") from error
    return model


def _random_resnet50(shape: tuple[int, int, int]) -> keras.Model:
    """Random weights whose features still tell photos apart; the same ones on every call and under every precision
    policy.

    Fifty random layers in a row lose their input. Therefore the residual branches are scaled down and the shortcuts
    shifted up before their ReLU, which lets the input through (after Zhang et al. 2019, arXiv:1901.09321). BatchNorm
    statistics are measured on random images (after Krähenbühl et al. 2016, arXiv:1511.06856).
    """
    model = keras.applications.ResNet50(include_top=False, weights=None, input_shape=shape)
    model.set_weights(_random_weights(shape))
    return model


@functools.lru_cache(maxsize=1)  # measuring takes longer than everything else in building a model
def _random_weights(shape: tuple[int, int, int]) -> list[np.ndarray]:
    with building("float32"):
        return _measured_resnet50(shape).get_weights()


def _measured_resnet50(shape: tuple[int, int, int]) -> keras.Model:
    generator = np.random.default_rng(0)
    model = keras.applications.ResNet50(include_top=False, weights=None, input_shape=shape)
    normalizations = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel, bias = layer.get_weights()
            deviation = np.sqrt(2 / np.prod(kernel.shape[:3]))  # He initialisation
            layer.set_weights([generator.normal(0, deviation, kernel.shape), np.zeros_like(bias)])
        elif isinstance(layer, keras.layers.BatchNormalization):
            if layer.name.endswith("_3_bn"):  # last of a residual branch
                layer.gamma.assign(0.1 * layer.gamma)
            elif layer.name.endswith(("_0_bn", "conv1_bn")):  # projection of a shortcut, or the first layer
                layer.beta.assign(layer.beta + 0.5)
            normalizations.append((layer, layer.momentum))
            layer.momentum = 0.0  # take the statistics of the batch below
    blocks = generator.integers(90, 166, (32, 4, 4, 3))  # soft contrasts, as in most photos
    model(preprocess(tf.image.resize(blocks, shape[:2], "bicubic")), training=True)
    for layer, momentum in normalizations:
        layer.momentum = momentum
    return model
