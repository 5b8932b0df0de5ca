"""Processes of jobs end quickly."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("call", "said"), [("", "collected"), ("worker.end_quickly()", "")])
def test_a_process_that_ends_quickly_collects_no_garbage_at_its_end(call, said):
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
