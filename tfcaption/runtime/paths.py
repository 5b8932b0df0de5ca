"""Paths on any filesystem, with pathlib's methods: local paths, and paths in object stores (gs://, s3://).

Local paths are plain pathlib ones: only a remote path loads the packages that read it.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import cast

from tfcaption.runtime.errors import FilesystemError

SCHEMES = ("gs", "s3")


def is_local(path: str | os.PathLike[str]) -> bool:
    """True unless the path names another filesystem (gs://, s3://, hdfs://)."""
    return "://" not in os.fspath(path)


def as_path(path: str | os.PathLike[str]) -> Path:
    """A pathlib path, on any filesystem; a path object is returned as it is.

    Raises:
        FilesystemError: the scheme is unknown, or the path names no bucket.
    """
    if isinstance(path, PurePath):
        return cast(Path, path)
    if is_local(path):
        return Path(path)
    url = with_host(path)
    if url.partition("://")[0] not in SCHEMES:
        raise FilesystemError(
            f"{url}: only local paths and {', '.join(f'{scheme}://' for scheme in SCHEMES)} are supported; "
            "copy it to this machine, or mount it as a folder, and name that"
        )
    from tfcaption.runtime.remote_path import RemotePath  # takes 0.3 s, which only remote paths pay

    return cast(Path, RemotePath(url))


def with_host(path: str | os.PathLike[str]) -> str:
    """The path, if it names a host or bucket; pathlib would take its first folder for one.

    Raises:
        FilesystemError: it names none.
    """
    if ":///" in os.fspath(path):
        raise FilesystemError(f"{path}: names no host or bucket; write SCHEME://HOST/PATH, or a local path without ://")
    return os.fspath(path)


def files_below(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """All files in a folder and in the folders below it; links to folders are not followed."""
    folder = as_path(folder)
    if not is_local(folder):
        yield from folder.rglob("*")
        return
    for root, _, names in os.walk(folder):
        yield from (Path(root) / name for name in names)


def copy_file(source: Path, target: Path) -> None:
    """Copy one file, between any two filesystems."""
    with source.open("rb") as read, target.open("wb") as written:
        shutil.copyfileobj(read, written, 1 << 20)


def copy_files(source: Path, target: Path) -> None:
    """Copy all files below a folder into another folder, between any two filesystems."""
    for file in files_below(source):
        copied = target / file.relative_to(source).as_posix()
        copied.parent.mkdir(parents=True, exist_ok=True)
        copy_file(file, copied)


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
    with tempfile.TemporaryDirectory(prefix="tfcaption-") as name:
        yield Path(name)
        copy_files(Path(name), path)


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """A file or folder where any library can read it: itself if it is local, or a copy that lasts until the block ends.

    Raises:
        FileNotFoundError: there is no such remote file or folder.
    """
    if is_local(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="tfcaption-") as name:
        copied = Path(name) / path.name
        if path.is_dir():
            copy_files(path, copied)
        else:
            copy_file(path, copied)
        yield copied


class LocalMirror:
    """A local folder that libraries write into, and the folder on any filesystem that its files are uploaded to.

    Attributes:
        folder: the local folder: a copy of the remote one, or the folder itself if that is local.

    Args:
        target: the folder, which need not exist.
        folder: where to copy it to.
    """

    def __init__(self, target: Path, folder: Path) -> None:
        self.folder, self._target = folder, target
        if target != folder:
            copy_files(target, folder)
        self._uploaded = self._states()

    def _states(self) -> dict[str, tuple[int, int]]:
        """Path of each local file -> time of its last change and its size."""
        if self._target == self.folder:
            return {}
        found = ((path, path.stat()) for path in files_below(self.folder))
        return {path.relative_to(self.folder).as_posix(): (stat.st_mtime_ns, stat.st_size) for path, stat in found}

    def upload(self) -> None:
        """Upload new and changed files in the order in which they were written, then remove what was removed.

        So a file that names others, written after them, is uploaded after them, and the files that it named before
        are removed last: whenever this is interrupted, the remote folder is usable.
        """
        states = self._states()
        for name in sorted(states, key=lambda name: (states[name][0], name)):
            if self._uploaded.get(name) != states[name]:
                copy_file(self.folder / name, self._target / name)
        for name in self._uploaded.keys() - states.keys():
            (self._target / name).unlink(missing_ok=True)
        self._uploaded = states


@contextmanager
def local_mirror(target: Path) -> Iterator[LocalMirror]:
    """A `LocalMirror` of a folder, which is uploaded as well when the block ends, even by an error."""
    if is_local(target):
        yield LocalMirror(target, target)
        return
    with tempfile.TemporaryDirectory(prefix="tfcaption-") as name:
        mirror = LocalMirror(target, Path(name))
        try:
            yield mirror
        finally:
            mirror.upload()
