"""Trains a captioner: records or features + config -> run directory.

Prints a line per epoch and the path of the run directory. The same command again goes on where the last checkpoint was
made; later losses are those of an undisturbed run.
"""

import json
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from tfcaption import config as configs
from tfcaption.config import Config
from tfcaption.runs.directory import create_run
from tfcaption.runtime.command import command_parser
from tfcaption.runtime.folder_lock import locked
from tfcaption.runtime.process import start_tensorflow, stop_signals
from tfcaption.training_run import Preempted, TrainingFailed, TrainingRun

EXAMPLES = """examples:
  python -m tfcaption.train --config configs/flickr8k_frozen.yaml
  python -m tfcaption.train --config configs/flickr8k_finetuned.yaml \\
      --set data.records=/data/records data.features=/data/trunk model.weights=/data/resnet50.weights.h5
  # again, after it was stopped: goes on from the last checkpoint
  python -m tfcaption.train --config configs/flickr8k_frozen.yaml
  # on each of several machines that share the run directory: with TF_CONFIG set as TensorFlow describes

exit code 75: stopped by SIGTERM or Ctrl-C after saving a checkpoint; the same command goes on"""

EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: try again later


def train(config: Config) -> Path:
    """Train to the end, or from the last checkpoint on.

    Args:
        config: the run.

    Returns:
        The run directory.

    Raises:
        ValueError: (ConfigError, RunError, RecordError, GloveError, EncoderError) what cannot be trained, before
            any long work; (FolderInUse) another process trains this run.
        OSError: the run directory cannot be written into.
        TrainingFailed: the loss is no longer a number.
        Preempted: by SIGTERM or Ctrl-C, after a checkpoint was saved.
    """
    host, hosts = _place_among_hosts()
    with locked(config.run) if host == 0 else nullcontext():
        run = create_run(config, writes=host == 0)
        start_tensorflow(multi_worker=hosts > 1)
        with stop_signals() as stop:
            return TrainingRun(run, host, hosts, stop).run_to_end()


def _place_among_hosts() -> tuple[int, int]:
    """This host's number and how many there are, from TF_CONFIG; the first one is the chief."""
    described = json.loads(os.environ.get("TF_CONFIG") or "{}")
    workers = described.get("cluster", {}).get("worker", [])
    if "chief" in described.get("cluster", {}):
        raise configs.ConfigError("TF_CONFIG: name all hosts as worker; worker 0 is the chief")
    return (described["task"]["index"], len(workers)) if len(workers) > 1 else (0, 1)


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = command_parser("tfcaption.train", EXAMPLES)
    parser.add_argument("--config", required=True, help="YAML file; see configs/")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override fields of the config",
    )
    arguments = parser.parse_args(argv)
    try:
        path = train(configs.load_config(arguments.config, arguments.set))
    except (ValueError, OSError, TrainingFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Preempted as stopped:
        print(f"{stopped}; the same command goes on", file=sys.stderr)
        return EXIT_PREEMPTED
    print(f"run: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
