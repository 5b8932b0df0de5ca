"""Writes files and shards: each file appears when it is complete, each shard is counted and hashed."""

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, BinaryIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from beam_jobs.errors import JobFailed
from beam_jobs.execution.paths import delete_files
from tfcaption.records.dataset_info import ShardInfo
from tfcaption.records.tfrecord import frame_record

TEMPORARY_MARK = ".incomplete-"


@contextmanager
def atomic_file(folder: str, name: str) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name when the block ends without an error.

    Raises:
        JobFailed: the file cannot be written.
    """
    target = FileSystems.join(folder, name)
    temporary = f"{target}{TEMPORARY_MARK}{uuid.uuid4().hex}"
    try:
        with FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            yield stream
            _upload_empty_part(stream)
        FileSystems.rename([temporary], [target])
    except BaseException as error:
        with suppress(OSError):  # where writing fails, removing may fail as well
            if FileSystems.exists(temporary):
                delete_files([temporary])
        if isinstance(error, OSError):  # Beam's own errors derive from it
            raise cannot_be_written(target, error) from error
        raise


def cannot_be_written(path: str, error: OSError) -> JobFailed:
    """The error of a job that cannot write a file."""
    return JobFailed(f"{path}: cannot be written: {error}; fix that and run the job again")


def _upload_empty_part(stream: BinaryIO) -> None:
    """Upload one empty part of an empty file: Beam (2.77) uploads none, and S3 refuses a file without parts."""
    uploader: Any = getattr(getattr(stream, "raw", None), "_uploader", None)
    if hasattr(uploader, "_write_to_s3") and not stream.tell():
        uploader._write_to_s3(b"")


class ShardDigest:
    """Counts and hashes a shard for its description, one record at a time."""

    def __init__(self) -> None:
        self._digest, self._records, self._bytes = hashlib.sha256(), 0, 0

    def add(self, record: bytes) -> None:
        """Count the next record: all bytes that the shard holds of it."""
        self._digest.update(record)
        self._records, self._bytes = self._records + 1, self._bytes + len(record)

    def info(self, name: str) -> ShardInfo:
        """The description of the shard, once all records were added."""
        return ShardInfo(name=name, records=self._records, bytes=self._bytes, sha256=self._digest.hexdigest())


def write_shard(folder: str, name: str, serialized: Iterable[bytes]) -> ShardInfo:
    """Write a TFRecord shard, one record at a time, so a shard may be larger than memory.

    Args:
        folder: any path that Beam's filesystems know.
        name: the shard's file name.
        serialized: the records in their order.

    Raises:
        JobFailed: the shard cannot be written.
    """
    return write_shards([folder], name, ((data,) for data in serialized))[0]


def write_shards(folders: Sequence[str], name: str, serialized: Iterable[Sequence[bytes]]) -> list[ShardInfo]:
    """Write TFRecord shards of one name into several folders, side by side; see `write_shard`.

    Args:
        folders: any paths that Beam's filesystems know.
        name: the shards' file name.
        serialized: for each record in its order, what each folder gets of it.

    Raises:
        JobFailed: a shard cannot be written.
    """
    digests = [ShardDigest() for _ in folders]
    with ExitStack() as stack:
        streams = [stack.enter_context(atomic_file(folder, name)) for folder in folders]
        for records in serialized:
            for data, stream, digest in zip(records, streams, digests, strict=True):
                frame = frame_record(data)
                stream.write(frame)
                digest.add(frame)
    return [digest.info(name) for digest in digests]


def write_text(folder: str, name: str, text: str) -> None:
    """Write a small text file, as UTF-8.

    Raises:
        JobFailed: the file cannot be written.
    """
    with atomic_file(folder, name) as stream:
        stream.write(text.encode())
