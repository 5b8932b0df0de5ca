"""Photos -> shards of captions, by a run or an export.

Prints a summary and the path of the captions. The pipeline is in `pipelines/captions.py`.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from beam_jobs.execution.command import import_beam, run_job
from tfcaption.decoding.options import add_caption_options, given_options
from tfcaption.runtime.command import command_parser, reports_errors
from tfcaption.serving.model_folder import find_model

if TYPE_CHECKING:
    from beam_jobs.pipelines.captions import CaptionsInfo

EXAMPLES = """examples:
  python -m beam_jobs.caption_images exports/flickr8k --images photos/ --output captions/

  # by a run, with a wider beam, only the best caption of each photo
  python -m beam_jobs.caption_images runs/mine --images photos/ --output captions/ --beam 5 --nbest 1

  # by an export on the Hugging Face Hub, at a revision that is the same for all workers
  python -m beam_jobs.caption_images hf://OWNER/NAME@v1 --images photos/ --output captions/

  # only some photos, in 32 shards, by 4 processes
  python -m beam_jobs.caption_images exports/flickr8k --images 'photos/2024-*/*.jpg' --output captions/ \\
      --shards 32 --direct_running_mode multi_processing --direct_num_workers 4

Run the same command again to resume after a stop, or after photos were added or removed: only shards that are missing
or whose photos changed are made. A file that changed under the same name is not noticed; add --overwrite.
All other options are Apache Beam's own (--runner, --direct_num_workers, ...)."""


def parse_arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The job's own options, and the rest for Beam."""
    parser = command_parser(
        "beam_jobs.caption_images",
        EXAMPLES,
        usage="MODEL --images GLOB_OR_FOLDER --output DIR [options] [Beam options]",
    )
    parser.add_argument(
        "--model",
        "--run",
        required=True,
        metavar="MODEL",
        help="run directory, export, folder above numbered exports, or hf://OWNER/NAME; as the first argument, or as "
        "this option",
    )
    parser.add_argument("--images", required=True, help="folder, with all folders below it, or pattern with * and **")
    parser.add_argument("--output", required=True, help="folder for the captions")
    parser.add_argument("--batch_size", type=int, default=32, help="photos per call (default: %(default)s)")
    parser.add_argument("--shards", type=int, help="number of shards (default: at most 512 photos each)")
    parser.add_argument("--overwrite", action="store_true", help="replace complete captions")
    add_caption_options(parser, takes_exports=True, nbest="all of the beam")
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and not argv[0].startswith("-"):  # later, it would be the value of one of Beam's options
        argv.insert(0, "--model")
    arguments, flags = parser.parse_known_args(argv)
    if arguments.batch_size < 1:
        parser.error("--batch_size must be at least 1")
    if arguments.shards is not None and not 1 <= arguments.shards <= 99_999:
        parser.error("--shards must be from 1 to 99999")
    return arguments, flags


def caption_images(arguments: argparse.Namespace, flags: Sequence[str]) -> "CaptionsInfo | None":
    """Run the job to its end.

    Args:
        arguments: see `parse_arguments`.
        flags: Beam's options.

    Returns:
        The description of the captions, as written; None for a dry run or a template.

    Raises:
        UsageError, ExportError: input or options that no job can start from.
        JobFailed: photos were lost.
    """
    search = given_options(arguments)
    find_model(arguments.model).options(search)  # an error before Beam is imported
    import_beam()
    from beam_jobs.execution.options import beam_options
    from beam_jobs.pipelines import captions

    # One process with all cores: TensorFlow has its own threads, and one model needs the memory of one.
    options = beam_options(flags, output=arguments.output, local_mode="in_memory")
    request = captions.CaptionRequest(
        model=arguments.model,
        images=arguments.images,
        search=search,
        batch_size=arguments.batch_size,
        shards=arguments.shards,
    )
    return captions.run(request, options, output=arguments.output, overwrite=arguments.overwrite)


def summary(info: "CaptionsInfo", seconds: float) -> str:
    """A human-readable line: photos, rejections and speed."""
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in info.rejected.items())
    return (
        f"{info.captioned:,} of {info.photos_in:,} photos captioned, {len(info.shards):,} shards, rejected: "
        f"{rejected or 'none'}; {seconds:.1f} s: {info.photos_in / max(seconds, 1e-9):,.1f} photos/s"
    )


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    arguments, flags = parse_arguments(argv)
    return run_job(caption_images, summary, arguments, flags, noun="captions")


if __name__ == "__main__":
    sys.exit(main())
