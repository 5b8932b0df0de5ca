"""How a batch's captions lie in memory in the teacher-forced pass: padded, or packed with no padding at all.

A decoder computes what concerns one position alone over all positions at once, and asks the layout for the rest: the
recurrence, and the positions as rows of captions where they look at one another or at their photo.
"""

import keras
import tensorflow as tf

from tfcaption.models.packed_gru import packed_gru
from tfcaption.records.vocabulary import PAD


class PaddedTokens:
    """Static shapes, for XLA and GPUs.

    Padding needs no mask: it comes after all real tokens, and the loss leaves it out.

    Args:
        tokens: (rows, time) int, from <start> to <end>, padded at the end.

    Attributes:
        inputs: (rows, time - 1) the token before each target.
        targets: (rows, time - 1).
        times: (rows, time - 1) int32, how many tokens come before each input.
    """

    def __init__(self, tokens: tf.Tensor) -> None:
        self.inputs, self.targets = tokens[:, :-1], tokens[:, 1:]
        self.times = tf.broadcast_to(tf.range(tf.shape(self.inputs)[1]), tf.shape(self.inputs))

    def recur(self, gru: keras.layers.GRU, inputs: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        """The GRU's state after each position, as the inputs lie; `state` is (rows, units)."""
        return gru(inputs, initial_state=state)

    def to_rows(self, values: tf.Tensor) -> tf.Tensor:
        """Positions as (rows, time, units)."""
        return values

    def for_positions(self, values: tf.Tensor) -> tf.Tensor:
        """What is one for a row, for each of its positions: (rows,) -> to be broadcast to the positions."""
        return values[:, None]

    def from_rows(self, values: tf.Tensor) -> tf.Tensor:
        """(rows, time, units) as the positions lie."""
        return values


class PackedTokens:
    """No padding, for CPUs: rows sorted by falling length, so at each time step those that still go on come first, and
    all positions end to end, time step after time step.

    Args:
        tokens: as for `PaddedCaptions`. A row may be all padding.

    Attributes:
        inputs: (positions,) the token before each target.
        targets: (positions,).
        times: (positions,) int32, how many tokens come before each input.
        order: (rows,) int32, the rows by falling length.
        counts: (time - 1,) int32, rows that go on at each step, falling.
    """

    def __init__(self, tokens: tf.Tensor) -> None:
        real = tokens[:, 1:] != PAD
        self.order = tf.argsort(tf.reduce_sum(tf.cast(real, tf.int32), 1), direction="DESCENDING", stable=True)
        ordered, real = tf.transpose(tf.gather(tokens, self.order)), tf.transpose(tf.gather(real, self.order))
        self.inputs = tf.boolean_mask(ordered[:-1], real)
        self.targets = tf.boolean_mask(ordered[1:], real)
        self.counts = tf.reduce_sum(tf.cast(real, tf.int32), 1)
        places = tf.cast(tf.where(real), tf.int32)
        self.times = places[:, 0]
        self._places = tf.stack([tf.gather(self.order, places[:, 1]), self.times], 1)  # row and time of each position
        self._shape = tf.shape(tokens) - [0, 1]

    def recur(self, gru: keras.layers.GRU, inputs: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        """The GRU's state after each position, as the inputs lie; `state` is (rows, units)."""
        cell = gru.cell
        kernel, recurrent_kernel, bias = (
            tf.cast(weight.value, inputs.dtype) for weight in (cell.kernel, cell.recurrent_kernel, cell.bias)
        )
        projected = tf.matmul(inputs, kernel) + bias[0]
        return packed_gru(projected, tf.gather(state, self.order), recurrent_kernel, bias[1], self.counts)

    def to_rows(self, values: tf.Tensor) -> tf.Tensor:
        """Positions as (rows, time, units), zeros where there is padding."""
        return tf.scatter_nd(self._places, values, tf.concat([self._shape, tf.shape(values)[1:]], 0))

    def for_positions(self, values: tf.Tensor) -> tf.Tensor:
        """What is one for a row, for each of its positions: (rows,) -> (positions,)."""
        return tf.gather(values, self._places[:, 0])

    def from_rows(self, values: tf.Tensor) -> tf.Tensor:
        """(rows, time, units) as the positions lie."""
        return tf.gather_nd(values, self._places)


TokenLayout = PaddedTokens | PackedTokens


def uses_packed_tokens(compiled: bool) -> bool:
    """Whether captions are packed instead of padded: not for XLA, which wants static shapes, nor on a GPU, which wants
    few steps; a CPU is as fast on few rows as on many."""
    return not compiled and not tf.config.list_physical_devices("GPU")
