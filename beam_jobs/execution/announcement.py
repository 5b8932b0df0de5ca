"""Lines for the user that a worker of a job finds out, shown by the process that started it."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from beam_jobs.execution.output_folder import PLAN_FILE, remove_file
from beam_jobs.execution.reading import read_if_exists
from beam_jobs.execution.shard_writer import write_text


def announce(output: str, lines: Sequence[str]) -> None:
    """Leave lines in the output folder of a job, from a worker.

    Raises:
        JobFailed: they cannot be written.
    """
    write_text(output, PLAN_FILE, json.dumps(lines))


@contextmanager
def announced(output: str) -> Iterator[Callable[[], None]]:
    """Within the block, the result prints the lines once, as soon as there are some; the end of the block does, too.

    Args:
        output: the job's output folder.
    """
    remove_file(output, PLAN_FILE)
    shown = False

    def show() -> None:
        nonlocal shown
        if not shown and (content := read_if_exists(output, PLAN_FILE)):
            shown = True
            print("\n".join(json.loads(content)), flush=True)

    try:
        yield show
    finally:
        show()
        with suppress(OSError):  # what stopped the job may be that nothing can be written
            remove_file(output, PLAN_FILE)
