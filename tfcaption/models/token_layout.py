"""Layouts of a batch's tokens in the teacher-forced pass: padded, or packed without padding.

A decoder computes everything that concerns one position for all positions at once. The layout runs the recurrence, and
brings positions into the order of captions for attention.
"""

import keras
import tensorflow as tf

from tfcaption.models.packed_gru import packed_gru
from tfcaption.records.vocabulary import PAD


class PaddedTokens:
    """Captions of equal length: static shapes, for XLA and GPUs.

    Padding needs no mask: it follows all real tokens, and the loss ignores it.

    Args:
        tokens: (captions, time) int, from <start> to <end>, padded at the end.

    Attributes:
        inputs: (captions, time - 1), the token before each target.
        targets: (captions, time - 1).
        times: (captions, time - 1) int32, number of tokens before each input.
    """

    def __init__(self, tokens: tf.Tensor) -> None:
        self.inputs, self.targets = tokens[:, :-1], tokens[:, 1:]
        self.times = tf.broadcast_to(tf.range(tf.shape(self.inputs)[1]), tf.shape(self.inputs))

    def run_gru(self, gru: keras.layers.GRU, inputs: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        """The GRU's state after each position: inputs (captions, time, units), state (captions, units)."""
        return gru(inputs, initial_state=state)

    def to_captions(self, values: tf.Tensor) -> tf.Tensor:
        """Values of all positions, as (captions, time, units)."""
        return values

    def from_captions(self, values: tf.Tensor) -> tf.Tensor:
        """(captions, time, units), in this layout."""
        return values

    def repeat_per_position(self, values: tf.Tensor) -> tf.Tensor:
        """Values of captions (captions, ...), to be broadcast to their positions: (captions, 1, ...)."""
        return values[:, None]


class PackedTokens:
    """Positions without padding, for CPUs.

    Captions are sorted by length, longest first. The positions of the first time step come first, then those of the
    second, and so on; the captions that are still active at a step are the first ones of that order.

    Args:
        tokens: as for `PaddedTokens`. A caption may consist of padding.

    Attributes:
        inputs: (positions,), the token before each target.
        targets: (positions,).
        times: (positions,) int32, number of tokens before each input.
        order: (captions,) int32, index of the longest caption first.
        counts: (time - 1,) int32, number of active captions at each step, never increasing.
    """

    def __init__(self, tokens: tf.Tensor) -> None:
        real = tokens[:, 1:] != PAD
        self.order = tf.argsort(tf.reduce_sum(tf.cast(real, tf.int32), 1), direction="DESCENDING", stable=True)
        ordered, real = tf.transpose(tf.gather(tokens, self.order)), tf.transpose(tf.gather(real, self.order))
        self.inputs = tf.boolean_mask(ordered[:-1], real)
        self.targets = tf.boolean_mask(ordered[1:], real)
        self.counts = tf.reduce_sum(tf.cast(real, tf.int32), 1)
        time_and_rank = tf.cast(tf.where(real), tf.int32)  # (positions, 2)
        self.times = time_and_rank[:, 0]
        # (positions, 2): caption and time.
        self._indices = tf.stack([tf.gather(self.order, time_and_rank[:, 1]), self.times], 1)
        self._shape = tf.shape(tokens) - [0, 1]

    def run_gru(self, gru: keras.layers.GRU, inputs: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        """The GRU's state after each position: inputs (positions, units), state (captions, units)."""
        cell = gru.cell
        kernel, recurrent_kernel, bias = (
            tf.cast(weight.value, inputs.dtype) for weight in (cell.kernel, cell.recurrent_kernel, cell.bias)
        )
        projected = tf.matmul(inputs, kernel) + bias[0]
        return packed_gru(projected, tf.gather(state, self.order), recurrent_kernel, bias[1], self.counts)

    def to_captions(self, values: tf.Tensor) -> tf.Tensor:
        """Values of all positions, as (captions, time, units) with zeros at padding."""
        return tf.scatter_nd(self._indices, values, tf.concat([self._shape, tf.shape(values)[1:]], 0))

    def from_captions(self, values: tf.Tensor) -> tf.Tensor:
        """(captions, time, units), in this layout: (positions, units)."""
        return tf.gather_nd(values, self._indices)

    def repeat_per_position(self, values: tf.Tensor) -> tf.Tensor:
        """Values of captions (captions, ...), repeated for their positions: (positions, ...)."""
        return tf.gather(values, self._indices[:, 0])


TokenLayout = PaddedTokens | PackedTokens


def uses_packed_tokens(compiled: bool) -> bool:
    """Whether to pack tokens instead of padding them: not with XLA, which requires static shapes, nor on a GPU, which
    prefers few steps. A CPU needs as little time a caption for few captions as for many."""
    return not compiled and not tf.config.list_physical_devices("GPU")
