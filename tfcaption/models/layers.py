"""Layers that decoders share: regions and their padding, stateless dropout, activations, float32 logits, weights."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras
import tensorflow as tf

MASKED_SCORE = -1e9  # finite in bfloat16 and float32, and exactly 0 after a softmax beside any other score


def as_regions(features: tf.Tensor) -> tf.Tensor:
    """(photos, height, width, channels) or (photos, regions, channels) -> (photos, regions, channels)."""
    if features.shape.rank == 4:
        features = tf.reshape(features, (-1, features.shape[1] * features.shape[2], features.shape[3]))
    return features


def real_regions(regions: tf.Tensor) -> tf.Tensor:
    """Which regions are not padding, that is not all zeros: (photos, regions, channels) -> (photos, regions) bool."""
    return tf.reduce_any(regions != 0, -1)


def masked_mean(regions: tf.Tensor, real: tf.Tensor | None = None) -> tf.Tensor:
    """Mean over the regions that are not padding: (photos, regions, channels) -> (photos, channels), zeros without any.

    Args:
        regions: any float tensor.
        real: (photos, regions) bool, the regions that count; None: those that are not all zeros.
    """
    real = (real_regions(regions) if real is None else real)[..., None]
    count = tf.reduce_sum(tf.cast(real, regions.dtype), 1)
    return tf.reduce_sum(tf.where(real, regions, tf.zeros((), regions.dtype)), 1) / tf.maximum(count, 1)


def dropout(values: tf.Tensor, rate: float, seed: tf.Tensor | None, stream: int) -> tf.Tensor:
    """Dropout as a pure function of its seed, so that a resumed run gets the masks of an undisturbed one.

    Args:
        values: any float tensor.
        rate: share of values set to zero; the others are scaled by 1 / (1 - rate).
        seed: (2,) int32; None in inference, where nothing is dropped.
        stream: a different number for each dropout in a model, so that their masks are independent.
    """
    if seed is None or not rate:
        return values
    return tf.nn.experimental.stateless_dropout(
        values, rate, tf.random.experimental.stateless_fold_in(seed, stream), rng_alg="philox"
    )


def relu(values: tf.Tensor) -> tf.Tensor:
    """ReLU in a form that Grappler does not fuse with the operations before it.

    On a CPU TensorFlow 2.21 fuses product, bias, sum and ReLU in a loop into a broken node, then stops optimising the
    graph and prints two dozen lines of errors.
    """
    return tf.maximum(values, tf.zeros((), values.dtype))


@tf.custom_gradient
def gelu(values: tf.Tensor) -> tuple[tf.Tensor, object]:
    """x times the normal distribution function at x (Hendrycks & Gimpel 2016, arXiv:1606.08415), computed in float32.

    With its gradient that takes half the time of `tf.nn.gelu`, which on a CPU computes bfloat16 one by one.
    """
    wide = tf.cast(values, tf.float32)
    below = 0.5 + 0.5 * tf.math.erf(wide * math.sqrt(0.5))

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        density = tf.exp(-0.5 * tf.square(wide)) / math.sqrt(2 * math.pi)
        return upstream * tf.cast(below + wide * density, values.dtype)

    return tf.cast(wide * below, values.dtype), gradient


@contextmanager
def cast_once(layers: Sequence[keras.layers.Layer]) -> Iterator[None]:
    """Casts weights to the precision in which their layers compute, once, instead of at each step of a loop inside.

    The values are the same. Inside, no weight can be assigned.

    Args:
        layers: with their parts.
    """
    dtypes = {}
    for part in (part for layer in layers for part in layer._flatten_layers()):  # a layer comes before its own parts
        for weight in part.variables:
            if weight._autocast and keras.backend.is_float_dtype(weight.dtype):  # not those of a LayerNormalization
                dtypes[id(weight)] = weight, part.compute_dtype
    cast = [(weight, tf.cast(weight.value, dtype)) for weight, dtype in dtypes.values()]
    with keras.StatelessScope(initialize_variables=False) as scope:
        for update in cast:
            scope.add_update(update)
        yield


class Logits(keras.layers.Dense):
    """A float32 dense layer whose gradient is computed in the precision of its inputs, like all gradients before it."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(..., units) any float -> (..., vocabulary) float32."""
        return _float32_product(inputs, self.kernel.value) + self.bias


@tf.custom_gradient
def _float32_product(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, object]:
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        upstream = tf.cast(upstream, inputs.dtype)
        axes = list(range(inputs.shape.rank - 1))
        d_kernel = tf.tensordot(inputs, upstream, [axes, axes])
        return tf.tensordot(upstream, tf.cast(kernel, inputs.dtype), [[-1], [1]]), tf.cast(d_kernel, kernel.dtype)

    return tf.tensordot(tf.cast(inputs, kernel.dtype), kernel, 1), gradient
