"""Reads photos and shards of records, on any filesystem that Beam reads."""

import io
from collections.abc import Iterator

from apache_beam.io.filesystems import FileSystems

from beam_jobs.execution.paths import open_file
from tfcaption.preprocessing import photos
from tfcaption.records.tfrecord import read_frames


def read_photo(path: str, offset: int = 0, size: int | None = None) -> bytes:
    """The content of a photo's file, or of a photo inside a larger file.

    At most one byte more than `photos.MAX_BYTES` is read; `prepare_photo` rejects such a photo as too large.

    Args:
        path: any path that Beam's filesystems know.
        offset: first byte.
        size: bytes; None: to the end of the file.

    Raises:
        PhotoError: with the reason "missing photo" where there is no such file, "unreadable" otherwise.
    """
    most = photos.MAX_BYTES + 1
    try:
        with open_file(path) as stream:
            if size is None and stream.seekable():  # to ask for `most` bytes takes as much memory, for each photo
                size = stream.seek(0, io.SEEK_END) - offset
                stream.seek(offset)
            elif offset:
                stream.seek(offset)
            return stream.read(most if size is None else min(size, most))
    except Exception as error:  # Beam's filesystems raise errors of many kinds
        missing = isinstance(error, FileNotFoundError) or not _exists(path)
        raise photos.PhotoError("missing photo" if missing else "unreadable", str(error)) from error


def _exists(path: str) -> bool:
    try:
        return bool(FileSystems.exists(path))
    except Exception:  # of the same kinds
        return True


def read_shard(folder: str, name: str) -> Iterator[bytes]:
    """The serialized records of a shard, one at a time, since a shard may be larger than memory.

    Raises:
        RecordError: a record is damaged; the message names shard and record.
        OSError: the shard cannot be read.
    """
    path = FileSystems.join(folder, name)
    with open_file(path) as stream:
        yield from read_frames(stream, path)


def read_if_exists(folder: str, name: str) -> bytes | None:
    """The content of a small file; None if there is no such file."""
    path = FileSystems.join(folder, name)
    if not FileSystems.exists(path):
        return None
    with open_file(path) as stream:
        return stream.read()
