"""What each process of a job does once, so that it ends when it should, and keeps no garbage and no freed memory."""

import atexit
import ctypes
import functools
import gc
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import ParamSpec, TypeVar

from tfcaption.runtime.folder_lock import end_with_holder

_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h: blocks of that size get memory of their own
_LARGE_BLOCK = 1 << 20  # bytes

Arguments = ParamSpec("Arguments")
Yielded = TypeVar("Yielded")


def start_worker(output: str) -> None:
    """Make a worker process end with the job that writes to `output`, or it would write into the next job's output."""
    end_with_holder(output)
    collect_less()


def collect_less() -> None:
    """Leave all that was imported out of later collections, and let this process end without a last one.

    The last one alone takes a second of CPU where TensorFlow was imported.
    """
    gc.freeze()
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)


def return_freed_memory() -> None:
    """Let this process give large blocks of memory back to the system as soon as they are freed.

    The messages between a worker and an engine have 10 MB each. Once glibc has freed a block of that size, it keeps the
    next ones, in fragments. On other C libraries nothing changes.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE_BLOCK)


def without_collections(process: Callable[Arguments, Iterator[Yielded]]) -> Callable[Arguments, Iterator[Yielded]]:
    """A generator function during which no garbage is collected.

    For work that makes many small objects and keeps them, which collections would look through again and again. It must
    be bounded, since garbage with cycles stays until its end.
    """

    @functools.wraps(process)
    def uncollected(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Iterator[Yielded]:
        gc.disable()
        try:
            yield from process(*args, **kwargs)
        finally:
            gc.enable()

    return uncollected
