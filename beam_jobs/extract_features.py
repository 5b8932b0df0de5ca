"""records/ -> features/: every photo through ResNet50 once, one record shard in, one feature shard out.

Prints a summary and the path of the features. The pipeline itself is in `pipelines/features.py`.
"""

import argparse
import sys
from collections.abc import Sequence

from beam_jobs.execution.command import run_job
from tfcaption.records.dataset_info import (
    FEATURES_FILE,
    PARTIAL_FEATURES_FILE,
    FeaturesInfo,
    load_dataset_info,
    load_features_info,
)
from tfcaption.records.vocabulary import load_vocabulary
from tfcaption.runtime.command import command_parser

EXAMPLES = """examples:
  # for the frozen variant: the mean of the last map, 4 KB a photo
  python -m beam_jobs.extract_features --records records/ --output features/pooled --stage pooled --weights imagenet

  # for the fine-tuned variant: conv5_block1_out, 200 KB a photo
  python -m beam_jobs.extract_features --records records/ --output features/trunk --stage trunk --weights resnet50.h5

  # three views of each training photo, of which a training draws one each epoch
  python -m beam_jobs.extract_features --records records/ --output features/trunk --stage trunk \\
      --weights resnet50.h5 --views 3

  # later stages from there, at a ninth of the arithmetic
  python -m beam_jobs.extract_features --records records/ --features features/trunk --output features/map \\
      --stage map --weights resnet50.h5

Run again after a stop, it goes on with the shards that are missing.
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
        "--features", metavar="DIR", help="features of an earlier stage to go on from, instead of the photos"
    )
    parser.add_argument(
        "--views",
        type=int,
        default=1,
        metavar="N",
        help="of each training photo: itself, then crops, every other one mirrored (default: %(default)s)",
    )
    parser.add_argument("--weights", required=True, help="of ResNet50: imagenet, a file, or random")
    parser.add_argument("--batch_size", type=int, default=64, help="photos a call (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="extract again what is complete already")
    arguments, flags = parser.parse_known_args(argv)
    if arguments.batch_size < 1:
        parser.error("--batch_size must be at least 1")
    if arguments.views < 1:
        parser.error("--views must be at least 1")
    if arguments.features and arguments.views > 1:
        parser.error("--views is for photos; features have as many as those that they are made of")
    return arguments, flags


def extract_features(arguments: argparse.Namespace, flags: Sequence[str]) -> FeaturesInfo | None:
    """Run the job to its end.

    Args:
        arguments: as `parse_arguments` gives them.
        flags: Beam's options.

    Returns:
        The description of the features, as written; None for a dry run or a template.

    Raises:
        ValueError: (RecordError, EncoderError) input or options that no job can start from.
        JobFailed: a record is damaged, or records were lost.
    """
    import apache_beam as beam
    from apache_beam.utils.shared import Shared

    from beam_jobs.execution import output_folder, paths
    from beam_jobs.execution.options import beam_options
    from beam_jobs.execution.runner import run_pipeline
    from beam_jobs.execution.shard_writer import write_text
    from beam_jobs.pipelines.feature_extractor import FeatureExtractor
    from beam_jobs.pipelines.features import add_steps, check_source, settings_of, settings_there

    # One process with all cores: TensorFlow has threads of its own, and one model takes the memory of one.
    options = beam_options(flags, output=arguments.output, local_mode="in_memory")
    info = load_dataset_info(paths.as_path(arguments.records))
    source = load_features_info(paths.as_path(arguments.features)) if arguments.features else None
    made = {
        "stage": arguments.stage,
        "batch_size": arguments.batch_size,
        "made_from": source.settings.stage if source else "photo",
    }
    shared = Shared()
    extractor = shared.acquire(
        lambda: FeatureExtractor(image_size=info.settings.image_size, weights=arguments.weights, **made)
    )
    settings = settings_of(
        extractor,
        info,
        views=source.settings.views if source else arguments.views,
        sides=source.settings.sides if source else _sides(arguments),
        **made,
    )
    if source:
        check_source(arguments.features, source.settings, extractor, settings)
    # Shards that an earlier run with the same settings left are kept, whether it came to its end or not.
    go_on = settings_there(arguments.output) == settings and not arguments.overwrite
    output_folder.check_writable(arguments.output, overwrite=arguments.overwrite or go_on, description=FEATURES_FILE)
    (output_folder.remove_partial_files if go_on else output_folder.remove_previous)(
        arguments.output, description=FEATURES_FILE
    )
    write_text(arguments.output, PARTIAL_FEATURES_FILE, settings.model_dump_json(indent=1) + "\n")
    pipeline = beam.Pipeline(options=options)
    add_steps(
        pipeline,
        info,
        settings,
        source=arguments.features or arguments.records,
        weights=arguments.weights,
        shared=shared,
        output=arguments.output,
    )
    photos = sum(split.photos for split in info.splits.values())
    done = run_pipeline(pipeline, arguments.output, total=photos, unit="photos", label="extracting features")
    return load_features_info(paths.as_path(arguments.output)) if done else None


def _sides(arguments: argparse.Namespace) -> list[int]:
    """The tokens that change places in mirrored views, which a single view never is."""
    from beam_jobs.execution import paths
    from tfcaption.preprocessing.augmented_views import left_right_tokens

    return left_right_tokens(load_vocabulary(paths.as_path(arguments.records))) if arguments.views > 1 else []


def summary(info: FeaturesInfo, seconds: float) -> str:
    """What was written, for people."""
    shards = [shard for split in info.splits.values() for shard in split]
    photos, size = sum(shard.records for shard in shards), sum(shard.bytes for shard in shards)
    return (
        f"{photos:,} photos, {info.settings}, {len(shards):,} shards, {size / 1e6:,.1f} MB "
        f"in {seconds:.1f} s: {photos / max(seconds, 1e-9):,.1f} photos/s"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    arguments, flags = parse_arguments(argv)
    return run_job(extract_features, summary, arguments, flags, what="features")


if __name__ == "__main__":
    sys.exit(main())
