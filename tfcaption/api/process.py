"""TensorFlow for a process that belongs to the user: imported without noise, and quiet while we use it."""

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.process import KERAS_BACKEND, KERAS_SETTINGS, environment, set_keras, stderr_to_file

_VERBOSITY = "TF_CPP_MIN_LOG_LEVEL"
_LOGGERS = ("tensorflow", "absl")


@dataclass
class _Before:
    """What the process had before the first of the blocks that are open now."""

    levels: dict[str, int]  # of the loggers
    keras: dict[str, str]
    blocks: int = 0


_lock = threading.RLock()
_before: _Before | None = None


@contextmanager
def tensorflow_quiet() -> Iterator[None]:
    """Within the block TensorFlow is imported and logs errors only, and Keras builds layers as we need them.

    Afterwards logging and Keras are what they were. Blocks of several threads may overlap: the last one restores.

    Raises:
        UsageError: Keras runs on another backend than TensorFlow, or Keras 2 is asked for.
    """
    global _before
    with _lock:
        if "tensorflow" not in sys.modules:
            _import_tensorflow()
        if _before is None:
            _check_keras()
            levels = {name: logging.getLogger(name).level for name in _LOGGERS}
            _before = _Before(levels, set_keras(KERAS_SETTINGS))
            for name in _LOGGERS:
                logging.getLogger(name).setLevel(logging.ERROR)  # else it warns of every graph traced for a new shape
        _before.blocks += 1
    try:
        yield
    finally:
        with _lock:
            _before.blocks -= 1
            if not _before.blocks:
                set_keras(_before.keras)
                for name, level in _before.levels.items():
                    logging.getLogger(name).setLevel(level)
                _before = None


def _check_keras() -> None:
    if os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "true", "True"):  # what TensorFlow takes for yes
        raise UsageError("TF_USE_LEGACY_KERAS is set, but tfcaption needs Keras 3: unset it")
    try:
        import keras  # here: imports TensorFlow

        backend = keras.config.backend()
    except (ImportError, ValueError) as error:  # of a backend that is not installed
        backend = f"{os.environ.get('KERAS_BACKEND') or 'what keras.json names'} ({error})"
    if backend != KERAS_BACKEND:
        raise UsageError(
            f"Keras runs on {backend}, but tfcaption needs TensorFlow: set KERAS_BACKEND=tensorflow before Keras is "
            "imported"
        )


def _import_tensorflow() -> None:
    """The first import, with the messages of C++ in a file; the user's environment stays as it is."""
    with (
        environment(**{_VERBOSITY: os.environ.get(_VERBOSITY, "2")}),
        stderr_to_file("tfcaption-tensorflow-"),
    ):
        _check_keras()  # imports Keras, and so TensorFlow
        import tensorflow as tf  # here, while its messages go into a file

        if "TF_CONFIG" not in os.environ:  # where several hosts train, the strategy must come first
            tf.config.list_logical_devices()
