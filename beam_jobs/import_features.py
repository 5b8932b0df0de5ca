"""Features made elsewhere -> a features folder: any number of regions a photo, or one vector; one shard a record shard.

Prints a summary and the path of the features. The pipeline is in `pipelines/imported_features.py`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from beam_jobs.execution.command import features_summary, import_beam, run_job
from tfcaption.records.dataset_info import FeaturesInfo, load_dataset_info
from tfcaption.runtime.command import command_parser, reports_errors
from tfcaption.runtime.paths import is_local

EXAMPLES = """examples:
  # a folder of .npy or .npz files, named as the photos; (regions, channels), (channels) or (height, width, channels)
  python -m beam_jobs.import_features --records records/ --input detector/ --output features/regions \\
      --name "bottom-up attention, 10 to 100 boxes"

  # one of several arrays in each .npz file
  python -m beam_jobs.import_features --records records/ --input clip/ --output features/clip --key patches

  # Parquet files with a row for each photo
  python -m beam_jobs.import_features --records records/ --input features.parquet --output features/table \\
      --columns photo=image_id features=embedding

Rows of zeros at the end of a photo's regions are padding and are left out; an array num_bbox counts the others.
All other options are Apache Beam's own (--runner, --direct_num_workers, ...)."""
COLUMN_KINDS = ("photo", "features", "count", "shape")


def parse_arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The job's own options, and the rest for Beam."""
    parser = command_parser(
        "beam_jobs.import_features", EXAMPLES, usage="--records DIR --input PATH --output DIR [options] [Beam options]"
    )
    parser.add_argument("--records", required=True, help="folder that build_records wrote")
    parser.add_argument(
        "--input",
        required=True,
        metavar="PATH",
        help="folder of .npy or .npz files, one for each photo and named as it, or of .parquet files; or one of these",
    )
    parser.add_argument("--output", required=True, help="folder for the features")
    parser.add_argument(
        "--key",
        metavar="NAME",
        help="array in .npz files (default: features, x, feat or feature, or else the only array of floating point "
        "numbers)",
    )
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="KIND=NAME",
        help="columns of Parquet files, where their names are unusual: photo (name or number), features (lists of "
        "lists, or one list), count (regions of a photo) and shape (of features in one list)",
    )
    parser.add_argument("--name", default="", metavar="TEXT", help="what made the features, for reports")
    parser.add_argument("--overwrite", action="store_true", help="replace complete features")
    arguments, flags = parser.parse_known_args(argv)
    pairs = [pair.partition("=") for pair in arguments.columns]
    if any(kind not in COLUMN_KINDS or not name for kind, _, name in pairs):
        parser.error(f"--columns takes KIND=NAME, with a KIND of {', '.join(COLUMN_KINDS)}")
    arguments.columns = {kind: name for kind, _, name in pairs}
    return arguments, flags


def import_features(arguments: argparse.Namespace, flags: Sequence[str]) -> FeaturesInfo | None:
    """Run the job to its end.

    Args:
        arguments: see `parse_arguments`.
        flags: Beam's options.

    Returns:
        The description of the features, as written; None for a dry run or a template.

    Raises:
        UsageError, RecordError, SourceError: input or options that no job can start from.
        JobFailed: features cannot be used, or records were lost.
    """
    if is_local(arguments.records):
        load_dataset_info(Path(arguments.records))
    import_beam()
    from beam_jobs.execution.options import beam_options
    from beam_jobs.pipelines import imported_features
    from beam_jobs.sources.feature_files import ImportRequest
    from beam_jobs.sources.feature_tables import FeatureColumns

    options = beam_options(flags, output=arguments.output)
    request = ImportRequest(
        records=arguments.records,
        source=arguments.input,
        key=arguments.key,
        columns=FeatureColumns(**arguments.columns),
        name=arguments.name,
    )
    return imported_features.run(request, options, output=arguments.output, overwrite=arguments.overwrite)


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    arguments, flags = parse_arguments(argv)
    return run_job(import_features, features_summary, arguments, flags, noun="features")


if __name__ == "__main__":
    sys.exit(main())
