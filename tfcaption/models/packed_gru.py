"""A GRU over packed tokens: no step is spent on padding, and the gradient is written by hand."""

from typing import TypeAlias

import tensorflow as tf

_Arrays: TypeAlias = tuple[tf.TensorArray, tf.TensorArray, tf.TensorArray, tf.TensorArray]


@tf.custom_gradient
def packed_gru(
    projected: tf.Tensor, state: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, counts: tf.Tensor
) -> tuple[tf.Tensor, object]:
    """The recurrence of `keras.layers.GRU(units, reset_after=True)`, gates in Keras' order.

    Automatic differentiation would add up the kernel's gradient step by step; here it is one product at the end.

    Args:
        projected: (positions, 3 * units), inputs times the input kernel, plus the input bias.
        state: (captions, units) before the first step, in packed order.
        kernel: (units, 3 * units) of the recurrence.
        bias: (3 * units,) of the recurrence.
        counts: (time,) int32, number of active captions at each step, see `PackedTokens`.

    Returns:
        (positions, units), the state after each position.
    """
    units, captions = kernel.shape[0], tf.shape(state)[0]
    steps = tf.math.count_nonzero(counts, dtype=tf.int32)
    starts = tf.cumsum(counts, exclusive=True)

    def forward(index: tf.Tensor, before: tf.Tensor, arrays: _Arrays) -> tuple[tf.Tensor, tf.Tensor, _Arrays]:
        start, count = starts[index], counts[index]
        inputs, before = projected[start : start + count], before[:count]
        recurrent = tf.matmul(before, kernel) + bias
        gates = tf.sigmoid(inputs[:, : 2 * units] + recurrent[:, : 2 * units])
        update, reset = tf.split(gates, 2, 1)
        recurrent = recurrent[:, 2 * units :]
        candidate = tf.tanh(inputs[:, 2 * units :] + reset * recurrent)
        after = candidate + update * (before - candidate)
        written = (after, gates, candidate, recurrent)
        return index + 1, after, tuple(array.write(index, value) for array, value in zip(arrays, written, strict=True))

    _, _, arrays = tf.while_loop(
        lambda index, *_: index < steps,
        forward,
        (0, state, tuple(_array(state.dtype, steps, width) for width in (units, 2 * units, units, units))),
        shape_invariants=(tf.TensorShape(()), tf.TensorShape((None, units)), (tf.TensorShape(None),) * 4),
        parallel_iterations=1,
    )
    states, gates, candidate, recurrent = (array.concat() for array in arrays)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
        # The state before each position is one of the initial states, or a state that was active one step earlier.
        active_before = tf.repeat(tf.concat([[captions], counts[:-1]], 0), counts)
        indices = captions + tf.range(tf.shape(states)[0]) - active_before
        previous = tf.gather(tf.concat([state, states], 0), indices)
        update, reset = tf.split(gates, 2, 1)
        # Derivatives of the next state with respect to the input of each gate.
        by_candidate = (1 - update) * (1 - candidate * candidate)
        by_update = (previous - candidate) * update * (1 - update)
        by_reset = by_candidate * recurrent * reset * (1 - reset)
        by_recurrent = tf.concat([by_update, by_reset, by_candidate * reset], 1)

        def backward(
            index: tf.Tensor, d_after: tf.Tensor, array: tf.TensorArray
        ) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
            start, end = starts[index], starts[index] + counts[index]
            ended = counts[index] - tf.shape(d_after)[0]  # captions whose last step this is
            d_after = tf.pad(d_after, [[0, ended], [0, 0]]) + upstream[start:end]
            d_recurrent = tf.tile(d_after, (1, 3)) * by_recurrent[start:end]
            d_before = d_after * update[start:end]
            return index - 1, d_before + tf.matmul(d_recurrent, kernel, transpose_b=True), array.write(index, d_after)

        _, d_state, d_states = tf.while_loop(
            lambda index, *_: index >= 0,
            backward,
            (steps - 1, tf.zeros((0, units), state.dtype), _array(state.dtype, steps, units)),
            shape_invariants=(tf.TensorShape(()), tf.TensorShape((None, units)), tf.TensorShape(None)),
            parallel_iterations=1,
        )
        d_states = d_states.concat()
        d_recurrents = tf.tile(d_states, (1, 3)) * by_recurrent
        return (
            tf.concat([d_states * by_gate for by_gate in (by_update, by_reset, by_candidate)], 1),
            tf.pad(d_state, [[0, captions - tf.shape(d_state)[0]], [0, 0]]),
            tf.matmul(previous, d_recurrents, transpose_a=True),
            tf.reduce_sum(d_recurrents, 0),
            None,
        )

    return states, gradient


def _array(dtype: tf.DType, size: tf.Tensor, width: int) -> tf.TensorArray:
    return tf.TensorArray(dtype, size, element_shape=(None, width), infer_shape=False)
