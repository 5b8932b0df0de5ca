"""Any number of rejections -> `rejected.jsonl`, with no more than a part of them in the memory of any worker.

They are grouped by a hash into a few sorted files of the output folder. The final step merges the files, and needs only
the counts besides.
"""

import heapq
import json
import zlib
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from beam_jobs.execution.paths import open_file
from beam_jobs.execution.rejections import RejectionCounts
from beam_jobs.execution.shard_writer import atomic_file
from tfcaption.records.dataset_info import REJECTED_FILE, Rejection, rejected_lines, rejection_order
from tfcaption.records.sharding import is_shard_name, shard_name

# A million rejections are some 20 MB in each. On an object store the final step reads 16 MB of each at once.
_FILES = 16
_LINES_AT_ONCE = 100_000  # some 20 MB
_PREFIX = "rejected"


def line_in_file(rejection: Rejection) -> tuple[int, bytes]:
    """(number of the file, line of the file), as `RejectionFiles` takes rejections."""
    line = rejected_lines([rejection]).encode()
    return zlib.crc32(line) % _FILES, line


@dataclass(frozen=True)
class RejectionFile:
    """A sorted file of rejections in the output folder."""

    name: str
    counts: RejectionCounts


class RejectionFiles(beam.PTransform):
    """Rejections, see `line_in_file` -> at most 16 `RejectionFile`s; none where nothing is rejected.

    Args:
        output: the job's output folder.
    """

    def __init__(self, output: str) -> None:
        super().__init__()
        self._output = output

    def expand(self, rejections: beam.PCollection) -> beam.PCollection:
        """See `beam.PTransform`."""
        return rejections | "ToFiles" >> beam.GroupByKey() | "WriteSorted" >> beam.Map(_write_sorted, self._output)


def is_rejection_file(name: str) -> bool:
    """Whether a file has the name of such a part of `rejected.jsonl`."""
    return name.startswith(_PREFIX) and is_shard_name(name)


def merge_rejections(files: Iterable[RejectionFile], output: str) -> RejectionCounts:
    """Merge all files into `rejected.jsonl`, which is empty where there are none; returns the counts of all."""
    counts = RejectionCounts()
    with ExitStack() as stack:
        streams = []
        for file in files:
            counts.merge(file.counts)
            streams.append(stack.enter_context(open_file(FileSystems.join(output, file.name))))
        merged = stack.enter_context(atomic_file(output, REJECTED_FILE))
        for line in heapq.merge(*streams, key=_line_order):
            merged.write(line)
    return counts


def write_sorted(lines: Iterable[bytes], output: str) -> None:
    """Write `rejected.jsonl` from lines in any order, of which few are in memory at once.

    Leaves sorted files, see `is_rejection_file`.
    """
    remaining = iter(lines)
    runs = iter(lambda: list(islice(remaining, _LINES_AT_ONCE)), [])
    merge_rejections([_write_sorted(run, output) for run in enumerate(runs)], output)


def _write_sorted(element: tuple[int, Iterable[bytes]], output: str) -> RejectionFile:
    index, lines = element
    name = shard_name(_PREFIX, index, _FILES, suffix="jsonl")
    counts = RejectionCounts()
    with atomic_file(output, name) as stream:
        for line in sorted(lines, key=_line_order):
            counts.add(_rejection(line))
            stream.write(line)
    return RejectionFile(name, counts)


def _line_order(line: bytes) -> tuple[str, ...]:
    return *rejection_order(_rejection(line)), line.decode()


def _rejection(line: bytes) -> Rejection:
    return Rejection.model_construct(**json.loads(line))  # pydantic's parser takes no surrogates
