"""Layers that decoders share: stateless dropout, ReLU, float32 logits."""

import keras
import tensorflow as tf


def dropout(values: tf.Tensor, rate: float, seed: tf.Tensor | None, place: int) -> tf.Tensor:
    """Dropout as a pure function of its seed, so that a resumed run draws what an undisturbed one would.

    Args:
        values: any float tensor.
        rate: share of values set to zero; the others are scaled up.
        seed: (2,) int32; None: inference, nothing is dropped.
        place: a number for each place in the model, so that they draw differently.
    """
    if seed is None or not rate:
        return values
    return tf.nn.experimental.stateless_dropout(
        values, rate, tf.random.experimental.stateless_fold_in(seed, place), rng_alg="philox"
    )


def relu(values: tf.Tensor) -> tf.Tensor:
    """ReLU, in a way that Grappler does not fuse with what comes before it.

    Of product, bias, sum and ReLU within a loop TensorFlow 2.21 makes a broken node on a CPU, and then gives up
    optimising the graph, with two dozen lines of errors.
    """
    return tf.maximum(values, tf.zeros((), values.dtype))


class Logits(keras.layers.Dense):
    """A float32 dense layer whose gradient is formed in the precision of its inputs, as all gradients before it."""

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
