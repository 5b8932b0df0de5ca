"""Beam's options: unknown ones are errors, the local runner is pinned, runners that lose records are refused."""

import argparse
import difflib
from collections.abc import Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.paths import is_local

LOCAL_RUNNER = "FnApiRunner"
# Runners and modes that lose records without an error (seen with Beam 2.77).
_LOSSY_RUNNERS = {
    "DaskRunner": "it computes only the last branch and misroutes tagged outputs",
    "BundleBasedDirectRunner": "it reads side inputs before they are complete, and so loses all records now and then",
}
_LOSSY_MODE = "multi_threading"
# Seconds that a worker process of Flink or Spark waits for another step, which would start a new one otherwise.
_WORKER_WAITS = 30


def beam_options(flags: Sequence[str], *, output: str, local_mode: str = "multi_processing") -> PipelineOptions:
    """Beam's options, for a job that writes to `output`.

    Without `--runner` the job runs on this machine's cores with the pinned `FnApiRunner`: `DirectRunner` would first
    try to download another engine.

    Args:
        flags: those that the job itself does not know.
        output: the job's output folder.
        local_mode: how the local runner works: `multi_processing`, a worker process on each core, or `in_memory`, all
            in this process, as it does where one worker is asked for.

    Raises:
        UsageError: a flag that Beam does not know either (Beam itself would only warn), a runner or mode that loses
            records, or an output that the runner's workers do not share.
    """
    known = _parse(flags)
    runner = known.runner or LOCAL_RUNNER
    _check_runner(runner, known, output)
    defaults: dict[str, Any] = {}
    given = {flag.partition("=")[0] for flag in flags}
    if not given & {"--save_main_session", "--no_save_main_session"}:
        defaults["save_main_session"] = False  # workers find all they need in the package
    if runner == LOCAL_RUNNER:
        workers_given = "--direct_num_workers" in given
        if "--direct_running_mode" not in given:
            alone = workers_given and known.direct_num_workers == 1  # a worker process would take a second to start
            defaults["direct_running_mode"] = "in_memory" if alone else local_mode
        if not workers_given:
            defaults["direct_num_workers"] = 0 if local_mode == "multi_processing" else 1  # 0: all cores
    elif "--environment_cache_millis" not in given:
        defaults["environment_cache_millis"] = _WORKER_WAITS * 1000
    options = PipelineOptions([*flags], runner=runner, **defaults)
    FileSystems.set_options(options)  # the job reads its input before there is a pipeline
    return options


def _parse(flags: Sequence[str]) -> argparse.Namespace:
    """The values of all flags that Beam knows; an unknown flag is an error that suggests a similar one."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for options in (PipelineOptions, *_subclasses(PipelineOptions)):
        if "_add_argparse_args" in vars(options):
            options._add_argparse_args(parser)
    known, unknown = parser.parse_known_args(list(flags))
    if unknown:
        names = [name for action in parser._actions for name in action.option_strings]
        similar = difflib.get_close_matches(unknown[0].partition("=")[0], names, n=1)
        hint = f"did you mean {similar[0]}?" if similar else "see --help"
        raise UsageError(f"unknown option {unknown[0]}; {hint}")
    return known


def _check_runner(runner: str, known: argparse.Namespace, output: str) -> None:
    runner_class = runner.rpartition(".")[2].lower()
    for name, reason in _LOSSY_RUNNERS.items():
        if runner_class == name.lower():
            raise UsageError(f"--runner={runner} is refused: {reason}; leave --runner out to run locally")
    if runner_class == "dataflowrunner" and is_local(output) and not known.dry_run:
        raise UsageError(
            f"--output {output}: a path of this machine, where Dataflow's workers cannot write; name one in gs://"
        )
    if known.direct_running_mode == _LOSSY_MODE:
        raise UsageError(
            f"--direct_running_mode={_LOSSY_MODE} is refused: it loses records without an error (Beam 2.77); "
            "leave it out to use all cores with multi_processing"
        )


def _subclasses(parent: type[Any]) -> list[type[Any]]:
    return [found for child in parent.__subclasses__() for found in (child, *_subclasses(child))]
