"""What all Beam jobs do alike: options checked strictly, a pinned local runner, progress, errors of one line."""

import argparse
import difflib
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apache_beam as beam
import psutil
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, TestOptions
from apache_beam.runners.worker import sdk_worker_main

from tfcaption.runtime.errors import TfcaptionError, UsageError
from tfcaption.runtime.paths import is_local
from tfcaption.runtime.process import stderr_to_file
from tfcaption.runtime.progress import Progress

LOCAL_RUNNER = "FnApiRunner"
PROGRESS_FOLDER = ".progress"
# Runners and modes that lose records without an error (seen with Beam 2.77).
_LOSSY_RUNNERS = {
    "DaskRunner": "it computes only the last branch and misroutes tagged outputs",
    "BundleBasedDirectRunner": "it reads side inputs before they are complete, and so loses all records now and then",
}
_LOSSY_MODE = "multi_threading"


class JobFailed(TfcaptionError, RuntimeError):
    """A job that ran and must not be trusted; the message is for the user."""


def beam_options(flags: Sequence[str], *, output: str, local_mode: str = "multi_processing") -> PipelineOptions:
    """Beam's options from the flags that the job itself does not know, for a job that writes to `output`.

    Without `--runner` the job runs on this machine's cores with the pinned `FnApiRunner`: `DirectRunner` would first
    try to download another engine. `local_mode` says how: `multi_processing`, a worker process on each core, or
    `in_memory`, all in this process.

    Raises:
        ValueError: a flag that Beam does not know either (Beam itself would only warn), a runner or mode that
            loses records, or an output that the runner's workers do not share.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for options in (PipelineOptions, *_subclasses(PipelineOptions)):
        if "_add_argparse_args" in vars(options):
            options._add_argparse_args(parser)
    known, unknown = parser.parse_known_args(list(flags))
    if unknown:
        names = [name for action in parser._actions for name in action.option_strings]
        close = difflib.get_close_matches(unknown[0].partition("=")[0], names, n=1)
        hint = f"; did you mean {close[0]}?" if close else "; see --help"
        raise UsageError(f"unknown option {unknown[0]}{hint}")
    runner = known.runner or LOCAL_RUNNER
    runner_name = runner.rpartition(".")[2].lower()
    for name, why in _LOSSY_RUNNERS.items():
        if runner_name == name.lower():
            raise UsageError(f"--runner={runner} is refused: {why}; leave --runner out to run locally")
    if runner_name == "dataflowrunner" and is_local(output) and not known.dry_run:
        raise UsageError(
            f"--output {output}: a path of this machine, where Dataflow's workers cannot write; name one in gs://"
        )
    if known.direct_running_mode == _LOSSY_MODE:
        raise UsageError(
            f"--direct_running_mode={_LOSSY_MODE} is refused: it loses records without an error (Beam 2.77); "
            "leave it out to use all cores with multi_processing"
        )
    defaults: dict[str, Any] = {}
    in_flags = {flag.partition("=")[0] for flag in flags}
    if not in_flags & {"--save_main_session", "--no_save_main_session"}:
        defaults["save_main_session"] = False  # all that workers need is in the package
    if runner == LOCAL_RUNNER:
        if "--direct_running_mode" not in in_flags:
            defaults["direct_running_mode"] = local_mode
        if "--direct_num_workers" not in in_flags:
            defaults["direct_num_workers"] = 0 if local_mode == "multi_processing" else 1  # 0: all cores
    options = PipelineOptions([*flags], runner=runner, **defaults)
    FileSystems.set_options(options)  # the job reads its input before there is a pipeline
    return options


def _subclasses(cls: Any) -> list[Any]:
    return [found for child in cls.__subclasses__() for found in (child, *_subclasses(child))]


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
        watcher = threading.Thread(target=_watch, args=(folder, total, unit, label, stop), daemon=True)
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


def remove_progress(output: str) -> None:
    """Remove the workers' progress files of a run, finished or killed."""
    if is_local(output):
        shutil.rmtree(Path(output) / PROGRESS_FOLDER, ignore_errors=True)


def _watch(folder: Path, total: int, unit: str, label: str, stop: threading.Event) -> None:
    with Progress(total, unit=unit, label=label) as progress:
        while not stop.wait(0.5):
            progress.update(_done(folder))
        progress.update(_done(folder))


def _done(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


class ProgressCounter:
    """Counts what one worker has done by appending a byte to a file of its own; free, and needs no connection.

    Args:
        output: the job's output folder; on another filesystem nothing is counted.
        name: unique per bundle, e.g. the shard's name.
    """

    def __init__(self, output: str, name: str) -> None:
        folder = Path(output) / PROGRESS_FOLDER
        # Started afresh, so that a bundle that is tried again is not counted twice.
        self._stream = (folder / name).open("wb", buffering=0) if folder.is_dir() else None

    def add(self, done: int = 1) -> None:
        """So many more are done."""
        if self._stream:
            self._stream.write(b"." * done)

    def close(self) -> None:
        """Close the file; the count stays."""
        if self._stream:
            self._stream.close()
