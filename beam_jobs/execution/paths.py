"""Paths that jobs read, with pathlib's methods: local paths, and paths on filesystems that Beam reads (gs://, s3://)."""

import fnmatch
import glob
import io
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath, PurePosixPath
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from tfcaption.runtime.paths import files_in, is_local, with_host

_REQUESTS_AT_ONCE = 16


def as_path(path: str | os.PathLike[str]) -> Path:
    """A pathlib path on any filesystem; a path object is returned unchanged."""
    if isinstance(path, PurePath):
        return cast(Path, path)
    return Path(path) if is_local(path) else cast(Path, BeamPath(with_host(path)))


def paths_in(folder: str) -> list[str]:
    """Paths of the files directly in a folder, sorted; none where there is no folder."""
    path = as_path(folder)
    return sorted(FileSystems.join(folder, file.name) for file in files_in(path)) if path.is_dir() else []


def delete_files(paths: Iterable[str], *, missing_ok: bool = False) -> None:
    """Delete files of one folder, in no particular order.

    Args:
        paths: of the files.
        missing_ok: a local file may be missing; one of an object store always may.

    Raises:
        OSError: one cannot be deleted.
    """
    paths = [*paths]
    if paths and is_local(paths[0]):
        for path in paths:
            Path(path).unlink(missing_ok=missing_ok)
    elif paths and paths[0].startswith("gs://"):
        # Google's filesystem alone takes each path for a pattern, and asks the store for each by itself.
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
            deque(pool.map(FileSystems.delete, ([glob.escape(path)] for path in paths)), maxlen=0)
    elif paths:
        FileSystems.delete(paths)


def open_file(path: str) -> BinaryIO:
    """Open a file for reading on any filesystem; its bytes are never decompressed."""
    if is_local(path):
        return Path(path).open("rb")
    stream: Any = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    buffered: Any = stream if isinstance(stream, io.BufferedIOBase) else io.BufferedReader(stream)
    return buffered


class BeamPath(PurePosixPath):
    """The reading methods of `pathlib.Path` that jobs use, on Beam's filesystems.

    Beam's own, rather than those of `tfcaption.runtime.paths`: a job's options hold their credentials on every worker.
    """

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)  # pathlib drops the second slash

    def __fspath__(self) -> str:
        return str(self)

    def exists(self) -> bool:
        """See `Path.exists`."""
        return self.is_file() or self.is_dir()

    def absolute(self) -> "BeamPath":
        """See `Path.absolute`."""
        return self

    def is_file(self) -> bool:
        """See `Path.is_file`."""
        return bool(FileSystems.exists(str(self)))

    def is_dir(self) -> bool:
        """See `Path.is_dir`; object stores have no empty folders."""
        return bool(_match(f"{glob.escape(str(self))}/**", limit=1))

    def stat(self) -> Any:
        """Only `st_size`."""
        (found,) = _match(glob.escape(str(self)))
        return SimpleNamespace(st_size=found.size_in_bytes)

    def iterdir(self) -> Iterator["BeamPath"]:
        """See `Path.iterdir`; files only."""
        return (path for path in self.rglob("*") if path.parent == self)

    def glob(self, pattern: str) -> Iterator["BeamPath"]:
        """See `Path.glob`; files only, for patterns of names without folders."""
        return (path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, pattern))

    def rglob(self, pattern: str) -> Iterator["BeamPath"]:
        """See `Path.rglob`; files only."""
        found = (item.path for item in _match(f"{glob.escape(str(self))}/**") if not item.path.endswith("/"))
        return (path for path in map(BeamPath, found) if fnmatch.fnmatchcase(path.name, pattern))

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """See `Path.open`; for reading only."""
        stream: Any = open_file(str(self))
        return stream if "b" in mode else io.TextIOWrapper(stream, encoding or "utf-8", errors, newline)

    def read_bytes(self) -> bytes:
        """See `Path.read_bytes`."""
        with self.open("rb") as stream:
            return stream.read()

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """See `Path.read_text`."""
        with self.open(encoding=encoding, errors=errors) as stream:
            return stream.read()


def _match(pattern: str, limit: int | None = None) -> list[Any]:
    """All files that a pattern of Beam matches; what is a user's in it must be escaped."""
    return list(FileSystems.match([pattern], limits=[limit])[0].metadata_list)
