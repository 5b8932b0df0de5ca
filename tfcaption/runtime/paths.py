"""Paths on any filesystem, with pathlib's methods: local paths, and paths in object stores (gs://, s3://).

Local paths are plain pathlib ones: only a remote path loads the packages that read it.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import cast

from tfcaption.runtime.errors import FilesystemError

SCHEMES = ("gs", "s3")
_PATTERN = re.compile(r"[*?\[\]{}\\]")  # characters that mean something in the patterns of libraries


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
    """All files in a folder and in the folders below it, with broken links and pipes; see `entries_below`."""
    return (path for path, problem in entries_below(folder) if not problem or not path.is_dir())


def files_in(folder: Path) -> Iterator[Path]:
    """The files in a folder, without those in the folders below it, broken links and pipes."""
    if is_local(folder):
        yield from (folder / entry.name for entry in os.scandir(folder) if _is_file(entry))
    else:
        yield from folder.iterdir()


def entries_below(folder: Path) -> Iterator[tuple[Path, str]]:
    """All that is in a folder and in the folders below it.

    Links to folders are followed. A folder that is reached twice is listed once: by its own path, or by its first link.

    Yields:
        Each file, with "". Whatever cannot be listed or read, with the reason: a folder that must not be opened, a link
        to a folder that is listed elsewhere or that holds the link, a broken link, a pipe, a device.

    Raises:
        OSError: `folder` itself cannot be listed.
    """
    if not is_local(folder):
        yield from ((path, "") for path in folder.rglob("*"))
        return
    listed: dict[Path, Path] = {}  # real path of a folder -> path that it is listed by
    folders, links = [(folder, folder.resolve())], list[Path]()
    while folders or links:
        if folders:
            current, real = folders.pop()
        else:  # after all folders that need no link
            current = links.pop(0)
            real = current.resolve()
            if real in listed:
                yield current, f"linked folder: listed as {listed[real]}"
                continue
            if any(path.resolve().is_relative_to(real) for path in (folder, current.parent)):
                yield current, "linked folder: it holds the link"
                continue
        if real in listed:
            continue
        listed[real] = current
        try:
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except PermissionError as error:
            if current == folder:
                raise
            yield current, f"unreadable folder: {error.strerror}"
            continue
        for entry in entries:
            path = current / entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append((path, real / entry.name))
            elif entry.is_symlink() and path.is_dir():
                links.append(path)
            elif _is_file(entry):
                yield path, ""
            else:
                yield path, "not a regular file" if path.exists() else "broken link"


def _is_file(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False) or Path(entry).is_file()


def is_hidden(path: PurePath) -> bool:
    """True for a hidden file, or one in a hidden folder; `path` is relative to the folder that the user names.

    Archives made on a Mac hold a hidden file beside each file, or all of these in a folder __MACOSX.
    """
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


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
def _plain_path(path: Path) -> Iterator[Path]:
    """A local path that no library takes for a pattern: the path itself, or a temporary link to it.

    TensorFlow restores checkpoints by patterns, and deletes old ones by them: `run[1]` would be `run1`.
    """
    if not _PATTERN.search(str(path)):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="tfcaption-") as name:
        link = Path(name) / _PATTERN.sub("_", path.name)
        link.symlink_to(path.absolute())
        yield link


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """A file or folder as any library can read it: the path itself if it is local and plain, a link, or a copy.

    Raises:
        FileNotFoundError: the remote file or folder does not exist.
    """
    if is_local(path):
        with _plain_path(path) as plain:
            yield plain
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
        with _plain_path(target) as folder:
            yield LocalMirror(folder, folder)
        return
    with tempfile.TemporaryDirectory(prefix="tfcaption-") as name:
        mirror = LocalMirror(target, Path(name))
        try:
            yield mirror
        finally:
            mirror.upload()
