"""Traces of TensorFlow's profiler, for TensorBoard."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf


@contextmanager
def profiled(folder: Path | None) -> Iterator[None]:
    """Within the block a trace of what TensorFlow does is written into a folder; None: none is."""
    if folder is None:
        yield
        return
    tf.profiler.experimental.start(str(folder))
    try:
        yield
    finally:
        tf.profiler.experimental.stop()
