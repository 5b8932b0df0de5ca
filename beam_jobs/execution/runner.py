"""Runs a pipeline to its end, with progress, and ends it at once when a worker dies."""

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apache_beam as beam
import psutil
from apache_beam.options.pipeline_options import TestOptions
from apache_beam.runners.worker import sdk_worker_main

from beam_jobs.errors import JobFailed
from beam_jobs.execution.progress import PROGRESS_FOLDER, remove_progress, watch
from tfcaption.runtime.paths import is_local
from tfcaption.runtime.process import stderr_to_file


def run_pipeline(pipeline: beam.Pipeline, output: str, *, total: int, unit: str, label: str) -> bool:
    """Run to the end, showing progress where the workers share this machine's disk (see `ProgressCounter`).

    Returns:
        False where nothing ran: in a dry run, or where a template was made of the pipeline for others to start.

    Raises:
        JobFailed: with the one line that matters of what a worker raised.
    """
    stop = threading.Event()
    watcher = None
    if is_local(output):
        folder = Path(output) / PROGRESS_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        watcher = threading.Thread(target=watch, args=(folder, total, unit, label, stop), daemon=True)
    with stderr_to_file("tfcaption-workers-") as log:
        try:
            if watcher:
                watcher.start()
            with _dead_workers_noticed(log):
                result = pipeline.run()
                if pipeline.options.view_as(TestOptions).dry_run or not getattr(result, "has_job", True):
                    return False
                result.wait_until_finish()
                return True
        except JobFailed as error:
            raise JobFailed(str(error).partition(" [while running")[0]) from None
        except Exception as error:
            found = re.search(r"JobFailed: (.*?)(?: \[while running|\n|$)", str(error), re.S)
            if found:
                log.unlink()
                raise JobFailed(found.group(1)) from None
            print(f"the log of the workers is in {log}", file=sys.stderr)
            raise
        finally:
            stop.set()
            if watcher:
                watcher.join()
            remove_progress(output)


@contextmanager
def _dead_workers_noticed(log: Path) -> Iterator[None]:
    """Raise JobFailed as soon as a worker process ends too early; Beam waits for some of them without end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    dead: list[str] = []
    left = threading.Event()
    before = threading.excepthook, signal.getsignal(signal.SIGINT) or signal.SIG_DFL

    def notice(found: Any) -> None:
        if found.thread is None or found.thread.name != "run_worker":  # Beam's name for who waits for a worker
            before[0](found)
            return
        dead.append(str(found.exc_value))
        if len(dead) == 1:
            _kill_workers()  # Beam would wait for those that have not connected yet
            threading.Thread(target=wake, daemon=True).start()

    def wake() -> None:
        while not left.is_set():
            os.kill(os.getpid(), signal.SIGINT)  # nothing else wakes the main thread
            left.wait(1)

    def interrupt(number: int, frame: Any) -> None:
        if dead and not left.is_set():
            raise JobFailed(dead[0])
        if not dead and callable(before[1]):
            before[1](number, frame)

    threading.excepthook = notice
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception:
        left.set()
        if not dead:
            raise
        raise JobFailed(
            f"a worker process ended before its work ({dead[0]}): killed, or out of memory; run the job again, with "
            f"fewer --direct_num_workers if memory is short. The log of the workers is in {log}"
        ) from None
    finally:
        left.set()
        threading.excepthook = before[0]
        signal.signal(signal.SIGINT, before[1])


def _kill_workers() -> None:
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any(sdk_worker_main.__name__ in argument for argument in process.cmdline()):
                process.kill()
