"""What FnApiRunner costs by itself: the plain loop of `tfcaption benchmark records` as a pipeline of two steps.

    python bare_pipeline.py PHOTOS OUTPUT WORKERS [IMAGE_SIZE]

Needs apache-beam and tfcaption. Each shard of photos is one element, and its worker reads, resizes and writes them as
the plain loop does. There are no captions, side inputs or joins. Prints the seconds, start-up included.
"""

import sys
import time

START = time.perf_counter()

from pathlib import Path  # noqa: E402

import apache_beam as beam  # noqa: E402
from apache_beam.options.pipeline_options import PipelineOptions  # noqa: E402

from tfcaption.benchmarks.plain_loops import shards_of, write_shard  # noqa: E402


def main(photos: str, output: str, workers: str, image_size: str = "224") -> None:
    """The command above."""
    paths = sorted(str(path) for path in Path(photos).iterdir())
    shards = shards_of(paths, output=output, processes=int(workers), image_size=int(image_size))
    mode = "in_memory" if workers == "1" else "multi_processing"
    options = PipelineOptions([], runner="FnApiRunner", direct_running_mode=mode, direct_num_workers=int(workers))
    with beam.Pipeline(options=options) as pipeline:
        _ = pipeline | beam.Create(shards, reshuffle=True) | "Write" >> beam.Map(write_shard)
    seconds = time.perf_counter() - START
    print(f"{seconds:.1f} s, {len(paths) / seconds:,.0f} photos/s")


if __name__ == "__main__":
    main(*sys.argv[1:])
