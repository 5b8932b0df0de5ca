"""TensorFlow for a process that belongs to the user: imported without noise, and quiet while we use it."""

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tfcaption.runtime.process import stderr_to_file

_VERBOSITY = "TF_CPP_MIN_LOG_LEVEL"
_LOGGERS = ("tensorflow", "absl")


_lock = threading.RLock()
_levels: list[dict[str, int]] = []  # of the loggers before the first of the blocks that are open now


@contextmanager
def tensorflow_quiet() -> Iterator[None]:
    """Within the block TensorFlow is imported and logs errors only; afterwards logging is what it was.

    Blocks of several threads may overlap: the last one restores.
    """
    with _lock:
        if "tensorflow" not in sys.modules:
            _import_tensorflow()
        _levels.append(_levels[0] if _levels else {name: logging.getLogger(name).level for name in _LOGGERS})
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)  # otherwise it warns of every graph traced for a new shape
    try:
        yield
    finally:
        with _lock:
            levels = _levels.pop()
            if not _levels:
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
