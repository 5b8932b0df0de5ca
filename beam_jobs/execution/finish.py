"""How every pipeline ends: rejections, a final step after all others, and the check that nothing was lost."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import apache_beam as beam
from apache_beam import pvalue

from beam_jobs.errors import JobFailed
from beam_jobs.execution.rejection_files import line_in_file
from tfcaption.records.dataset_info import Rejection, ShardInfo, SplitInfo

REJECTED = "rejected"  # the tagged output of rejections


def rejection(kind: str, name: str, reason: str, detail: str = "", *, captions: int = 0) -> pvalue.TaggedOutput:
    """A rejected photo or caption, for the output `REJECTED` of a step; see `Rejection`."""
    return rejected(Rejection(kind=kind, id=name, reason=reason, detail=detail, captions=captions))


def rejected(rejection: Rejection) -> pvalue.TaggedOutput:
    """A rejection, for the output `REJECTED` of a step."""
    return pvalue.TaggedOutput(REJECTED, line_in_file(rejection))


def add_final_step(
    pipeline: beam.Pipeline, finish: Callable[..., None], *inputs: pvalue.AsSideInput, **fields: Any
) -> None:
    """Append a step that calls `finish(None, *inputs, **fields)` once, when all inputs are complete."""
    _ = pipeline | "Once" >> beam.Create([None]) | "Finish" >> beam.Map(finish, *inputs, **fields)


def shards_by_split(
    described: Mapping[str, SplitInfo], written: Iterable[tuple[str, ShardInfo]], *, detail: str = ""
) -> dict[str, list[ShardInfo]]:
    """The shards that a job wrote, one for each shard of some records: split -> shards in the order of their names.

    Args:
        described: the splits of the records.
        written: split and description of each shard.
        detail: which shards of a split these are, for messages.

    Raises:
        JobFailed: a shard was lost or written twice.
    """
    splits: dict[str, list[ShardInfo]] = {name: [] for name in described}
    for split, shard in written:
        splits[split].append(shard)
    for name, split_info in described.items():
        check_conservation(f"shards of {name}{detail}", len(split_info.shards), written=len(splits[name]))
    return {name: sorted(shards, key=lambda shard: shard.name) for name, shards in splits.items()}


def check_conservation(unit: str, total: int, *, written: int, rejected: int = 0) -> None:
    """Check that every item of the input was written or rejected.

    Raises:
        JobFailed: the runner lost some or wrote some twice.
    """
    if written + rejected != total:
        raise JobFailed(
            f"conservation check: {total:,} {unit} expected, but {written:,} written and {rejected:,} rejected; the "
            "runner lost records: do not use this output, and report the runner and its options"
        )
