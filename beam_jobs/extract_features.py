"""Records -> features: every photo through ResNet50 once, one feature shard for each record shard.

Prints a summary and the path of the features. The pipeline is in `pipelines/features.py`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from beam_jobs.execution.command import import_beam, run_job
from tfcaption.records.dataset_info import FeaturesInfo, load_dataset_info
from tfcaption.runtime.command import command_parser, reports_errors
from tfcaption.runtime.paths import is_local

EXAMPLES = """examples:
  # for the frozen variant: the mean of the last feature map, 4 KB per photo
  python -m beam_jobs.extract_features --records records/ --output features/pooled --stage pooled --weights imagenet

  # for the fine-tuned variant: conv5_block1_out, 200 KB per photo
  python -m beam_jobs.extract_features --records records/ --output features/trunk --stage trunk --weights resnet50.h5

  # three augmented views of each training photo; training samples one of them each epoch
  python -m beam_jobs.extract_features --records records/ --output features/trunk --stage trunk \\
      --weights resnet50.h5 --views 3

  # a later stage from stored features, at a ninth of the arithmetic
  python -m beam_jobs.extract_features --records records/ --features features/trunk --output features/map \\
      --stage map --weights resnet50.h5

Run the same command again to resume after a stop: intact shards are kept.
All other options are Apache Beam's own (--runner, --direct_num_workers, ...)."""


def parse_arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The job's own options, and the rest for Beam."""
    parser = command_parser(
        "beam_jobs.extract_features",
        EXAMPLES,
        usage="--records DIR --output DIR --stage STAGE --weights WEIGHTS [options] [Beam options]",
    )
    parser.add_argument("--records", required=True, help="folder that build_records wrote")
    parser.add_argument("--output", required=True, help="folder for the features")
    parser.add_argument(
        "--stage",
        required=True,
        choices=["pooled", "map", "trunk"],
        help="pooled: mean of conv5_block3_out; map: conv5_block3_out; trunk: conv5_block1_out",
    )
    parser.add_argument(
        "--features", metavar="DIR", help="features of an earlier stage to start from, instead of the photos"
    )
    parser.add_argument(
        "--views",
        type=int,
        default=1,
        metavar="N",
        help="augmented views of each training photo: the photo, then crops, every second one mirrored "
        "(default: %(default)s)",
    )
    parser.add_argument("--weights", required=True, help="weights of ResNet50: imagenet, a file, or random")
    parser.add_argument("--batch_size", type=int, default=64, help="photos per call (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace complete features")
    arguments, flags = parser.parse_known_args(argv)
    if arguments.batch_size < 1:
        parser.error("--batch_size must be at least 1")
    if arguments.views < 1:
        parser.error("--views must be at least 1")
    if arguments.features and arguments.views > 1:
        parser.error("--views cannot be used with --features, which have views of their own")
    return arguments, flags


def extract_features(arguments: argparse.Namespace, flags: Sequence[str]) -> FeaturesInfo | None:
    """Run the job to its end.

    Args:
        arguments: see `parse_arguments`.
        flags: Beam's options.

    Returns:
        The description of the features, as written; None for a dry run or a template.

    Raises:
        UsageError, RecordError, EncoderError: input or options that no job can start from.
        JobFailed: a record is damaged, or records were lost.
    """
    if is_local(arguments.records):
        load_dataset_info(Path(arguments.records))
    import_beam()
    from beam_jobs.execution.options import beam_options
    from beam_jobs.pipelines import features

    # One process with all cores: TensorFlow has its own threads, and one model needs the memory of one.
    options = beam_options(flags, output=arguments.output, local_mode="in_memory")
    request = features.FeatureRequest(
        records=arguments.records,
        stage=arguments.stage,
        weights=arguments.weights,
        features=arguments.features,
        views=arguments.views,
        batch_size=arguments.batch_size,
    )
    return features.run(request, options, output=arguments.output, overwrite=arguments.overwrite)


def summary(info: FeaturesInfo, seconds: float) -> str:
    """A human-readable line: photos, settings, size and speed."""
    shards = [shard for split in info.splits.values() for shard in split]
    photos, size = sum(shard.records for shard in shards), sum(shard.bytes for shard in shards)
    return (
        f"{photos:,} photos, {info.settings}, {len(shards):,} shards, {size / 1e6:,.1f} MB "
        f"in {seconds:.1f} s: {photos / max(seconds, 1e-9):,.1f} photos/s"
    )


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    arguments, flags = parse_arguments(argv)
    return run_job(extract_features, summary, arguments, flags, noun="features")


if __name__ == "__main__":
    sys.exit(main())
