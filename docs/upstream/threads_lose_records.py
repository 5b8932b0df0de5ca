"""FnApiRunner in `multi_threading` loses elements, without an error.

    python threads_lose_records.py

Needs only apache-beam. A DoFn that releases Python's lock (hashing does) emits elements into a GroupByKey. A thread of
`TimeBasedBufferingClosableOutputStream` (data_plane.py) sends what a worker has buffered once a second:
`flush_callback(self.get())`, then `_clear()`. What the DoFn's thread writes between the two is dropped.
"""

import hashlib
import sys
import time

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

ELEMENTS, SIZE, SECONDS = 2_000, 20_000, 4.0
DATA = bytes(1 << 16)


def slow(number: int) -> tuple[int, bytes]:
    """A keyed element, after some work outside Python's lock."""
    end = time.perf_counter() + SECONDS / ELEMENTS
    while time.perf_counter() < end:
        hashlib.sha256(DATA).digest()
    return number % 8, bytes(SIZE)


def arrived(mode: str) -> int:
    """How many elements of `ELEMENTS` arrive behind the GroupByKey."""
    options = PipelineOptions(runner="FnApiRunner", direct_running_mode=mode, direct_num_workers=2)
    pipeline = beam.Pipeline(options=options)
    counter = beam.metrics.Metrics.counter("upstream", "arrived")
    _ = (
        pipeline
        | beam.Create(range(ELEMENTS), reshuffle=True)
        | "Slow" >> beam.Map(slow)
        | beam.GroupByKey()
        | "Count" >> beam.Map(lambda group: counter.inc(len(list(group[1]))))
    )
    result = pipeline.run()
    result.wait_until_finish()
    (found,) = result.metrics().query()["counters"]
    return found.committed


if __name__ == "__main__":
    sys.setswitchinterval(1e-5)  # threads take turns more often, so that fewer trials are needed
    for mode in ("in_memory", "multi_threading"):
        for trial in range(3):
            print(f"{mode}, trial {trial}: {arrived(mode):,} of {ELEMENTS:,} elements arrived", flush=True)
