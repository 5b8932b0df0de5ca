"""Trains one config with every combination of some fields' values, and sorts the runs by their dev CIDEr.

The same command resumes: finished runs stay, a stopped one continues from its checkpoint. Prints a table and writes it
to --output as sweep.md.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence

from tfcaption.runtime.command import command_parser, reports_errors
from tfcaption.runtime.errors import Preempted
from tfcaption.training.sweep import sweep

EXAMPLES = """examples:
  python -m tfcaption.sweep --config flickr8k_frozen --output sweeps/frozen \\
      --grid train.learning_rate=5e-4,1e-3,2e-3 model.dropout=0.3,0.5 --budget-minutes 60
  # the same command resumes after the budget ended
  # some fields set alike for all runs
  python -m tfcaption.sweep --config flickr8k_frozen --output sweeps/seeds \\
      --grid train.seed=0,1,2 --set train.epochs=5 data.features=/data/pooled"""


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = command_parser("tfcaption.sweep", EXAMPLES)
    parser.add_argument(
        "--config", required=True, help="name of a config that `tfcaption configs` lists, or a YAML file"
    )
    parser.add_argument(
        "--grid", required=True, nargs="+", metavar="KEY=VALUE,VALUE", help="fields and the values to try"
    )
    parser.add_argument("--output", required=True, help="folder for the runs")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="fields set alike for all runs")
    parser.add_argument(
        "--budget-minutes", "--budget_minutes", type=_positive, help="stop after this time (default: when all are done)"
    )
    arguments = parser.parse_args(argv)
    try:
        table = sweep(
            arguments.config,
            arguments.grid,
            arguments.output,
            overrides=arguments.set,
            budget_minutes=arguments.budget_minutes,
        )
    except KeyboardInterrupt:
        raise Preempted("stopped") from None
    print(f"\n{table}\n\nsweep: {arguments.output}")
    runs = shlex.quote(str(arguments.output))
    print(f"next, curves and captions: tfcaption.evaluate --run {runs}/RUN ..., then tfcaption.report")
    return 0


def _positive(value: str) -> float:
    number = float(value)
    if not number > 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


if __name__ == "__main__":
    sys.exit(main())
