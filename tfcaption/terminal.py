"""Keeps what libraries and worker processes write to standard error off the terminal."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def stderr_to_file(prefix: str) -> Iterator[Path]:
    """Send the file descriptor 2 into a file, and keep `sys.stderr` on the terminal.

    C++ libraries and child processes write to the descriptor: TensorFlow half a dozen lines at its start, Beam's
    workers dozens. The file is removed at the end, unless an error leaves the block.
    """
    descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=".log")
    terminal, stderr = os.dup(2), sys.stderr
    stderr.flush()
    os.dup2(descriptor, 2)
    os.close(descriptor)
    sys.stderr = open(terminal, "w", buffering=1, closefd=False)  # noqa: SIM115 (a descriptor, closed below)
    try:
        yield Path(name)
        Path(name).unlink()
    finally:
        sys.stderr.flush()
        sys.stderr = stderr
        os.dup2(terminal, 2)
        os.close(terminal)


def start_tensorflow() -> None:
    """Import TensorFlow and find its devices, without the lines it writes before logging can be configured."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with stderr_to_file("tfcaption-tensorflow-"):
        import tensorflow as tf

        tf.config.list_logical_devices()
