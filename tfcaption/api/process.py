"""TensorFlow for a process that belongs to the user: imported without noise, and quiet while we use it."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tfcaption.runtime.process import stderr_to_file

_VERBOSITY = "TF_CPP_MIN_LOG_LEVEL"
_LOGGERS = ("tensorflow", "absl")


@contextmanager
def tensorflow_quiet() -> Iterator[None]:
    """Within the block TensorFlow is imported and logs errors only; afterwards logging is what it was."""
    if "tensorflow" not in sys.modules:
        _import_tensorflow()
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)  # otherwise it warns of every graph traced for a new shape
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _import_tensorflow() -> None:
    """The first import, with the messages of C++ in a file; the user's environment stays as it is."""
    before = os.environ.get(_VERBOSITY)
    os.environ.setdefault(_VERBOSITY, "2")
    try:
        with stderr_to_file("tfcaption-tensorflow-"):
            import tensorflow as tf  # here, while its messages go into a file

            if "TF_CONFIG" not in os.environ:  # where several hosts train, the strategy must come first
                tf.config.list_logical_devices()
    finally:
        if before is None:
            del os.environ[_VERBOSITY]
