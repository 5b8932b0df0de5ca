"""Models are built in a stated precision and from a stated seed, and leave both as they were for the whole process."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import keras


@contextmanager
def random_state_restored() -> Iterator[None]:
    """Restores Python's random state, from which Keras seeds each layer."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


@contextmanager
def building(precision: str = "float32", *, seed: int | None = None) -> Iterator[None]:
    """Within the block Keras layers are built in a precision, and with initial weights from a seed.

    Afterwards Keras' policy and Python's random state, from which Keras seeds each layer, are what they were.

    Args:
        precision: a Keras dtype policy.
        seed: of initial weights; None: whatever Python's random state gives.
    """
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        with random_state_restored():
            if seed is not None:
                random.seed(seed)
            yield
    finally:
        keras.config.set_dtype_policy(policy)
