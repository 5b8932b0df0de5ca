"""Processes of jobs spend little on collections of garbage, and end quickly."""

import gc
import subprocess
import sys
import weakref

import pytest

from beam_jobs.execution import worker


@pytest.mark.parametrize(("call", "said"), [("", "collected"), ("worker.collect_less()", "")])
def test_a_process_that_collects_less_collects_no_garbage_at_its_end(call, said):
    code = f"""
import gc
from beam_jobs.execution import worker
gc.disable()
class Garbage:
    def __del__(self):
        print("collected")
garbage = Garbage()
garbage.itself = garbage
del garbage
{call}
"""
    assert (
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == said
    )


class Cycle:
    def __init__(self):
        self.itself = self


def collected_by_itself():
    """Whether garbage with a cycle goes when many objects are made."""
    gone = weakref.ref(Cycle())
    kept = [[] for _ in range(2 * gc.get_threshold()[0])]
    return bool(kept) and gone() is None


@worker.without_collections
def looks():
    yield collected_by_itself()
    yield collected_by_itself()


def test_no_garbage_is_collected_during_a_generator_without_collections_and_again_after_it():
    gc.enable()
    assert [*looks()] == [False, False] and collected_by_itself()
    for unfinished in (looks(), looks()):
        next(unfinished)
    unfinished.close()
    assert collected_by_itself()
