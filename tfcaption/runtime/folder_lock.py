"""One writer at a time in a folder: a lock that vanishes with the process that holds it, however that ends."""

import errno
import fcntl
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tfcaption.runtime.errors import TfcaptionError
from tfcaption.runtime.paths import is_local

LOCK_FILE = ".lock"  # says who holds the lock; one that a killed process left behind locks nothing
WORKERS_END_SECONDS = 10.0  # within which workers of a killed process have ended
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # a filesystem that knows none
_held: set[Path] = set()  # by this process, or waited for by it


class FolderInUse(TfcaptionError, ValueError):
    """Another process writes into the folder; the message says which."""


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Be the only process that writes into a folder, which is made if it is missing.

    On a filesystem without locks there is none, and a warning; on another than local ones (gs://) there is none.

    Raises:
        FolderInUse: another process holds the lock; after a crash none does.
        OSError: the folder is a file, or cannot be written into.
    """
    if not is_local(folder):
        yield
        return
    path = Path(folder).absolute() / LOCK_FILE
    made = not path.parent.exists()
    if not made and not path.parent.is_dir():
        raise NotADirectoryError(f"{folder}: is a file; name a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _acquire(path)
    except OSError as error:
        raise OSError(
            f"{folder}: cannot be written into: {error.strerror}; mend that or name another folder"
        ) from error
    _held.add(path)
    try:
        yield
    finally:
        _held.discard(path)
        path.unlink(missing_ok=True)
        os.close(descriptor)
        if made and not any(path.parent.iterdir()):
            path.parent.rmdir()


def _acquire(path: Path) -> int:
    deadline = time.monotonic() + WORKERS_END_SECONDS
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            content = os.read(descriptor, 10_000).decode()
            os.close(descriptor)
            if time.monotonic() < deadline and _is_dead(content):
                time.sleep(0.01)  # a worker of a killed process, about to end
                continue
            raise FolderInUse(_refusal(path.parent, content)) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            print(f"{path.parent}: no locks on this filesystem; start no second job on this folder", file=sys.stderr)
        if _is_file(descriptor, path):
            if not os.fstat(descriptor).st_size:
                break
            path.unlink()  # of a killed process; workers of it that still wait for their lock get it now, and end
        os.close(descriptor)
    mine = {"process": os.getpid(), "host": socket.gethostname(), "since": time.time(), "command": sys.argv}
    os.write(descriptor, json.dumps(mine).encode())
    return descriptor


def _is_file(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one of that name: its last holder may have removed it meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _is_dead(content: str) -> bool:
    """Whether a lock file names a process of this machine that has ended."""
    try:
        holder = json.loads(content)
        if holder["host"] != socket.gethostname():
            return False
        return psutil.Process(holder["process"]).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except (ValueError, KeyError):
        return False


def _refusal(folder: Path, content: str) -> str:
    try:
        holder = json.loads(content)
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
        who = f"process {holder['process']} on {holder['host']} since {since}: {' '.join(holder['command'])}"
    except (ValueError, KeyError):
        who = "a process that has just begun"
    return f"{folder}: in use by {who}; wait for it or stop it, or name another folder"


def end_with_holder(folder: str | Path) -> None:
    """In a worker process: end at once when the process that holds the folder's lock ends.

    A worker of a killed job would otherwise write on, into what the next job makes. Does nothing in the holder itself,
    and where there is no lock.
    """
    path = Path(folder).absolute() / LOCK_FILE
    if path in _held or not path.is_file():
        return
    _held.add(path)
    descriptor = os.open(path, os.O_RDWR)

    def wait() -> None:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        os.close(descriptor)  # at once: the end of a process takes a while, and the next job may ask for the lock
        os._exit(1)

    threading.Thread(target=wait, name="end_with_holder", daemon=True).start()
