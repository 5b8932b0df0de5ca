"""Processes of jobs spend little on collections of garbage, keep no freed memory, and end quickly."""

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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_process_that_returns_freed_memory_keeps_no_large_blocks():
    code = """
from pathlib import Path
from beam_jobs.execution import worker
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20  # MB
worker.return_freed_memory()
block = b"x" * (20 << 20)
del block  # now glibc would take smaller blocks from the heap
before = resident()
blocks = [(b"x" * (10 << 20), b"x" * 100_000) for _ in range(20)]
kept = [small for _, small in blocks]
held = resident() - before
del blocks
print(held, resident() - before)
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    held, left = map(int, ran.stdout.split())
    assert held > 190 and left < 20
