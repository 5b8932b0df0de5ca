"""What each process of a job does once, so that it ends when it should."""

import atexit
import gc

from tfcaption.runtime.folder_lock import end_with_holder


def start_worker(output: str) -> None:
    """Make a worker process end with the job that writes to `output`, or it would write into the next job's output."""
    end_with_holder(output)
    end_quickly()


def end_quickly() -> None:
    """Let this process end without a last collection of garbage: a second of CPU where TensorFlow was imported."""
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
