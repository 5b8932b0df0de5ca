"""One writer per folder: a lock that is released when the process that holds it ends, in whatever way."""

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

LOCK_FILE = ".lock"  # names the holder of the lock; the file of a killed process locks nothing
WORKERS_END_SECONDS = 10.0  # time that workers of a killed process take to end, at most
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # errors of filesystems without locks
_held: set[Path] = set()  # lock files that this process holds or waits for


class FolderInUse(TfcaptionError, ValueError):
    """Another process writes into the folder; the message names it."""


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Makes this process the only one that writes into a folder; creates the folder if it is missing.

    A local filesystem without locks gives a warning. Folders in object stores are not locked.

    Raises:
        FolderInUse: another process holds the lock; a crashed process does not.
        OSError: the folder is a file, or is not writable.
    """
    if not is_local(folder):
        yield
        return
    path = Path(folder).absolute() / LOCK_FILE
    is_new = not path.parent.exists()
    if not is_new and not path.parent.is_dir():
        raise NotADirectoryError(f"{folder}: is a file; name a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _acquire(path)
    except OSError as error:
        raise OSError(f"{folder}: is not writable: {error.strerror}; fix that, or name another folder") from error
    _held.add(path)
    try:
        yield
    finally:
        _held.discard(path)
        path.unlink(missing_ok=True)
        os.close(descriptor)
        if is_new and not any(path.parent.iterdir()):
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
                time.sleep(0.01)  # a worker of the killed process still holds the lock
                continue
            raise FolderInUse(_refusal(path.parent, content)) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            print(f"{path.parent}: this filesystem has no locks; do not start a second job here", file=sys.stderr)
        if _is_file(descriptor, path):
            if not os.fstat(descriptor).st_size:
                break
            path.unlink()  # left by a killed process; its workers that wait for the lock get it now, and end
        os.close(descriptor)
    holder = {"process": os.getpid(), "host": socket.gethostname(), "since": time.time(), "command": sys.argv}
    os.write(descriptor, json.dumps(holder).encode())
    return descriptor


def _is_file(descriptor: int, path: Path) -> bool:
    """Whether the path still names the open file: its previous holder may have removed it in between."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _is_dead(content: str) -> bool:
    """Whether the process that a lock file names ran on this machine and has ended."""
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
        described = f"process {holder['process']} on {holder['host']} since {since}: {' '.join(holder['command'])}"
    except (ValueError, KeyError):
        described = "a process that has just started"
    return f"{folder}: in use by {described}; wait for it, stop it, or name another folder"


def end_with_holder(folder: str | Path) -> None:
    """Makes a worker process end as soon as the process that holds the folder's lock ends.

    Otherwise a worker of a killed job could still write into the folder of the next job. Does nothing in the holder
    itself, or without a lock.
    """
    path = Path(folder).absolute() / LOCK_FILE
    if path in _held or not path.is_file():
        return
    _held.add(path)
    descriptor = os.open(path, os.O_RDWR)

    def wait() -> None:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        os.close(descriptor)  # now, since a process takes a while to end, and the next job may want the lock
        os._exit(1)

    threading.Thread(target=wait, name="end_with_holder", daemon=True).start()
