"""Builds records of many synthetic photos on an engine, and samples the memory and CPU time of every process.

    python -m tests.clusters.scale --engine flink --layout tars --photos 20000 --folder DIR

Makes DIR/LAYOUT-PHOTOS unless it is there, writes DIR/records and the table DIR/processes-ENGINE-LAYOUT-PHOTOS.tsv, and
prints photos/s, the peak of each process, and the CPU time that a photo takes. The engine `local` is FnApiRunner.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from tests.clusters import engines
from tests.support.installed import install
from tests.support.many_photos import CAPTIONS, LAYOUTS
from tests.support.process_watch import ProcessWatch
from tfcaption.records.dataset_info import load_dataset_info

# A process by a word of its command line.
ROLES = {
    "launcher": "beam_jobs.build_records",
    "job server": "--artifacts-dir",
    "prism": "prism --job_port",
    "manager": "StandaloneSessionClusterEntrypoint",
    "task manager": "TaskManagerRunner",
    "master": "deploy.master.Master",
    "spark worker": "deploy.worker.Worker",
    "executor": "CoarseGrainedExecutorBackend",
    "pool": "worker_pool_main",
    "worker": "SdkHarness",
    "local worker": "-m apache_beam.runners.worker.sdk_worker_main",
}


def local(logs: Path, python: Path) -> AbstractContextManager[engines.Engine]:
    """FnApiRunner with two worker processes."""
    return nullcontext(engines.Engine(["--direct_num_workers=2"], engines.Processes(logs)))


ENGINES = {"local": local, "flink": engines.flink, "spark": engines.spark, "prism": engines.prism}


# Layout -> the path of the captions in its folder, and options.
NAMED = {"tars": (".", []), "table": ("captions.csv", ["--photos_as_named"])}


def measure(engine: str, layout: str, photos: int, folder: Path) -> None:
    """Build the records of so many photos, and print what it took."""
    file, flags = NAMED[layout]
    data, output = folder / f"{layout}-{photos}", folder / "records"
    shutil.rmtree(output, ignore_errors=True)
    if not data.exists():
        start = time.monotonic()
        LAYOUTS[layout](data, photos)
        print(f"{photos:,} photos as {layout} made in {time.monotonic() - start:.0f} s", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        installed, logs = Path(temporary, "installed"), Path(temporary, "logs")
        installed.mkdir()
        logs.mkdir()
        with ENGINES[engine](logs, install(installed)) as running:
            command = [sys.executable, "-m", "beam_jobs.build_records", "--images", data, "--output", output]
            command += ["--image_size=32", "--captions", data / file, *flags, *running.flags]
            start = time.monotonic()
            with ProcessWatch(ROLES) as watch:
                subprocess.run([*map(str, command)], check=True, env={**os.environ, **running.environment})
            seconds = time.monotonic() - start
    watch.write(folder / f"processes-{engine}-{layout}-{photos}.tsv")
    info = load_dataset_info(output)
    assert sum(split.photos for split in info.splits.values()) == photos and not info.rejected_photos
    assert sum(split.captions for split in info.splits.values()) == CAPTIONS * photos
    print(f"{engine}, {layout}: {photos:,} photos in {seconds:.0f} s, {photos / seconds:.0f} photos/s")
    for role, peaks in watch.peaks().items():
        if peaks:
            cpu = watch.cpu_seconds()[role]
            print(f"  {role:14} {cpu:7.1f} s of CPU, {1000 * cpu / photos:6.3f} ms/photo; peaks (MB):", *peaks)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", required=True, choices=ENGINES)
    parser.add_argument("--layout", required=True, choices=LAYOUTS)
    parser.add_argument("--photos", type=int, required=True, nargs="+")
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for count in arguments.photos:
        measure(arguments.engine, arguments.layout, count, arguments.folder.absolute())
