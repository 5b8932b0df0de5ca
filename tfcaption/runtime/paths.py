"""Paths that a user names, with pathlib's methods: local ones, and those of filesystems that TensorFlow reads (gs://).

Local paths are plain pathlib ones, so whoever names no other never pays for TensorFlow here.
"""

import fnmatch
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath, PurePosixPath
from types import SimpleNamespace
from typing import Any, cast

from tfcaption.runtime.errors import TfcaptionError
from tfcaption.runtime.process import start_tensorflow


class FilesystemError(TfcaptionError, OSError, ValueError):
    """A path on a filesystem that cannot be read from here; the message says what to do."""


def is_local(path: str | os.PathLike[str]) -> bool:
    """True unless the path names another filesystem (gs://, s3://, hdfs://)."""
    return "://" not in os.fspath(path)


def as_path(path: str | os.PathLike[str]) -> Path:
    """A path as pathlib has it, whatever filesystem it is on; one that is a path already stays what it is."""
    if isinstance(path, PurePath):
        return cast(Path, path)
    return Path(path) if is_local(path) else cast(Path, RemotePath(with_host(path)))


def with_host(path: str | os.PathLike[str]) -> str:
    """The path, if it names a host or bucket; pathlib would take its first folder for one.

    Raises:
        FilesystemError: it names none.
    """
    if ":///" in os.fspath(path):
        raise FilesystemError(f"{path}: names no host or bucket; write SCHEME://HOST/PATH, or a local path without ://")
    return os.fspath(path)


class RemotePath(PurePosixPath):
    """The part of `pathlib.Path` that is used here, for SCHEME://..., by `tf.io.gfile`."""

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)  # as pathlib puts it together

    def __fspath__(self) -> str:
        return str(self)

    def is_file(self) -> bool:
        """See `Path.is_file`."""
        with _clear_errors(self):
            return _gfile(self).exists(str(self)) and not _gfile(self).isdir(str(self))

    def is_dir(self) -> bool:
        """See `Path.is_dir`."""
        with _clear_errors(self):
            return bool(_gfile(self).isdir(str(self)))

    def exists(self) -> bool:
        """See `Path.exists`."""
        return self.is_file() or self.is_dir()

    def stat(self) -> Any:
        """Only `st_size`."""
        with _clear_errors(self):
            return SimpleNamespace(st_size=_gfile(self).stat(str(self)).length)

    def iterdir(self) -> Iterator["RemotePath"]:
        """See `Path.iterdir`."""
        with _clear_errors(self):
            names = _gfile(self).listdir(str(self))
        return (self / name.rstrip("/") for name in names if name.rstrip("/"))

    def glob(self, pattern: str) -> Iterator["RemotePath"]:
        """See `Path.glob`, for patterns of names without folders."""
        return (path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, pattern))

    def rglob(self, pattern: str) -> Iterator["RemotePath"]:
        """See `Path.rglob`; files only."""
        with _clear_errors(self):
            found = list(_gfile(self).walk(str(self)))
        for folder, _, names in found:
            yield from (type(self)(folder) / name for name in fnmatch.filter(names, pattern))

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """See `Path.open`."""
        stream = self._open(mode)
        return stream if "b" in mode else io.TextIOWrapper(stream, encoding or "utf-8", errors, newline)

    def _open(self, mode: str) -> Any:
        raw = _Raw(_gfile(self).GFile(str(self), f"{mode[0]}b"), self)
        if mode[0] == "r":
            return io.BufferedReader(raw, 1 << 20)
        raw.write(b"")  # otherwise a file without content never comes to be
        return io.BufferedWriter(raw, 1 << 20)

    def read_bytes(self) -> bytes:
        """See `Path.read_bytes`."""
        with self.open("rb") as stream:
            return stream.read()

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """See `Path.read_text`."""
        with self.open(encoding=encoding, errors=errors) as stream:
            return stream.read()

    def write_bytes(self, data: bytes) -> int:
        """See `Path.write_bytes`."""
        with self.open("wb") as stream:
            return stream.write(data)

    def write_text(self, data: str, encoding: str | None = None) -> int:
        """See `Path.write_text`."""
        with self.open("w", encoding=encoding) as stream:
            return stream.write(data)

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """See `Path.mkdir`; parents are always made."""
        if not exist_ok and self.exists():
            raise FileExistsError(f"{self}: is there already")
        with _clear_errors(self):
            _gfile(self).makedirs(str(self))

    def replace(self, target: os.PathLike[str]) -> None:
        """See `Path.replace`."""
        with _clear_errors(self):
            _gfile(self).rename(str(self), str(target), overwrite=True)

    def resolve(self) -> "RemotePath":
        """See `Path.resolve`; every such path is absolute."""
        return self

    def unlink(self) -> None:
        """See `Path.unlink`."""
        with _clear_errors(self):
            _gfile(self).remove(str(self))


class _Raw(io.RawIOBase):
    """A GFile as Python's own streams want it below them."""

    def __init__(self, file: Any, path: RemotePath) -> None:
        self._file, self._path = file, path

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _clear_errors(self._path):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        with _clear_errors(self._path):
            self._file.write(bytes(data))
        return len(data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            with _clear_errors(self._path):
                self._file.close()


def _gfile(path: RemotePath) -> Any:
    """`tf.io.gfile`.

    Raises:
        FilesystemError: TensorFlow does not know the path's scheme.
    """
    if "tensorflow" not in sys.modules:
        start_tensorflow(multi_worker=True)  # leaves the devices alone, whoever asks
    import tensorflow as tf

    scheme = path.parts[0].rstrip(":")
    if scheme not in tf.io.gfile.get_registered_schemes():
        raise FilesystemError(
            f"{path}: TensorFlow reads no {scheme}://; copy it to this machine, or mount it as a folder, and name that"
        )
    return tf.io.gfile


@contextmanager
def _clear_errors(path: RemotePath) -> Iterator[None]:
    """TensorFlow's errors as those that files raise."""
    import tensorflow as tf  # there already, see `_gfile`

    try:
        yield
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file") from error
    except tf.errors.OpError as error:
        raise FilesystemError(f"{path}: {error.message.splitlines()[0]}") from error


def files_below(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """All files in a folder and in the folders below it; links to folders are not followed."""
    folder = as_path(folder)
    if isinstance(folder, RemotePath):
        yield from cast(Iterator[Path], folder.rglob("*"))
        return
    for root, _, names in os.walk(folder):
        yield from (Path(root) / name for name in names)


def copy_file(source: Path, target: Path) -> None:
    """Copy one file, between any two filesystems."""
    with source.open("rb") as read, target.open("wb") as written:
        shutil.copyfileobj(read, written, 1 << 20)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which it replaces when the block ends without an error."""
    temporary = path.with_name(f"{path.name}.incomplete")
    yield temporary
    temporary.replace(path)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A local folder to write into, which appears as `path` when the block ends without an error."""
    if is_local(path):
        temporary = path.with_name(f"{path.name}.incomplete")
        shutil.rmtree(temporary, ignore_errors=True)
        yield temporary
        temporary.replace(path)
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)
        for file in sorted(files_below(name), reverse=True):
            target = path / file.relative_to(name).as_posix()
            target.parent.mkdir(parents=True, exist_ok=True)
            copy_file(file, target)


@contextmanager
def local_copy(path: str | os.PathLike[str]) -> Iterator[Path]:
    """The path of a file where any library can read it: itself, or a copy for as long as the block lasts."""
    path = as_path(path)
    if is_local(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / path.name
        copy_file(path, copied)
        yield copied
