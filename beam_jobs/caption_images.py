"""Photos -> captions: a folder of photos through an exported captioner, a shard of captions at a time.

Prints a summary and the path of the captions. The pipeline itself is in `pipelines/captions.py`.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from beam_jobs.execution.command import run_job
from tfcaption.records.dataset_info import CAPTIONS_FILE
from tfcaption.records.sharding import automatic_shard_count
from tfcaption.runtime.command import command_parser

if TYPE_CHECKING:
    from beam_jobs.pipelines.captions import CaptionsInfo

EXAMPLES = """examples:
  python -m beam_jobs.caption_images --model exports/flickr8k/1 --images photos/ --output captions/

  # some photos only, in 32 shards, by 4 processes
  python -m beam_jobs.caption_images --model exports/flickr8k/1 --images 'photos/2024-*/*.jpg' --output captions/ \\
      --shards 32 --direct_running_mode multi_processing --direct_num_workers 4

Run again after a stop, or after photos came or went, it makes only the shards that are missing or no longer right;
a photo that changed under its name is not noticed (--overwrite).
All other options are Apache Beam's own (--runner, --direct_num_workers, ...)."""


def parse_arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The job's own options, and the rest for Beam."""
    parser = command_parser(
        "beam_jobs.caption_images",
        EXAMPLES,
        usage="--model EXPORT --images GLOB_OR_FOLDER --output DIR [options] [Beam options]",
    )
    parser.add_argument("--model", required=True, metavar="EXPORT", help="SavedModel of tfcaption.export")
    parser.add_argument("--images", required=True, help="folder (all photos below it) or pattern with * and **")
    parser.add_argument("--output", required=True, help="folder for the captions")
    parser.add_argument("--batch_size", type=int, default=32, help="photos a call (default: %(default)s)")
    parser.add_argument("--shards", type=int, help="default: 512 photos or fewer each")
    parser.add_argument("--overwrite", action="store_true", help="caption again what is complete already")
    arguments, flags = parser.parse_known_args(argv)
    if arguments.batch_size < 1:
        parser.error("--batch_size must be at least 1")
    if arguments.shards is not None and not 1 <= arguments.shards <= 99_999:
        parser.error("--shards must be from 1 to 99999")
    return arguments, flags


def caption_images(arguments: argparse.Namespace, flags: Sequence[str]) -> "CaptionsInfo | None":
    """Run the job to its end.

    Args:
        arguments: as `parse_arguments` gives them.
        flags: Beam's options.

    Returns:
        The description of the captions, as written; None for a dry run or a template.

    Raises:
        ValueError: (ExportError) input or options that no job can start from.
        JobFailed: photos were lost.
    """
    import apache_beam as beam
    from apache_beam.utils.shared import Shared

    from beam_jobs.execution import output_folder
    from beam_jobs.execution.options import beam_options
    from beam_jobs.execution.runner import run_pipeline
    from beam_jobs.execution.shard_writer import write_text
    from beam_jobs.pipelines.captions import (
        CaptionSettings,
        add_steps,
        list_photos,
        load_captions_info,
        open_captioner,
        settings_there,
    )

    # One process with all cores: TensorFlow has threads of its own, and one model takes the memory of one.
    options = beam_options(flags, output=arguments.output, local_mode="in_memory")
    root, names = list_photos(arguments.images)
    shared = Shared()
    captioner = shared.acquire(lambda: open_captioner(arguments.model, batch_size=arguments.batch_size))
    settings = CaptionSettings(
        model=captioner.fingerprint(),
        beam=captioner.beam,
        batch_size=arguments.batch_size,
        shards=arguments.shards or automatic_shard_count(len(names)),
    )
    # Shards that an earlier run with the same settings left are kept, whether it came to its end or not.
    go_on = settings_there(arguments.output) == settings and not arguments.overwrite
    description = CAPTIONS_FILE
    output_folder.check_writable(arguments.output, overwrite=arguments.overwrite or go_on, description=description)
    (output_folder.remove_partial_files if go_on else output_folder.remove_previous)(
        arguments.output, description=description
    )
    partial = output_folder.PARTIAL_CAPTIONS_FILE
    write_text(arguments.output, partial, settings.model_dump_json(indent=1) + "\n")
    output_folder.remove_file(arguments.output, description)  # other photos may be there by now
    pipeline = beam.Pipeline(options=options)
    add_steps(pipeline, names, settings, root=root, model=arguments.model, shared=shared, output=arguments.output)
    done = run_pipeline(pipeline, arguments.output, total=len(names), unit="photos", label="captioning")
    return load_captions_info(arguments.output) if done else None


def summary(info: "CaptionsInfo", seconds: float) -> str:
    """What was captioned and what was not, for people."""
    listed = ", ".join(f"{count:,} {reason}" for reason, count in info.rejected.items())
    return (
        f"{info.captioned:,} of {info.photos_in:,} photos captioned, {len(info.shards):,} shards, rejected: "
        f"{listed or 'none'}; {seconds:.1f} s: {info.photos_in / max(seconds, 1e-9):,.1f} photos/s"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    arguments, flags = parse_arguments(argv)
    return run_job(caption_images, summary, arguments, flags, what="captions")


if __name__ == "__main__":
    sys.exit(main())
