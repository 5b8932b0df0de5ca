"""ResNet50's last blocks as matrix products, which a CPU trains faster than convolutions."""

import keras
import tensorflow as tf


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
