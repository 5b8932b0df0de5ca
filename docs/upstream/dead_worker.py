"""How long a job on Flink waits for an external worker that has died.

    python dead_worker.py JOB_SERVER.jar

Needs apache-beam, Java, and the archive of a Flink job server, inside which Flink runs. The worker pool is this
process, so that a worker dies at a moment that is known.
"""

import os
import subprocess
import sys
import time
from concurrent import futures
from typing import Any

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

PATIENCE = 300  # seconds
HARNESS = "from apache_beam.runners.worker import sdk_worker; sdk_worker.SdkHarness('{url}', worker_id='{id}').run()"
DIES_AT_FIRST_INSTRUCTION = (
    "import os; from apache_beam.runners.worker import sdk_worker; "
    "sdk_worker.SdkWorker.do_instruction = lambda *_: os._exit(1); "
)
WORKERS = {  # moment of the death -> program of the worker
    "inside a bundle": HARNESS,
    "with a control connection, without a data connection": DIES_AT_FIRST_INSTRUCTION + HARNESS,
    "before it connects": "pass",
}


class Pool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """A worker pool, as `worker_pool_main` is one."""

    program = ""

    def StartWorker(self, request: Any, context: Any) -> Any:
        """Start a worker, which will die."""
        code = self.program.format(url=request.control_endpoint.url, id=request.worker_id)
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(self, request: Any, context: Any) -> Any:
        """Nothing: it has died."""
        return beam_fn_api_pb2.StopWorkerResponse()


def run(port: int) -> str:
    """Run a job whose only step ends its process; returns how it ended."""
    flags = ["--flink_master=[local]", f"--flink_job_server_jar={sys.argv[1]}", "--parallelism=1"]
    flags += ["--environment_type=EXTERNAL", f"--environment_config=localhost:{port}"]
    pipeline = beam.Pipeline(options=PipelineOptions(flags, runner="FlinkRunner", save_main_session=False))
    _ = pipeline | beam.Create([1]) | beam.Map(os._exit)
    start = time.monotonic()
    result = pipeline.run()
    try:
        result.wait_until_finish(duration=PATIENCE * 1000)
        ended = f"still {result.state}"
        result.cancel()
    except RuntimeError as error:
        ended = f"it failed: {str(error).partition(': ')[2].splitlines()[0][:100]}"
    return f"after {time.monotonic() - start:.0f} s {ended}"


if __name__ == "__main__":
    pool, server = Pool(), grpc.server(futures.ThreadPoolExecutor())
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    for moment, pool.program in WORKERS.items():
        print(f"the worker dies {moment}: {run(port)}", flush=True)
    server.stop(None)
