"""Reads the records of shards, and skips or reports damaged ones."""

import hashlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tfcaption.records import tfrecord
from tfcaption.records.dataset_info import ShardInfo
from tfcaption.records.examples import captions_of, token_ids_of
from tfcaption.records.tfrecord import RecordError
from tfcaption.runtime.paths import as_path


def read_shard(path: Path) -> Iterator[bytes]:
    """The serialized records of one shard, one at a time.

    Raises:
        RecordError: a record is damaged; the message names shard and record.
        OSError: the shard cannot be read.
    """
    with path.open("rb") as stream:
        yield from tfrecord.read_frames(stream, str(path))


@dataclass(frozen=True)
class SalvagedShard:
    """The intact records of a shard, and what is wrong with the others."""

    info: ShardInfo  # as the file is, with the number of its intact records
    records: list[bytes]  # serialized
    faults: list[str]  # one per damaged record, in their order; each names shard and record


def salvage_shard(path: Path) -> SalvagedShard:
    """Read a shard that may be damaged; holds it in memory.

    Raises:
        OSError: the shard cannot be read.
    """
    content = path.read_bytes()
    found = list(tfrecord.salvage_frames(content, path.name))
    records = [data for data in found if isinstance(data, bytes)]
    return SalvagedShard(
        info=ShardInfo(
            name=path.name, records=len(records), bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
        ),
        records=records,
        faults=[str(error) for error in found if isinstance(error, RecordError)],
    )


class DamagedRecordSkipper:
    """Reads shards without their damaged records, and remembers which records it skipped."""

    def __init__(self) -> None:
        self._faults: dict[str, None] = {}  # an ordered set

    @property
    def faults(self) -> list[str]:
        """The records skipped so far, each named once with its file, in the order of the first skip."""
        return list(self._faults)

    def read(self, path: str) -> Iterator[bytes]:
        """The intact records of a shard; prints each damaged record to standard error the first time."""
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
        folder: the folder of the shards.
        shards: the shards that the description lists.
        description: name of the description, such as dataset.json.
        job: name of the job that rebuilds the shards, such as build_records.
        check_sizes: False if damaged records are skipped, since a shard's size may then differ.

    Raises:
        RecordError: a shard is missing, or its size differs from the description.
    """
    for shard in shards:
        path = folder / shard.name
        if not path.is_file():
            raise RecordError(f"{path}: no such file, though {description} lists it; run {job} again")
        if check_sizes and (size := path.stat().st_size) != shard.bytes:
            raise RecordError(f"{path}: {size:,} bytes, {description} says {shard.bytes:,}; run {job} again")


def read_records(files: Iterable[str], skipper: DamagedRecordSkipper | None = None) -> Iterator[bytes]:
    """The serialized records of several shards, in their order.

    Args:
        files: paths of the shards.
        skipper: skips damaged records; None: they are errors.

    Raises:
        RecordError: a record is damaged and there is no skipper; the message names shard and record.
    """
    for file in files:
        yield from skipper.read(file) if skipper else read_shard(as_path(file))


def read_references(files: Iterable[str], skipper: DamagedRecordSkipper | None = None) -> dict[str, list[str]]:
    """Photo id -> raw captions."""
    return dict(map(captions_of, read_records(files, skipper)))


def read_token_ids(files: Iterable[str], skipper: DamagedRecordSkipper | None = None) -> Iterator[list[list[int]]]:
    """Token ids of each photo's captions, from <start> to <end>."""
    return map(token_ids_of, read_records(files, skipper))
