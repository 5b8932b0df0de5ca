"""Trains a captioner: records or features + config -> run directory.

Prints a line per epoch and the path of the run directory. The same command again goes on where the last checkpoint was
made; later losses are those of an undisturbed run.
"""

import sys
from collections.abc import Sequence

from tfcaption import config as configs
from tfcaption.runtime.command import command_parser, reports_errors

EXAMPLES = """examples:
  python -m tfcaption.train --config configs/flickr8k_frozen.yaml
  python -m tfcaption.train --config configs/flickr8k_finetuned.yaml \\
      --set data.records=/data/records data.features=/data/trunk model.weights=/data/resnet50.weights.h5
  # again, after it was stopped: goes on from the last checkpoint
  python -m tfcaption.train --config configs/flickr8k_frozen.yaml
  # on each of several machines that share the run directory: with TF_CONFIG set as TensorFlow describes

exit code 75: stopped by SIGTERM or Ctrl-C after saving a checkpoint; the same command goes on"""


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
    config = configs.load_config(arguments.config, arguments.set)
    from tfcaption.training.loop import train

    path = train(config)
    print(f"run: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
