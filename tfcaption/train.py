"""Trains a captioner: records or features + config -> run directory.

Prints a line per epoch and the path of the run directory. The same command resumes from the last checkpoint, with the
losses of an uninterrupted run.
"""

import shlex
import sys
from collections.abc import Sequence

from tfcaption.config import describe_config, load_config
from tfcaption.runs.directory import open_run
from tfcaption.runtime.command import command_parser, reports_errors
from tfcaption.runtime.hosts import find_host
from tfcaption.runtime.process import start_tensorflow

EXAMPLES = """examples:
  python -m tfcaption.train --config small                     # a name that `tfcaption configs` lists, or a YAML file
  python -m tfcaption.train --config flickr8k_frozen --set run=runs/mine train.epochs=12
  python -m tfcaption.train --config flickr8k_finetuned \\
      --set data.records=/data/records data.features=/data/trunk model.weights=/data/resnet50.weights.h5
  # after it was stopped: the same command resumes from the last checkpoint
  # every field with its type, default and meaning; and those of one config, as a file to be changed
  python -m tfcaption.train --print_config
  python -m tfcaption.train --print_config --config small > my.yaml
  # on each of several machines that share the run directory, with TF_CONFIG set as TensorFlow documents it

exit code 75: stopped by SIGTERM or Ctrl-C after saving a checkpoint; the same command resumes"""


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = command_parser("tfcaption.train", EXAMPLES)
    parser.add_argument("--config", help="name of a config that `tfcaption configs` lists, or a YAML file")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override fields of the config",
    )
    parser.add_argument(
        "--print_config",
        action="store_true",
        help="print every field with its type, default and meaning, and do nothing else",
    )
    arguments = parser.parse_args(argv)
    if not arguments.config and (arguments.set or not arguments.print_config):
        parser.error("the following arguments are required: --config")
    if arguments.print_config:
        print(describe_config(load_config(arguments.config, arguments.set) if arguments.config else None), end="")
        return 0
    host = find_host()
    with open_run(load_config(arguments.config, arguments.set), host) as run:
        start_tensorflow(multi_worker=host.count > 1)
        from tfcaption.training.loop import train_run

        words = sys.argv[1:] if argv is None else argv
        path = train_run(run, host, command=shlex.join(["python", "-m", "tfcaption.train", *words]))
    print(f"run: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
