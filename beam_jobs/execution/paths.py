"""Paths of what jobs read, with pathlib's methods: local ones, and those of filesystems that Beam reads (gs://, s3://)."""

import fnmatch
import glob
import io
import os
from collections.abc import Iterator
from pathlib import Path, PurePath
from types import SimpleNamespace
from typing import Any, cast

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from tfcaption.runtime.paths import RemotePath, is_local, with_host


def as_path(path: str | os.PathLike[str]) -> Path:
    """A path as pathlib has it, whatever filesystem it is on; one that is a path already stays what it is."""
    if isinstance(path, PurePath):
        return cast(Path, path)
    return Path(path) if is_local(path) else cast(Path, BeamPath(with_host(path)))


class BeamPath(RemotePath):
    """The part of `pathlib.Path` for reading that jobs use, by Beam's filesystems."""

    def is_file(self) -> bool:
        """See `Path.is_file`."""
        return bool(FileSystems.exists(str(self)))

    def is_dir(self) -> bool:
        """See `Path.is_dir`; object stores have no empty folders."""
        return bool(FileSystems.match([f"{self._escaped}/**"], limits=[1])[0].metadata_list)

    def stat(self) -> Any:
        """Only `st_size`."""
        (found,) = FileSystems.match([self._escaped])[0].metadata_list
        return SimpleNamespace(st_size=found.size_in_bytes)

    def iterdir(self) -> Iterator["BeamPath"]:
        """See `Path.iterdir`; files only."""
        return self._match("*")

    def glob(self, pattern: str) -> Iterator["BeamPath"]:
        """See `Path.glob`; files only."""
        return self._match(pattern)

    def rglob(self, pattern: str) -> Iterator["BeamPath"]:
        """See `Path.rglob`; files only."""
        return (path for path in self._match("**") if fnmatch.fnmatchcase(path.name, pattern))

    @property
    def _escaped(self) -> str:
        """As a pattern that matches this path alone: `[1]` in it is no class of characters."""
        return glob.escape(str(self))

    def _match(self, pattern: str) -> Iterator["BeamPath"]:
        found = FileSystems.match([f"{self._escaped}/{pattern}"])[0].metadata_list
        return (BeamPath(item.path) for item in found if not item.path.endswith("/"))

    def _open(self, mode: str) -> Any:
        stream = FileSystems.open(str(self), compression_type=CompressionTypes.UNCOMPRESSED)
        return stream if isinstance(stream, io.BufferedIOBase) else io.BufferedReader(stream)
