"""Beam's options: the local runner is pinned."""

from beam_jobs.execution.options import beam_options


def test_local_runs_use_all_cores_of_a_runner_that_downloads_nothing():
    given = beam_options([], output="out").get_all_options()
    assert (given["runner"], given["direct_running_mode"], given["direct_num_workers"]) == (
        "FnApiRunner",
        "multi_processing",
        0,
    )
    assert beam_options(["--direct_num_workers", "3"], output="out").get_all_options()["direct_num_workers"] == 3
