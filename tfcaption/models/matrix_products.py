"""ResNet50's last blocks as matrix products, which a CPU trains faster than convolutions."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf


class _Weights(NamedTuple):
    """Of a convolution and its BatchNorm: float32 variables."""

    kernel: tf.Variable  # (side, side, channels, filters)
    bias: tf.Variable
    gamma: tf.Variable
    beta: tf.Variable
    mean: tf.Variable
    variance: tf.Variable
    epsilon: float


def head_as_matrix_products(head: keras.Model, *, trains: bool) -> Callable[[tf.Tensor], tf.Tensor]:
    """The function `head(maps, training=False)`, each convolution as one matrix product over all positions.

    Args:
        head: `conv5_block2` and `conv5_block3`; its weights are read in each call.
        trains: whether the weights train. Then each BatchNorm is folded into the convolution before it, which saves
            passes over the maps, forward and backward. Otherwise features keep the bits of earlier versions.

    Returns:
        The function of maps (photos, height, width, 2048) any float, which multiplies in their dtype.
    """
    layer = _folded_layer if trains else _layer
    # Taken here: within a call in mixed precision Keras gives convolutions' weights rounded.
    blocks = [[_weights(head, f"{block}_{index}") for index in (1, 2, 3)] for block in ("conv5_block2", "conv5_block3")]

    def run(maps: tf.Tensor) -> tf.Tensor:
        for first, second, third in blocks:
            branch = layer(layer(maps, first, relu=True), second, relu=True)
            maps = tf.nn.relu(maps + layer(branch, third, relu=False))
        return maps

    return run


def _weights(head: keras.Model, name: str) -> _Weights:
    convolution, norm = head.get_layer(f"{name}_conv"), head.get_layer(f"{name}_bn")
    return _Weights(
        kernel=convolution.kernel.value,
        bias=convolution.bias.value,
        gamma=norm.gamma.value,
        beta=norm.beta.value,
        mean=norm.moving_mean.value,
        variance=norm.moving_variance.value,
        epsilon=norm.epsilon,
    )


def _layer(maps: tf.Tensor, weights: _Weights, *, relu: bool) -> tf.Tensor:
    """A convolution of stride 1 and padding `same`; its BatchNorm, in float32 as Keras computes it; a ReLU or none."""
    kernel, bias = (tf.cast(weight, maps.dtype) for weight in (weights.kernel, weights.bias))
    convolved = tf.tensordot(_patches(maps, kernel.shape[0]), _as_matrix(kernel), 1) + bias
    scale = weights.gamma * tf.math.rsqrt(weights.variance + weights.epsilon)
    shifted = tf.cast(convolved, tf.float32) * scale + (weights.beta - weights.mean * scale)
    shifted = tf.cast(shifted, maps.dtype)
    return tf.nn.relu(shifted) if relu else shifted


def _folded_layer(maps: tf.Tensor, weights: _Weights, *, relu: bool) -> tf.Tensor:
    """The same by one matrix product: the BatchNorm scales the kernel and shifts the bias."""
    scale = weights.gamma * tf.math.rsqrt(weights.variance + weights.epsilon)
    shift = (weights.bias - weights.mean) * scale + weights.beta
    kernel = tf.cast(_scaled(tf.convert_to_tensor(weights.kernel), scale), maps.dtype)
    convolve = _convolution_and_relu if relu else _convolution
    return convolve(maps, kernel, tf.cast(shift, maps.dtype))


@tf.custom_gradient
def _scaled(kernel: tf.Tensor, scale: tf.Tensor) -> tuple[tf.Tensor, object]:
    """kernel (side, side, channels, filters) times scale (filters,)."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return upstream * scale, _sum_of_rows(_as_matrix(upstream * kernel))

    return kernel * scale, gradient


@tf.custom_gradient
def _convolution(maps: tf.Tensor, kernel: tf.Tensor, shift: tf.Tensor) -> tuple[tf.Tensor, object]:
    return _convolution_with_gradient(maps, kernel, shift, relu=False)


@tf.custom_gradient
def _convolution_and_relu(maps: tf.Tensor, kernel: tf.Tensor, shift: tf.Tensor) -> tuple[tf.Tensor, object]:
    return _convolution_with_gradient(maps, kernel, shift, relu=True)


def _convolution_with_gradient(
    maps: tf.Tensor, kernel: tf.Tensor, shift: tf.Tensor, *, relu: bool
) -> tuple[tf.Tensor, object]:
    """Stride 1, zero padding: maps (photos, height, width, channels), kernel (side, side, channels, filters)."""
    side, _, channels, filters = kernel.shape
    patches = tf.reshape(_patches(maps, side), (-1, side * side * channels))
    # Without a reshape between them, TensorFlow makes one operation of product, sum and ReLU.
    rows = tf.nn.bias_add(tf.matmul(patches, _as_matrix(kernel)), shift)
    rows = tf.nn.relu(rows) if relu else rows
    outputs = tf.reshape(rows, (-1, *maps.shape[1:3], filters))

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        if relu:
            upstream = tf.raw_ops.ReluGrad(gradients=upstream, features=outputs)
        # The maps' gradient is a convolution with the flipped kernel; TensorFlow would add up shifted copies.
        flipped = tf.transpose(tf.reverse(kernel, [0, 1]), (0, 1, 3, 2))
        d_maps = tf.tensordot(_patches(upstream, side), _as_matrix(flipped), 1)
        d_rows = tf.reshape(upstream, (-1, filters))
        d_kernel = tf.tensordot(patches, d_rows, [[0], [0]])
        return d_maps, tf.reshape(d_kernel, kernel.shape), _sum_of_rows(d_rows)

    return outputs, gradient


def _as_matrix(kernel: tf.Tensor) -> tf.Tensor:
    """(side, side, channels, filters) -> (side * side * channels, filters)."""
    return tf.reshape(kernel, (-1, kernel.shape[-1]))


def _sum_of_rows(matrix: tf.Tensor) -> tf.Tensor:
    """(rows, columns) -> (columns,), as a matrix product: TensorFlow's own sum takes three times as long on a CPU."""
    return tf.matmul(tf.ones((1, tf.shape(matrix)[0]), matrix.dtype), matrix)[0]


def _patches(maps: tf.Tensor, side: int) -> tf.Tensor:
    """The patch around each position (im2col): (photos, height, width, side * side * channels)."""
    if side == 1:
        return maps
    height, width = maps.shape[1:3]
    padded = tf.pad(maps, [[0, 0], [side // 2] * 2, [side // 2] * 2, [0, 0]])
    return tf.concat([padded[:, i : i + height, j : j + width] for i in range(side) for j in range(side)], -1)
