"""Models are built in a stated precision and from a stated seed, and leave both as they were for the whole process."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import keras


@contextmanager
def building(precision: str = "float32", *, seed: int | None = None) -> Iterator[None]:
    """Within the block Keras layers are built in a precision, and with initial weights from a seed.

    Afterwards Keras' policy and Python's random state, from which Keras seeds each layer, are what they were.

    Args:
        precision: a Keras dtype policy.
        seed: of initial weights; None: whatever Python's random state gives.
    """
    policy, state = keras.config.dtype_policy(), random.getstate()
    keras.config.set_dtype_policy(precision)
    if seed is not None:
        random.seed(seed)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
        random.setstate(state)
