"""Records of shards: captions and tokens, and damaged records skipped, counted and named."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tfcaption.records import tfrecord
from tfcaption.records.dataset_info import ShardInfo
from tfcaption.records.examples import captions_of, token_ids_of
from tfcaption.records.tfrecord import RecordError
from tfcaption.runtime.paths import as_path


class DamagedRecordSkipper:
    """Reads shards without their damaged records, and remembers which it skipped."""

    def __init__(self) -> None:
        self._faults: dict[str, None] = {}  # in the order in which they were met

    @property
    def faults(self) -> list[str]:
        """The records skipped so far, each named with its file, and once however often it was met."""
        return list(self._faults)

    def read(self, path: str) -> Iterator[bytes]:
        """The intact records of a shard; each damaged one is named on standard error the first time."""
        for found in tfrecord.salvage_frames(as_path(path).read_bytes(), path):
            if isinstance(found, bytes):
                yield found
            elif str(found) not in self._faults:
                self._faults[str(found)] = None
                print(f"skipped: {found}", file=sys.stderr, flush=True)


def check_shards(
    folder: Path, shards: Iterable[ShardInfo], *, description: str, job: str, check_sizes: bool = True
) -> None:
    """Check that shards are complete before they are read.

    Args:
        folder: of the shards.
        shards: as the description lists them.
        description: name of the description, such as dataset.json.
        job: name of the job that makes the shards again, such as build_records.
        check_sizes: False where damaged records are skipped, so that a shard may have another size than described.

    Raises:
        RecordError: a shard is missing or has another size than described.
    """
    for shard in shards:
        path = folder / shard.name
        if not path.is_file():
            raise RecordError(f"{path}: no such file, though {description} lists it; run {job} again")
        if check_sizes and (size := path.stat().st_size) != shard.bytes:
            raise RecordError(f"{path}: {size:,} bytes, {description} says {shard.bytes:,}; run {job} again")


def read_records(files: Iterable[str], skipper: DamagedRecordSkipper | None = None) -> Iterator[bytes]:
    """The serialized records of some shards, one after the other.

    Args:
        files: paths of the shards.
        skipper: skips damaged records; None: they are errors.

    Raises:
        RecordError: a record is damaged, without a skipper; the message names shard and record.
    """
    for file in files:
        if skipper:
            yield from skipper.read(file)
            continue
        with as_path(file).open("rb") as stream:
            yield from tfrecord.read_frames(stream, file)


def read_references(files: Iterable[str], skipper: DamagedRecordSkipper | None = None) -> dict[str, list[str]]:
    """Photo id -> raw captions, straight from shards."""
    return dict(map(captions_of, read_records(files, skipper)))


def read_token_ids(files: Iterable[str], skipper: DamagedRecordSkipper | None = None) -> Iterator[list[list[int]]]:
    """Token ids of each photo's captions, from <start> to <end>, straight from shards."""
    return map(token_ids_of, read_records(files, skipper))
