"""Whether FnApiRunner loses elements of a Flatten that a worker sends in several messages; each holds 10 MB.

    python flatten_beyond_10_mb.py

Needs only apache-beam. The shape is that of a job in which it was once suspected: a ParDo with tagged outputs, its main
output in a Flatten with a Create, a GroupByKey behind it whose ParDo has a side input, and a Flatten as side input.
"""

from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.options.pipeline_options import PipelineOptions

KEYS, SIZE = 64, 1_000  # bytes of an element


class Emit(beam.DoFn):
    """A number of elements -> so many keyed elements, a hundredth as many rejections, and one count."""

    def process(self, elements: int) -> Iterable[Any]:
        """Emit them."""
        for number in range(elements):
            yield number % KEYS, bytes(SIZE)
            if number % 100 == 0:
                yield pvalue.TaggedOutput("rejected", bytes(SIZE))
        yield pvalue.TaggedOutput("counts", elements)


def sizes(group: tuple[int, Iterable[Any]], _: int) -> Iterable[Any]:
    """How many elements a key has, and one rejection."""
    yield sum(1 for value in group[1] if value is not None)
    yield pvalue.TaggedOutput("rejected", b"")


def finish(_: None, arrived: list[int], rejected: list[bytes]) -> None:
    """Count all that has arrived."""
    for name, count in (("arrived", sum(arrived)), ("keys", len(arrived)), ("rejected", len(rejected))):
        beam.metrics.Metrics.counter("upstream", name).inc(count)


def run(mode: str, workers: int, bundles: list[int]) -> dict[str, int]:
    """What arrives of bundles of so many elements."""
    options = PipelineOptions(runner="FnApiRunner", direct_running_mode=mode, direct_num_workers=workers)
    pipeline = beam.Pipeline(options=options)
    start = pipeline | "Sizes" >> beam.Create(bundles, reshuffle=True)
    emitted = start | beam.ParDo(Emit()).with_outputs("counts", "rejected", main="main")
    total = emitted["counts"] | beam.CombineGlobally(sum)
    keys = pipeline | "Keys" >> beam.Create([(key, None) for key in range(KEYS)])
    grouped = (emitted["main"], keys) | "WithKeys" >> beam.Flatten() | beam.GroupByKey()
    counted = grouped | beam.FlatMap(sizes, pvalue.AsSingleton(total)).with_outputs("rejected", main="main")
    rejected = (emitted["rejected"], counted["rejected"]) | "Rejected" >> beam.Flatten()
    once = pipeline | "Once" >> beam.Create([None])
    _ = once | "Finish" >> beam.Map(finish, pvalue.AsList(counted["main"]), pvalue.AsList(rejected))
    result = pipeline.run()
    return {counter.key.metric.name: counter.committed for counter in result.metrics().query()["counters"]}


if __name__ == "__main__":
    for mode, workers in (("in_memory", 1), ("multi_processing", 1), ("multi_processing", 2), ("multi_processing", 3)):
        for bundles in ([40_000], [15_000] * 7):
            expected = {
                "arrived": sum(bundles),
                "keys": KEYS,
                "rejected": sum(-(-bundle // 100) for bundle in bundles) + KEYS,
            }
            found = run(mode, workers, bundles)
            megabytes = sum(bundles) * SIZE // 1_000_000
            verdict = "all arrived" if found == expected else f"LOST: {found}, not {expected}"
            print(f"{mode}, workers {workers}, bundles {len(bundles)}, {megabytes} MB: {verdict}", flush=True)
