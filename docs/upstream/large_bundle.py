"""A job on Flink waits without end where a bundle gives more than about a hundred messages of 10 MB.

    JAVA_TOOL_OPTIONS=-Xmx4g python large_bundle.py JOB_SERVER.jar

Needs apache-beam, Java, and the archive of a Flink job server, inside which Flink runs.
"""

import subprocess
import sys
import time
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

PATIENCE = 120  # seconds
MEGABYTES = (500, 1_000, 1_500)
PORT = 50_321


def elements(count: int) -> Iterator[tuple[int, bytes]]:
    """So many elements of 1 MB."""
    for number in range(count):
        yield number, bytes(1 << 20)


def run(megabytes: int) -> str:
    """Run a job whose first step gives so much from one element; returns how it ended."""
    flags = ["--flink_master=[local]", f"--flink_job_server_jar={sys.argv[1]}", "--parallelism=1"]
    flags += ["--environment_type=EXTERNAL", f"--environment_config=localhost:{PORT}"]
    pipeline = beam.Pipeline(options=PipelineOptions(flags, runner="FlinkRunner", save_main_session=True))
    _ = (
        pipeline
        | beam.Create([megabytes])
        | beam.FlatMap(elements)
        | beam.GroupByKey()
        | beam.Map(lambda group: sum(map(len, group[1])))
    )
    start = time.monotonic()
    result = pipeline.run()
    result.wait_until_finish(duration=PATIENCE * 1000)
    ended = str(result.state)
    if ended != "DONE":
        result.cancel()
    return f"after {time.monotonic() - start:.0f} s {ended}"


if __name__ == "__main__":
    module = "apache_beam.runners.worker.worker_pool_main"
    pool = subprocess.Popen([sys.executable, "-m", module, f"--service_port={PORT}"], stderr=subprocess.DEVNULL)
    try:
        for megabytes in MEGABYTES:
            print(f"{megabytes:,} MB from one element: {run(megabytes)}", flush=True)
    finally:
        pool.terminate()
