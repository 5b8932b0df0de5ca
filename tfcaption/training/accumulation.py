"""Sums of the gradients of several batches, within each replica."""

from collections.abc import Sequence

import tensorflow as tf


class GradientSums:
    """Gradients of all tokens of several batches, added up in float32 within each replica.

    Create it under the strategy's scope; call its methods within a replica.

    Args:
        variables: whose gradients are added up.
    """

    def __init__(self, variables: Sequence[tf.Variable]) -> None:
        self._sums = [
            tf.Variable(tf.zeros(variable.shape), trainable=False, synchronization=tf.VariableSynchronization.ON_READ)
            for variable in variables
        ]

    def reset(self) -> None:
        """Start anew."""
        for total in self._sums:
            total.assign(tf.zeros(total.shape))

    def add(self, gradients: Sequence[tf.Tensor], tokens: tf.Tensor) -> None:
        """Add the gradients of the mean loss of a batch of so many tokens."""
        for total, gradient in zip(self._sums, gradients, strict=True):
            total.assign_add(tokens * gradient)

    def mean(self, tokens: tf.Tensor) -> list[tf.Tensor]:
        """Gradients of the mean loss over the tokens of all batches."""
        return [total / tokens for total in self._sums]
