"""Records -> features: every photo through the image encoder once, a feature shard of each view for a record shard.

Prints a summary and the path of the features. The pipeline is in `pipelines/features.py`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from beam_jobs.execution.command import features_summary, import_beam, run_job
from tfcaption.backbones.errors import EncoderError
from tfcaption.backbones.families import INPUTS, is_file
from tfcaption.backbones.settings import EncoderSettings
from tfcaption.config import DEFAULT_ENCODER
from tfcaption.records.dataset_info import DatasetInfo, FeaturesInfo, load_dataset_info
from tfcaption.records.examples import Stage
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

  # all three stages in one pass, into features/trunk, features/map and features/pooled
  python -m beam_jobs.extract_features --records records/ --output features --stage trunk map pooled --weights imagenet

  # regions of an EfficientNetV2, and of two encoders together
  python -m beam_jobs.extract_features --records records/ --output features/map --stage map \\
      --encoder efficientnetv2b0 --weights imagenet
  python -m beam_jobs.extract_features --records records/ --output features/both --stage map \\
      --encoder resnet50 efficientnet_lite2.keras --weights imagenet

  # with the encoder that a run has fine-tuned
  python -m beam_jobs.extract_features --records records/ --output features/tuned --stage map --run runs/finetuned

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
        usage="--records DIR --output DIR --stage STAGE [--encoder ENCODER] [options] [Beam options]",
    )
    parser.add_argument("--records", required=True, help="folder that build_records wrote")
    parser.add_argument("--output", required=True, help="folder for the features")
    parser.add_argument(
        "--stage",
        required=True,
        nargs="+",
        choices=["pooled", "map", "trunk"],
        help="trunk: the layer that fine-tuning starts from (conv5_block1_out of resnet50); map: the last map of "
        "regions (conv5_block3_out); pooled: the mean of the map. Several are made in one pass, each in a folder of "
        "its name below --output",
    )
    parser.add_argument(
        "--encoder",
        nargs="+",
        metavar="ENCODER",
        help="a name that `tfcaption encoders` lists, a .keras file or a SavedModel folder; several are joined by "
        "region (default: resnet50)",
    )
    parser.add_argument(
        "--encoder_input",
        choices=INPUTS,
        help="the pixels that the encoder takes: as Keras' preprocess_input of mode caffe, tf or torch gives them, RGB "
        "from 0 to 255, or that, normalized inside (default: of the name; of a file that begins so, inside)",
    )
    parser.add_argument(
        "--finetune_from",
        metavar="LAYER",
        help="of stage trunk: the layer to store (default: that of the encoder, as `tfcaption encoders` lists it)",
    )
    parser.add_argument(
        "--run", metavar="RUN", help="take the encoder of this run, fine-tuned if it did that, instead of --encoder"
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
    parser.add_argument(
        "--weights", help="of a named encoder: imagenet (the default, downloaded by Keras), a file, or random"
    )
    parser.add_argument(
        "--precision",
        choices=["auto", "float32", "bfloat16"],
        default="auto",
        help="of the encoder's arithmetic; auto: bfloat16 for resnet50, whose features it changes by 1%%, where the "
        "processor multiplies it faster, otherwise float32",
    )
    parser.add_argument("--batch_size", type=int, default=64, help="photos per call (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace complete features")
    arguments, flags = parser.parse_known_args(argv)
    if arguments.batch_size < 1:
        parser.error("--batch_size must be at least 1")
    if arguments.views < 1:
        parser.error("--views must be at least 1")
    if arguments.features and arguments.views > 1:
        parser.error("--views cannot be used with --features, which have views of their own")
    if arguments.run and (arguments.encoder or arguments.weights or arguments.encoder_input):
        parser.error("--run has an encoder and weights of its own: leave --encoder, --weights and --encoder_input out")
    arguments.encoder = arguments.encoder or [DEFAULT_ENCODER]
    if not arguments.run and not arguments.weights and not all(map(is_file, arguments.encoder)):
        arguments.weights = "imagenet"
    return arguments, flags


def extract_features(arguments: argparse.Namespace, flags: Sequence[str]) -> list[FeaturesInfo] | None:
    """Run the job to its end.

    Args:
        arguments: see `parse_arguments`.
        flags: Beam's options.

    Returns:
        The description of the features of each stage, as written; None for a dry run or a template.

    Raises:
        UsageError, RecordError, EncoderError: input or options that no job can start from.
        JobFailed: a record is damaged, or records were lost.
    """
    encoder = EncoderSettings(
        tuple(arguments.encoder), arguments.weights, arguments.encoder_input, arguments.finetune_from
    )
    if is_local(arguments.records):
        info = load_dataset_info(Path(arguments.records))
        if not arguments.run:
            _check(encoder, info)
    import_beam()
    from beam_jobs.execution.options import beam_options
    from beam_jobs.pipelines import features

    # One process with all cores: TensorFlow has its own threads, and one model needs the memory of one.
    options = beam_options(flags, output=arguments.output, local_mode="in_memory")
    request = features.FeatureRequest(
        records=arguments.records,
        stages=tuple(stage for stage in get_args(Stage) if stage in arguments.stage),
        encoder=encoder,
        run=arguments.run,
        features=arguments.features,
        views=arguments.views,
        batch_size=arguments.batch_size,
        precision=arguments.precision,
    )
    return features.run(request, options, output=arguments.output, overwrite=arguments.overwrite)


def _check(encoder: EncoderSettings, info: DatasetInfo) -> None:
    """Find what is wrong with the encoder before Beam and TensorFlow start."""
    try:
        encoder.check(info.settings.image_size)
    except EncoderError as error:
        raise EncoderError(f"--{error.option} {error}") from error


def _summary(found: Sequence[FeaturesInfo], seconds: float) -> str:
    """A line on the features of each stage, for people."""
    return "\n".join(features_summary(info, seconds) for info in found)


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    arguments, flags = parse_arguments(argv)
    return run_job(extract_features, _summary, arguments, flags, noun="features")


if __name__ == "__main__":
    sys.exit(main())
