"""Makes a page of runs side by side: scores, curves, distributions, and photos with what each run says of them.

Prints the page it wrote, OUTPUT/report.html, which holds all it needs; beside it each figure as a PNG.
"""

import sys
from collections.abc import Sequence

from tfcaption.records.dataset_info import SPLITS
from tfcaption.runtime.command import command_parser, reports_errors

EXAMPLES = """examples:
  python -m tfcaption.report runs/flickr8k_frozen
  # two runs side by side, on the test split, with more photos
  python -m tfcaption.report runs/a runs/b --split test --photos 120 --output report/"""


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = command_parser("tfcaption.report", EXAMPLES)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories that tfcaption.evaluate has scored")
    parser.add_argument("--split", choices=SPLITS, help="default: one that all were scored on, dev first")
    parser.add_argument("--photos", type=int, default=60, metavar="N", help="photos to show (default: %(default)s)")
    parser.add_argument("--output", metavar="DIR", help="folder to write to (default: report/ beside the first run)")
    parser.add_argument("--records", help="the records, if the data moved since the training")
    arguments = parser.parse_args(argv)
    if arguments.photos < 0:
        parser.error(f"--photos {arguments.photos}: must be 0 or more")
    from tfcaption.reporting.report import write_report

    page = write_report(
        arguments.runs,
        split=arguments.split,
        photo_count=arguments.photos,
        output=arguments.output,
        records_path=arguments.records,
    )
    print(f"page: {page} ({page.stat().st_size / 1e6:.1f} MB), figures beside it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
