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


def test_a_single_local_worker_needs_no_process_of_its_own():
    one = beam_options(["--direct_num_workers=1"], output="out").get_all_options()
    assert (one["direct_running_mode"], one["direct_num_workers"]) == ("in_memory", 1)
    flags = ["--direct_num_workers=1", "--direct_running_mode=multi_processing"]
    assert beam_options(flags, output="out").get_all_options()["direct_running_mode"] == "multi_processing"
    assert beam_options(["--direct_num_workers=2"], output="out").get_all_options()["direct_running_mode"] == (
        "multi_processing"
    )


def test_a_worker_of_an_engine_waits_for_another_step_unless_told_otherwise():
    flags = ["--runner=FlinkRunner"]
    assert beam_options(flags, output="out").get_all_options()["environment_cache_millis"] == 30_000
    given = beam_options([*flags, "--environment_cache_millis=5"], output="out").get_all_options()
    assert int(given["environment_cache_millis"]) == 5
