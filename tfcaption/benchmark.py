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
from tfcaption.runtime.process import environment, start_tensorflow

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
  # seconds per epoch of the CIDEr phase, the share of sampling, and rewards beside those of one caption at a time
  python -m tfcaption.benchmark cider --configs configs/flickr8k_attention_cider.yaml
  # captions/s of several runs, with any decoders, against model.predict word by word
  python -m tfcaption.benchmark search --run runs/flickr8k_frozen runs/flickr8k_transformer \
      --features features/pooled features/map --cpu
  # photos/s of the server, with one client and with eight at the same time
  python -m tfcaption.benchmark serve --model exports/flickr8k/1 --images photos/ --clients 1 8
  # peak memory of each command, on 400 photos and on 4,000
  python -m tfcaption.benchmark memory --images photos/ --photos 400
  # both variants of a training step on a GPU: share of its arithmetic and memory, waiting for input, losses
  python -m tfcaption.benchmark gpu --profile traces/"""

BENCHMARKS = {
    "all": "All others but gpu in turn, each in a process of its own; the JSON file also describes the machine.",
    "records": "The Beam job against a loop over a pool of processes; both start-ups included.",
    "extract": "extract_features against one tf.data loop over the same model; both start-ups included.",
    "input": "Photos/s and captions/s of our pipelines, a Keras sequence and a tf.data pipeline over the files.",
    "train": "Seconds per epoch, from a stated number of steps, against Keras fit with ResNet50 in the graph.",
    "cider": "Seconds per epoch of the CIDEr phase beside the cross-entropy phase, and the speed of its rewards.",
    "search": "Captions/s of runs from features: search in the graph against `model.predict` word by word.",
    "serve": "Photos/s and latency of the server, by the number of clients that ask at the same time.",
    "memory": "Peak memory of each command on some photos, and on ten times as many.",
    "gpu": "A GPU's training step beside a plain matrix product and a plain copy, and its losses beside the CPU's.",
}
# These start TensorFlow only in the processes that they measure.
JOBS: dict[str, Callable[..., list[Row]]] = {
    "records": jobs.measure_records,
    "extract": jobs.measure_extract,
    "serve": measure_serve,
    "memory": jobs.measure_memory,
}
DEFAULT_PHOTOS = {"records": 6000, "extract": 256, "memory": 400}
VARIANTS = ("flickr8k_frozen", "flickr8k_finetuned")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's options; but for `benchmark` and `json` they are those of the benchmark's function."""
    parser = command_parser("tfcaption.benchmark", EXAMPLES)
    commands = parser.add_subparsers(required=True, dest="benchmark", metavar="|".join(BENCHMARKS))
    for name, about in BENCHMARKS.items():
        command = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
        if name not in ("all", "cider", "search", "gpu"):
            command.add_argument("--images", type=Path, required=True, help="folder of original JPEG photos")
        if name in DEFAULT_PHOTOS:
            default = DEFAULT_PHOTOS[name]
            command.add_argument("--photos", type=int, default=default, help="by repetition (default: %(default)s)")
        ADD_OPTIONS.get(name, lambda command: None)(command)
        if name != "all":
            command.add_argument("--repeats", type=int, default=3, help="measurements (default: %(default)s)")
        command.add_argument("--json", type=Path, required=name == "all", help="file to write the results to")
    return parser.parse_args(argv)


def _all_options(command: argparse.ArgumentParser) -> None:
    about = "folder of JPEG photos, with --captions (default: drawn ones, as sample_data draws them)"
    command.add_argument("--images", type=Path, help=about)
    command.add_argument("--captions", type=Path, help="of those photos, as build_records takes them")
    command.add_argument("--quick", action="store_true", help="as small as possible, to try everything")


def _records_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--workers", type=int, nargs="+", default=[1, os.cpu_count() or 1])


def _extract_options(command: argparse.ArgumentParser) -> None:
    about = "a name that `tfcaption encoders` lists, or a file (default: %(default)s)"
    command.add_argument("--encoder", default=DEFAULT_ENCODER, help=about)
    command.add_argument("--weights", default="imagenet", help="of a named encoder (default: %(default)s)")


def _input_options(command: argparse.ArgumentParser) -> None:
    _add_data(command, required=True)
    command.add_argument("--seconds", type=float, default=3.0, help="of each repeat (default: %(default)s)")


def _train_options(command: argparse.ArgumentParser) -> None:
    _add_configs(command)
    command.add_argument("--steps", type=int, default=16, help="of ours per repeat (default: %(default)s)")
    command.add_argument("--naive_steps", type=int, default=3, help="of Keras fit (default: %(default)s)")
    command.add_argument("--profile", type=Path, help="folder for a TensorBoard trace of our steps")


def _cider_options(command: argparse.ArgumentParser) -> None:
    _add_configs(command)
    command.add_argument("--steps", type=int, default=16, help="of each phase per repeat (default: %(default)s)")


def _search_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--run", type=as_path, nargs="+", required=True, help="run directories")
    about = "folders from which each run takes the one it can read (default: what it was trained from)"
    command.add_argument("--features", type=as_path, nargs="*", default=[], help=about)
    command.add_argument("--photos", type=int, default=1000, help="default: %(default)s")
    command.add_argument("--batch_size", type=int, default=100, help="default: %(default)s")
    about = "captioned word by word (default: %(default)s)"
    command.add_argument("--naive_photos", type=int, default=10, help=about)
    command.add_argument("--xla", action="store_true", help="measure the search with XLA, too")
    about = "measure CPU seconds of all cores together, which other work changes less"
    command.add_argument("--cpu", action="store_true", help=about)


def _serve_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", required=True, help="run directory, export or hf://OWNER/NAME")
    about = "each sends photo after photo (default: 1 8)"
    command.add_argument("--clients", type=int, nargs="+", default=[1, 8], help=about)
    command.add_argument("--seconds", type=float, default=10.0, help="of each repeat (default: %(default)s)")
    command.add_argument("--max_batch", type=int, help="of the server (default: its own)")


def _gpu_options(command: argparse.ArgumentParser) -> None:
    about = f"YAML files, as tfcaption.train takes; random weights, vectors and start (default: {' '.join(VARIANTS)})"
    command.add_argument("--configs", nargs="+", default=list(VARIANTS), help=about)
    _add_overrides(command)
    _add_data(command, required=False)
    about = "in the training split of random content, without --records (default: %(default)s)"
    command.add_argument("--photos", type=int, default=1024, help=about)
    about = "pixels of the photos that the random content is said to be of (default: %(default)s)"
    command.add_argument("--image_size", type=int, default=224, help=about)
    about = "gpu: the first one; cpu: everything on the CPU, to try it (default: %(default)s)"
    command.add_argument("--device", choices=["gpu", "cpu"], default="gpu", help=about)
    command.add_argument("--steps", type=int, default=64, help="per repeat (default: %(default)s)")
    command.add_argument("--profile", type=Path, help="folder for TensorBoard traces of a few steps")


def _add_data(command: argparse.ArgumentParser, *, required: bool) -> None:
    command.add_argument("--records", type=as_path, required=required, help="folder that build_records wrote")
    about = "folders that extract_features wrote of it"
    command.add_argument("--features", type=as_path, nargs="*", default=[], help=about)


def _add_configs(command: argparse.ArgumentParser) -> None:
    command.add_argument("--configs", nargs="+", required=True, help="YAML files, as tfcaption.train takes")
    _add_overrides(command)


def _add_overrides(command: argparse.ArgumentParser) -> None:
    command.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", dest="overrides")


ADD_OPTIONS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "all": _all_options,
    "records": _records_options,
    "extract": _extract_options,
    "input": _input_options,
    "train": _train_options,
    "cider": _cider_options,
    "search": _search_options,
    "serve": _serve_options,
    "gpu": _gpu_options,
}


@reports_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    options = vars(parse_arguments(argv))
    name, output = options.pop("benchmark"), options.pop("json")
    if name == "all":
        return _print_all(output=output, **options)
    measures = JOBS
    with environment(**_visible_gpus(options.get("device"))):
        if name not in JOBS:
            start_tensorflow()
            from tfcaption.benchmarks.cider import measure_cider
            from tfcaption.benchmarks.gpu import measure_gpu
            from tfcaption.benchmarks.input import measure_input
            from tfcaption.benchmarks.search import measure_search
            from tfcaption.benchmarks.training import measure_train

            measures = {
                "input": measure_input,
                "train": measure_train,
                "cider": measure_cider,
                "search": measure_search,
                "gpu": measure_gpu,
            }
        rows = measures[name](**options)
    print(benchmark_table(rows))
    if output:
        write_rows(rows, output)
    faults = [row.fault for row in rows if row.fault]
    if faults:
        raise BenchmarkError("; ".join(faults))
    return 0


def _visible_gpus(device: str | None) -> dict[str, str]:
    """Environment variables for `--device`: the first GPU that the user lets TensorFlow see, or none."""
    if device is None:
        return {}
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    return {"CUDA_VISIBLE_DEVICES": "-1" if device == "cpu" else first}


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
