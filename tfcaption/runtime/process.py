"""The process: its environment, a quiet start of TensorFlow, redirected standard error, requests to stop."""

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

KERAS_BACKEND = "tensorflow"
KERAS_SETTINGS = {"image_data_format": "channels_last", "floatx": "float32"}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_redirected = threading.RLock()  # a process has one descriptor 2


@contextmanager
def environment(**variables: str | None) -> Iterator[None]:
    """Within the block, environment variables of this process and of those that it starts are set; None: removed."""
    before = {name: os.environ.get(name) for name in variables}
    _set_environment(variables)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def direct_connections() -> dict[str, str]:
    """Environment variables with which workers and hosts reach each other, whatever proxies the user has set.

    Workers of a job and hosts that train together talk gRPC, which would ask the proxy even for loopback addresses.
    The user's proxies stay for all else, such as object stores.
    """
    excepted = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""  # as Python reads them
    if excepted.strip() != "*":
        names = [name.strip() for name in excepted.split(",")]
        excepted = ",".join(dict.fromkeys([*filter(None, names), *_LOOPBACK]))
    return {"grpc_proxy": "", "no_proxy": excepted, "NO_PROXY": excepted}  # empty: gRPC uses no proxy


def command_environment() -> dict[str, str | None]:
    """Environment variables of a command and of all processes that it starts."""
    return {**direct_connections(), "KERAS_BACKEND": KERAS_BACKEND, "TF_USE_LEGACY_KERAS": None}


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
        sys.stderr = open(  # noqa: SIM115 (a descriptor, closed below)
            terminal, "w", buffering=1, closefd=False, encoding="utf-8", errors="backslashreplace"
        )
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

        set_keras(KERAS_SETTINGS)  # keras.json may hold others
        tf.get_logger().setLevel("ERROR")  # otherwise it warns of every graph traced for a new shape
        if not multi_worker:
            tf.config.list_logical_devices()
            tf.zeros((), tf.float16)  # oneDNN prints once, at the first float16, that it does not support them


def set_keras(settings: Mapping[str, str]) -> dict[str, str]:
    """Set what Keras builds layers by, as `KERAS_SETTINGS` names it; returns what it was."""
    import keras  # here: imports TensorFlow

    before = {name: getattr(keras.config, name)() for name in settings}
    for name, value in settings.items():
        getattr(keras.config, f"set_{name}")(value)
    return before


class StopRequest:
    """Whether this process was asked to stop."""

    def __init__(self) -> None:
        self.requested = False
        in_main_thread = threading.current_thread() is threading.main_thread()  # others hear no signals
        signals = (signal.SIGTERM, signal.SIGINT) if in_main_thread else ()
        self._before = {number: signal.getsignal(number) for number in signals}

    def listen(self) -> None:
        """Hear SIGTERM and Ctrl-C from now on; again, where a library may have taken them for itself."""
        if not self.requested:
            for number in self._before:
                signal.signal(number, self._remember)

    def _remember(self, number: int, frame: object) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, self._before[signal.SIGINT])

    def end(self) -> None:
        """Leave signals to those that heard them before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Within the block, SIGTERM and the first Ctrl-C only set `requested`; a second Ctrl-C interrupts as usual."""
    request = StopRequest()
    request.listen()
    try:
        yield request
    finally:
        request.end()
