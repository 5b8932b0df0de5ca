"""The conservation check that ends every job."""

import pytest

from beam_jobs.errors import JobFailed
from beam_jobs.execution.finish import check_conservation


def test_written_and_rejected_items_must_add_up_to_the_input():
    check_conservation("photos", 5, written=3, rejected=2)
    for written in (2, 4):
        with pytest.raises(JobFailed, match=f"5 photos expected, but {written} written and 2 rejected"):
            check_conservation("photos", 5, written=written, rejected=2)
