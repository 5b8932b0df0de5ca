"""Trains a captioner: records or features + config -> run directory.

Prints a line per epoch and the path of the run directory. The same command resumes from the last checkpoint, with the
losses of an uninterrupted run.
"""

import sys
from collections.abc import Sequence

from tfcaption.config import load_config
from tfcaption.runs.directory import open_run
from tfcaption.runtime.command import command_parser, reports_errors
from tfcaption.runtime.hosts import find_host
from tfcaption.runtime.process import start_tensorflow

EXAMPLES = """examples:
  python -m tfcaption.train --config configs/flickr8k_frozen.yaml
  python -m tfcaption.train --config configs/flickr8k_finetuned.yaml \\
      --set data.records=/data/records data.features=/data/trunk model.weights=/data/resnet50.weights.h5
  # after it was stopped: resumes from the last checkpoint
  python -m tfcaption.train --config configs/flickr8k_frozen.yaml
  # on each of several machines that share the run directory, with TF_CONFIG set as TensorFlow documents it

exit code 75: stopped by SIGTERM or Ctrl-C after saving a checkpoint; the same command resumes"""


@reports_errors
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
    host = find_host()
    with open_run(load_config(arguments.config, arguments.set), host) as run:
        start_tensorflow(multi_worker=host.count > 1)
        from tfcaption.training.loop import train_run

        path = train_run(run, host)
    print(f"run: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
