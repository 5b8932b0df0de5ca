"""What failed first, out of the messages that engines gave for jobs that were made to fail."""

import grpc
import pytest

from beam_jobs.execution.engine_failure import first_cause

WORKER_RAISED = """Pipeline a_b failed in state FAILED: bundle inst002 failed:Traceback (most recent call last):
  File "/work/pipeline.py", line 10, in process
    try: {}["k"]
KeyError: 'k'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1512, in apache_beam.runners.common.DoFnRunner.process
  File "/work/pipeline.py", line 11, in process
    except KeyError as e: raise ValueError(f"bad photo {x}") from e
ValueError: bad photo 1 [while running 'Break-ptransform-31']

\tat org.apache.beam.runners.fnexecution.control.FnApiControlClient.onNext(FnApiControlClient.java:163)
Caused by: java.lang.RuntimeError: Error received from SDK harness
"""
JAVA = """Pipeline job-1_2 failed in state FAILED: org.apache.flink.util.FlinkException: it failed
\tat org.apache.flink.Some.method(Some.java:1)
Caused by: java.io.IOException: no answer
\t... 9 more
Caused by: java.net.ConnectException: Connection refused
"""
PANIC = """WARNING:apache_beam.utils.subprocess_server:Really starting service at localhost:59343
INFO:PrismJobServer:panic: unable to start sdk worker localhost:50999 error: connection refused
INFO:PrismJobServer:goroutine 42 [running]:
"""


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (WORKER_RAISED, "ValueError: bad photo 1 [while running 'Break']"),
        (JAVA, "java.net.ConnectException: Connection refused"),
        (
            "Pipeline a_b failed in state FAILED: o.a.f.JobMasterException: TaskManager with id 7 is not reachable.",
            "o.a.f.JobMasterException: TaskManager with id 7 is not reachable",
        ),
        ("Pipeline a_b failed in state CANCELLED: unknown error", "it was cancelled"),
        (
            "Pipeline a_b failed in state FAILED: o.a.b.StatusRuntimeException: CANCELLED: client cancelled",
            "a worker process ended before its work, killed or out of memory (CANCELLED: client cancelled)",
        ),
    ],
    ids=["worker", "java", "task_manager", "cancelled", "killed"],
)
def test_the_first_cause_is_one_line_of_the_trace(message, cause, tmp_path):
    assert first_cause(RuntimeError(message), tmp_path / "unread") == cause


class Reset(grpc.RpcError, grpc.Call):
    def details(self):
        return "Stream removed"

    add_callback = cancel = code = initial_metadata = is_active = time_remaining = trailing_metadata = None


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (PANIC, "panic: unable to start sdk worker localhost:50999 error: connection refused"),
        ("nothing that helps\n", "Stream removed"),
    ],
)
def test_the_log_of_a_job_server_that_ended_says_why(log, cause, tmp_path):
    (tmp_path / "log").write_text(log)
    assert first_cause(Reset(), tmp_path / "log") == f"the job server ended: {cause}"
