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
    """The path, if it names a host or bucket; otherwise pathlib would take its first folder for one.

    Raises:
        FilesystemError: it does not.
    """
    if ":///" in os.fspath(path):
        raise FilesystemError(
            f"{path}: the host or bucket is missing; write SCHEME://HOST/PATH, or a local path without ://"
        )
    return os.fspath(path)


def files_below(folder: Path) -> Iterator[Path]:
    """All files in a folder and in the folders below it; links to folders are not followed."""
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
    """A temporary path that replaces `path` when the block ends without an error."""
    temporary = path.with_name(f"{path.name}.incomplete-file")  # a job that rebuilds the folder removes it
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
    """A file or folder as any library can read it: the path itself if it is local, or a temporary copy.

    Raises:
        FileNotFoundError: the remote file or folder does not exist.
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
    """A local copy of a remote folder for libraries that write local files only; `upload` copies changes back.

    Args:
        target: the remote folder, which need not exist. A local one needs no copy.
        folder: the local folder: empty, or `target` itself.
    """

    def __init__(self, target: Path, folder: Path) -> None:
        self.folder, self._target = folder, target
        if target != folder:
            copy_files(target, folder)
        self._uploaded = self._states()

    def _states(self) -> dict[str, tuple[int, int]]:
        """Path of each local file -> time of its last change, and size."""
        if self._target == self.folder:
            return {}
        found = ((path, path.stat()) for path in files_below(self.folder))
        return {path.relative_to(self.folder).as_posix(): (stat.st_mtime_ns, stat.st_size) for path, stat in found}

    def upload(self) -> None:
        """Upload new and changed files in the order in which they were written, then delete removed ones.

        A file that names other files is written after them. So the remote folder is consistent at any moment.
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
    """A `LocalMirror` of a folder; uploads it also when the block ends, with or without an error."""
    if is_local(target):
        yield LocalMirror(target, target)
        return
    with tempfile.TemporaryDirectory(prefix="tfcaption-") as name:
        mirror = LocalMirror(target, Path(name))
        try:
            yield mirror
        finally:
            mirror.upload()
