"""The process: a quiet start of TensorFlow, redirected standard error, requests to stop."""

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_redirected = threading.RLock()  # a process has one descriptor 2


@contextmanager
def stderr_to_file(prefix: str) -> Iterator[Path]:
    """Redirects file descriptor 2 to a file, and keeps `sys.stderr` on the terminal.

    C++ libraries and child processes write to the descriptor: TensorFlow half a dozen lines when it starts, Beam's
    workers dozens. The file is removed at the end, unless an error ends the block. Blocks of several threads take
    turns.
    """
    with _redirected:
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


def start_tensorflow(*, multi_worker: bool = False) -> None:
    """Import TensorFlow and initialise its devices, without the messages that it prints on the way.

    With `multi_worker` the devices are not initialised, which must wait until the strategy has connected the hosts.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with stderr_to_file("tfcaption-tensorflow-"):
        import tensorflow as tf  # here, while its messages go into a file

        if not multi_worker:
            tf.config.list_logical_devices()
            tf.get_logger().setLevel("ERROR")  # otherwise it warns of every graph traced for a new shape
            tf.zeros((), tf.float16)  # oneDNN prints once, at the first float16, that it does not support them


class StopRequest:
    """Whether this process was asked to stop."""

    requested = False


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Within the block, SIGTERM and the first Ctrl-C only set `requested`; a second Ctrl-C interrupts as usual."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def remember(number: int, frame: object) -> None:
        request.requested = True
        signal.signal(signal.SIGINT, before[signal.SIGINT])

    for number in before:
        signal.signal(number, remember)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
