"""The TFRecord shard writer of all jobs: in order, atomic, counted and fingerprinted."""

import hashlib
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from beam_jobs.errors import JobFailed
from tfcaption.records.dataset_info import ShardInfo
from tfcaption.records.tfrecord import frame_record

TEMPORARY_MARK = ".incomplete-"


@contextmanager
def atomic_file(folder: str, name: str) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name only when it is complete.

    Raises:
        JobFailed: it cannot be written.
    """
    target = FileSystems.join(folder, name)
    temporary = f"{target}{TEMPORARY_MARK}{uuid.uuid4().hex}"
    try:
        with FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            yield stream
            _upload_at_least_nothing(stream)
        FileSystems.rename([temporary], [target])
    except BaseException as error:
        with suppress(OSError):  # where writing fails, removing may, too
            if FileSystems.exists(temporary):
                FileSystems.delete([temporary])
        if isinstance(error, OSError):  # Beam's own errors among them
            raise JobFailed(f"{target}: cannot be written: {error}; mend that, and run the job again") from error
        raise


def _upload_at_least_nothing(stream: BinaryIO) -> None:
    """Beam (2.77) ends the upload of an empty file to S3 without a single part, which S3 refuses; one may be empty."""
    uploader: Any = getattr(getattr(stream, "raw", None), "_uploader", None)
    if hasattr(uploader, "_write_to_s3") and not stream.tell():
        uploader._write_to_s3(b"")


class ShardDigest:
    """What `dataset.json` says of a shard, from its frames as they come."""

    def __init__(self) -> None:
        self._digest, self._count, self._size = hashlib.sha256(), 0, 0

    def add(self, frame: bytes) -> None:
        """The next record, framed."""
        self._digest.update(frame)
        self._count, self._size = self._count + 1, self._size + len(frame)

    def shard(self, name: str) -> ShardInfo:
        """The description, once all frames were added."""
        return ShardInfo(name=name, records=self._count, bytes=self._size, sha256=self._digest.hexdigest())


def write_shard(folder: str, name: str, serialized: Iterable[bytes]) -> ShardInfo:
    """Write one shard; streams, so a shard may be larger than memory.

    Args:
        folder: where to, any path that Beam's filesystems know.
        name: the shard's file name.
        serialized: the records, in the order in which they are to stand.

    Returns:
        What `dataset.json` says of the shard.
    """
    described = ShardDigest()
    with atomic_file(folder, name) as stream:
        for data in serialized:
            frame = frame_record(data)
            stream.write(frame)
            described.add(frame)
    return described.shard(name)


def write_text(folder: str, name: str, text: str) -> None:
    """Write a small text file, as UTF-8."""
    with atomic_file(folder, name) as stream:
        stream.write(text.encode())
