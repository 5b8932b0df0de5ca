"""Photos of files in which they cannot be read in place, such as Parquet: copied for the time of the job."""

import shutil
from contextlib import AbstractContextManager
from types import TracebackType
from typing import BinaryIO

from apache_beam.io.filesystems import FileSystems

from beam_jobs.execution.paths import delete_files, paths_in
from beam_jobs.execution.shard_writer import atomic_file, cannot_be_written
from beam_jobs.sources.base import Location
from tfcaption.runtime.paths import is_local

_FOLDER = ".photos"  # below the output of a job


class UnpackedPhotos:
    """A file with the photos of one part of a data set, one after the other; it appears when the block ends.

    Args:
        output: the job's output folder.
        name: of the file, unique for the part.
    """

    def __init__(self, output: str, name: str) -> None:
        self._output, self._name = output, name
        self._file: AbstractContextManager[BinaryIO] | None = None  # None: no photo came yet
        self._stream: BinaryIO
        self._size = 0
        self._location_of: dict[str, Location] = {}

    def add(self, name: str, photo: bytes) -> Location:
        """Append a photo, unless one of that name is there; returns where it can be read once the block has ended.

        Raises:
            JobFailed: it cannot be written.
        """
        folder = FileSystems.join(self._output, _FOLDER)
        if self._file is None:
            self._file = atomic_file(folder, self._name)
            self._stream = self._file.__enter__()
        if name not in self._location_of:
            path = FileSystems.join(folder, self._name)
            try:
                self._stream.write(photo)
            except OSError as error:  # or the reader of the captions would take it for one of its own file
                raise cannot_be_written(path, error) from error
            self._location_of[name] = Location(path, self._size, len(photo))
            self._size += len(photo)
        return self._location_of[name]

    def __enter__(self) -> "UnpackedPhotos":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.__exit__(kind, error, trace)


def remove_unpacked(output: str) -> None:
    """Remove what a job has unpacked."""
    folder = FileSystems.join(output, _FOLDER)
    if is_local(folder):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        delete_files(paths_in(folder), missing_ok=True)
