"""Measures this machine: each command beside an alternative that a user would write.

Prints a table (median, range, ratio to the alternative), and writes it as JSON with --json. `all` measures everything
in turn, on drawn photos or on given ones.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tfcaption.benchmarks import jobs
from tfcaption.benchmarks.harness import BenchmarkError, Row, benchmark_table, write_rows
from tfcaption.benchmarks.serve import measure_serve
from tfcaption.benchmarks.suite import measure_all
from tfcaption.config import DEFAULT_ENCODER
from tfcaption.runtime.command import command_parser, reports_errors
from tfcaption.runtime.paths import as_path
from tfcaption.runtime.process import start_tensorflow

EXAMPLES = """examples:
  # everything below in turn, on drawn photos, into one file that also describes the machine
  python -m tfcaption.benchmark all --json machine.json
  # the Beam job against a plain multiprocessing loop, on 6,000 photos
  python -m tfcaption.benchmark records --images photos/ --photos 6000 --workers 1 2
  # feature extraction against a plain tf.data loop over the same model
  python -m tfcaption.benchmark extract --images photos/ --photos 256 --weights imagenet
  # the input pipeline against a Keras sequence and a plain tf.data pipeline over the files
  python -m tfcaption.benchmark input --images photos/ --records records/ --features features/pooled features/trunk
  # seconds per epoch of both variants against Keras fit on that sequence
  python -m tfcaption.benchmark train --images photos/ --configs configs/flickr8k_frozen.yaml \\
      configs/flickr8k_finetuned.yaml --json train.json
  # captions/s against model.predict word by word
  python -m tfcaption.benchmark search --run runs/flickr8k_frozen --features features/pooled
  # photos/s of the server, with one client and with eight at the same time
  python -m tfcaption.benchmark serve --model exports/flickr8k/1 --images photos/ --clients 1 8
  # peak memory of each command, on 400 photos and on 4,000
  python -m tfcaption.benchmark memory --images photos/ --photos 400"""

BENCHMARKS = {
    "all": "All others in turn, each in a process of its own; the JSON file also describes the machine.",
    "records": "The Beam job against a loop over a pool of processes; both start-ups included.",
    "extract": "extract_features against one tf.data loop over the same model; both start-ups included.",
    "input": "Photos/s and captions/s of our pipelines, a Keras sequence and a tf.data pipeline over the files.",
    "train": "Seconds per epoch, from a stated number of steps, against Keras fit with ResNet50 in the graph.",
    "search": "Captions/s from pooled features: search in the graph against `model.predict` word by word.",
    "serve": "Photos/s and latency of the server, by the number of clients that ask at the same time.",
    "memory": "Peak memory of each command on some photos, and on ten times as many.",
}
# These start TensorFlow only in the processes that they measure.
JOBS: dict[str, Callable[..., list[Row]]] = {
    "records": jobs.measure_records,
    "extract": jobs.measure_extract,
    "serve": measure_serve,
    "memory": jobs.measure_memory,
}
DEFAULT_PHOTOS = {"records": 6000, "extract": 256, "memory": 400}


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's options; but for `benchmark` and `json` they are those of the benchmark's function."""
    parser = command_parser("tfcaption.benchmark", EXAMPLES)
    commands = parser.add_subparsers(required=True, dest="benchmark", metavar="|".join(BENCHMARKS))
    for name, about in BENCHMARKS.items():
        command = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
        if name == "all":
            about = "folder of JPEG photos, with --captions (default: drawn ones, as sample_data draws them)"
            command.add_argument("--images", type=Path, help=about)
            command.add_argument("--captions", type=Path, help="of those photos, as build_records takes them")
            command.add_argument("--quick", action="store_true", help="as small as possible, to try everything")
            command.add_argument("--json", type=Path, required=True, help="file to write the results to")
            continue
        if name == "search":
            command.add_argument("--run", type=as_path, required=True, help="run directory of the frozen variant")
            command.add_argument(
                "--features", type=as_path, required=True, help="pooled features that extract_features wrote"
            )
            command.add_argument("--photos", type=int, default=1000, help="default: %(default)s")
            command.add_argument("--batch_size", type=int, default=100, help="default: %(default)s")
            command.add_argument("--naive_photos", type=int, default=10, help="default: %(default)s")
        else:
            command.add_argument("--images", type=Path, required=True, help="folder of original JPEG photos")
        command.add_argument("--repeats", type=int, default=3, help="measurements (default: %(default)s)")
        command.add_argument("--json", type=Path, help="file to write the results to")
        if name in DEFAULT_PHOTOS:
            default = DEFAULT_PHOTOS[name]
            command.add_argument("--photos", type=int, default=default, help="by repetition (default: %(default)s)")
        if name == "records":
            command.add_argument("--workers", type=int, nargs="+", default=[1, os.cpu_count() or 1])
        if name == "extract":
            about = "a name that `tfcaption encoders` lists, or a file (default: %(default)s)"
            command.add_argument("--encoder", default=DEFAULT_ENCODER, help=about)
            command.add_argument("--weights", default="imagenet", help="of a named encoder (default: %(default)s)")
        if name == "input":
            command.add_argument("--records", type=as_path, required=True, help="folder that build_records wrote")
            command.add_argument(
                "--features", type=as_path, nargs="*", default=[], help="folders that extract_features wrote of it"
            )
            command.add_argument("--seconds", type=float, default=3.0, help="of each repeat (default: %(default)s)")
        if name == "serve":
            command.add_argument("--model", required=True, help="run directory, export or hf://OWNER/NAME")
            command.add_argument(
                "--clients", type=int, nargs="+", default=[1, 8], help="each sends photo after photo (default: 1 8)"
            )
            command.add_argument("--seconds", type=float, default=10.0, help="of each repeat (default: %(default)s)")
            command.add_argument("--max_batch", type=int, help="of the server (default: its own)")
        if name == "train":
            command.add_argument("--configs", nargs="+", required=True, help="YAML files, as tfcaption.train takes")
            command.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", dest="overrides")
            command.add_argument("--steps", type=int, default=16, help="of ours per repeat (default: %(default)s)")
            command.add_argument("--naive_steps", type=int, default=3, help="of Keras fit (default: %(default)s)")
            command.add_argument("--profile", help="folder for a TensorBoard trace of our steps")
    return parser.parse_args(argv)


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    options = vars(parse_arguments(argv))
    name, output = options.pop("benchmark"), options.pop("json")
    if name == "all":
        return _print_all(output=output, **options)
    measures = JOBS
    if name not in JOBS:
        start_tensorflow()
        from tfcaption.benchmarks.input import measure_input
        from tfcaption.benchmarks.search import measure_search
        from tfcaption.benchmarks.training import measure_train

        measures = {"input": measure_input, "train": measure_train, "search": measure_search}
    rows = measures[name](**options)
    print(benchmark_table(rows))
    if output:
        write_rows(rows, output)
    return 0


def _print_all(**options: Any) -> int:
    """Print each benchmark of `measure_all` as it ends; 1 if any failed."""
    failures = []
    for measured in measure_all(**options):
        print(f"\n{measured.command}", benchmark_table(measured.rows), sep="\n", flush=True)
        if measured.failure:
            print(f"failed: {measured.failure}", flush=True)
            failures.append(measured.name)
    print(f"\nresults: {options['output']}")
    if failures:
        raise BenchmarkError(f"{', '.join(failures)} failed, see above")
    return 0


if __name__ == "__main__":
    sys.exit(main())
