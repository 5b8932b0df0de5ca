"""Runs a pipeline to its end with progress, and stops at once when a worker process dies."""

import logging
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Unpack

import apache_beam as beam
import grpc
import psutil
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import TestOptions
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.worker import sdk_worker_main

from beam_jobs.errors import JobFailed, SourceError
from beam_jobs.execution.engine_failure import first_cause
from beam_jobs.execution.output_folder import remove_rejection_files
from beam_jobs.execution.progress import KEPT_SHARDS, ShownProgress, progress_shown
from tfcaption.records.tfrecord import RecordError
from tfcaption.runtime.errors import FilesystemError, TfcaptionError, UsageError
from tfcaption.runtime.process import stderr_to_file

# How the program of a runner is named, which Beam downloads otherwise.
_JOB_SERVER_OPTIONS = {
    "PrismRunner": "--prism_location FILE",
    "FlinkRunner": "--flink_job_server_jar FILE",
    "SparkRunner": "--spark_job_server_jar FILE",
}
_JOB_SERVER_LOGGERS = ("FlinkJarJobServer", "SparkJarJobServer")
# Names that Beam gives: the method that starts a job server, the thread that waits for a worker process, and the one
# that reads a job's messages, whose errors the main thread has, too.
_STARTS_JOB_SERVER = "create_job_service"
_WAITING_THREAD, _READING_THREAD = "run_worker", "wait_until_finish_read"
# Errors that a step raises for the user.
_USER_ERRORS = {kind.__name__: kind for kind in (JobFailed, SourceError, RecordError, UsageError, FilesystemError)}
_USER_ERROR = re.compile(rf"\b({'|'.join(_USER_ERRORS)}): (.*?)(?: \[while running|\n|$)", re.DOTALL)


def run_pipeline(pipeline: beam.Pipeline, output: str, **shown: Unpack[ShownProgress]) -> bool:
    """Run a pipeline to its end, and say how many shards of an earlier run it kept.

    Args:
        pipeline: the pipeline with all its steps.
        output: the job's output folder; where it is local, progress is shown.
        shown: of the progress.

    Returns:
        False where nothing ran: a dry run, or a template for others to start.

    Raises:
        UsageError: the runner cannot be started, such as one that would have to be downloaded, or refuses the job.
        JobFailed: a step raised it, a worker process ended too early, or the job of an engine failed.
        TfcaptionError: others that a step raised.
    """
    try:
        return _run(pipeline, output, **shown)
    except (JobFailed, SourceError, UsageError):
        remove_rejection_files(output)
        raise


def _run(pipeline: beam.Pipeline, output: str, **shown: Unpack[ShownProgress]) -> bool:
    with stderr_to_file("tfcaption-workers-") as log:
        try:
            with progress_shown(output, **shown), _worker_deaths_raised(log), _job_server_logged():
                result = _started(pipeline)
                if pipeline.options.view_as(TestOptions).dry_run or not getattr(result, "has_job", True):
                    return False
                result.wait_until_finish()
                _say_kept_shards(result)
                return True
        except TfcaptionError as error:
            if isinstance(error, UsageError):
                log.unlink()
            raise type(error)(str(error).partition(" [while running")[0]) from None
        except Exception as error:
            # A worker's exception comes as text, with its traceback.
            if failure := _USER_ERROR.search(str(error)):
                log.unlink()
                raise _USER_ERRORS[failure[1]](failure[2]) from None
            if isinstance(pipeline.runner, PortableRunner):
                cause = first_cause(error, log)
                with log.open("a", encoding="utf-8") as file:
                    traceback.print_exception(error, file=file)
                raise JobFailed(
                    f"{_named(pipeline)}: the job failed: {cause}; run it again once that is fixed. What its job "
                    f"server said is in {log}; the engine has the logs of the workers"
                ) from None
            print(f"the log of the workers is in {log}", file=sys.stderr)
            raise


def _say_kept_shards(result: Any) -> None:
    with suppress(Exception):  # a runner without counters says nothing
        found = result.metrics().query(MetricsFilter().with_name(KEPT_SHARDS.metric_name.name))["counters"]
        if kept := sum(counter.result for counter in found):
            print(f"shards of an earlier run that are kept: {kept:,}", flush=True)


def _started(pipeline: beam.Pipeline) -> Any:
    """Run a pipeline. A portable runner first gets itself a job server, and only then any step runs."""
    try:
        return pipeline.run()
    except (OSError, RuntimeError, ValueError, grpc.FutureTimeoutError, grpc.RpcError) as error:
        if not isinstance(pipeline.runner, PortableRunner):
            raise
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        if not any(step.name == _STARTS_JOB_SERVER for step in traceback.extract_tb(error.__traceback__)):
            raise UsageError(f"{_named(pipeline)}: the job is refused ({problem})") from error
        name = type(pipeline.runner).__name__
        option = _JOB_SERVER_OPTIONS.get(name, "--job_endpoint HOST:PORT of one that runs")
        raise UsageError(
            f"{_named(pipeline)}: its job server cannot be started ({problem}); name it with {option}, or leave "
            "--runner out to run on this machine"
        ) from error


def _named(pipeline: beam.Pipeline) -> str:
    return f"--runner={type(pipeline.runner).__name__}"


@contextmanager
def _job_server_logged() -> Iterator[None]:
    """Let what a job server says reach the log; Beam hands it on as messages of a level that is not shown."""
    levels = {logger: logger.level for logger in map(logging.getLogger, _JOB_SERVER_LOGGERS)}
    for logger in levels:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


@contextmanager
def _worker_deaths_raised(log: Path) -> Iterator[None]:
    """Raise JobFailed as soon as a worker process ends too early; Beam (2.77) may wait for it forever.

    Only Beam's thread that waits for the process raises, while the main thread sleeps inside Beam. So the exception
    hook of threads sends SIGINT to this process, until the signal's handler has raised in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    deaths: list[str] = []
    ended = threading.Event()
    thread_hook, interrupt_handler = threading.excepthook, signal.getsignal(signal.SIGINT) or signal.SIG_DFL

    def notice(failure: Any) -> None:
        if failure.thread is None or failure.thread.name != _WAITING_THREAD:
            if failure.thread is None or failure.thread.name != _READING_THREAD:
                thread_hook(failure)
            return
        deaths.append(str(failure.exc_value))
        if len(deaths) == 1:
            _kill_workers()  # Beam would wait for those that have not connected yet
            threading.Thread(target=wake_main_thread, daemon=True).start()

    def wake_main_thread() -> None:
        while not ended.is_set():
            os.kill(os.getpid(), signal.SIGINT)
            ended.wait(1)

    def interrupt(number: int, frame: Any) -> None:
        if deaths and not ended.is_set():
            raise JobFailed(deaths[0])
        if not deaths and callable(interrupt_handler):
            interrupt_handler(number, frame)

    threading.excepthook = notice
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception:
        ended.set()
        if not deaths:
            raise
        raise JobFailed(
            f"a worker process ended before its work ({deaths[0]}): killed, or out of memory; run the job again, with "
            f"fewer --direct_num_workers if memory is short. The log of the workers is in {log}"
        ) from None
    finally:
        ended.set()
        threading.excepthook = thread_hook
        signal.signal(signal.SIGINT, interrupt_handler)


def _kill_workers() -> None:
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any(sdk_worker_main.__name__ in argument for argument in process.cmdline()):
                process.kill()
