"""Compares runs on one HTML page: scores, training curves, distributions, and photos with the captions of each run.

Prints the path of the page, OUTPUT/report.html, which needs no other file. Each figure is also a PNG beside it.
"""

import sys
from collections.abc import Sequence

from tfcaption.evaluation.results import split_name
from tfcaption.records.dataset_info import SPLITS
from tfcaption.runtime.command import add_subjects, command_parser, reports_errors, subjects
from tfcaption.runtime.extras import needs_extra
from tfcaption.runtime.paths import as_path
from tfcaption.serving.model_folder import find_run

DEFAULT_PHOTOS = 36  # a third of them fills whole rows of 1, 2, 3 and 4 cards
EXAMPLES = """examples:
  python -m tfcaption.report runs/flickr8k_frozen --images Flicker8k_Dataset/
  # two runs side by side, on the test split, with more photos
  python -m tfcaption.report runs/a runs/b --split test --photos 120 --output report/"""


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = command_parser("tfcaption.report", EXAMPLES)
    add_subjects(
        parser, "--run", metavar="RUN", several=True, help="run directories that tfcaption.evaluate has scored"
    )
    parser.add_argument(
        "--split", type=split_name, choices=SPLITS, help="default: the first of dev, test, train that all runs have"
    )
    parser.add_argument(
        "--photos", type=int, default=DEFAULT_PHOTOS, metavar="N", help="photos to show (default: %(default)s)"
    )
    parser.add_argument(
        "--output", type=as_path, metavar="DIR", help="folder to write to (default: report/ beside the first run)"
    )
    parser.add_argument(
        "--records", type=as_path, metavar="DIR", help="the records, if they moved since the training run"
    )
    parser.add_argument(
        "--images",
        type=as_path,
        metavar="DIR",
        help="folder of the photos, to show them in their own shape; records hold them as squares",
    )
    arguments = parser.parse_args(argv)
    if arguments.photos < 0:
        parser.error(f"--photos {arguments.photos}: must be 0 or more")
    if arguments.images and not arguments.images.is_dir():
        parser.error(f"--images {arguments.images}: no such folder")
    runs = [as_path(path) for path in subjects(parser, arguments)]
    for path in runs:
        find_run(path)  # a wrong path is an error before the plots are imported
    with needs_extra("report"):
        from tfcaption.reporting.report import write_report

    page = write_report(
        runs,
        photo_count=arguments.photos,
        split=arguments.split,
        output=arguments.output,
        records=arguments.records,
        images=arguments.images,
    )
    print(f"page: {page} ({page.stat().st_size / 1e6:.1f} MB), figures beside it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
