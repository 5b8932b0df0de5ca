"""Builds records of many synthetic photos on an engine, and samples the memory of every process while it does.

    python -m tests.clusters.scale --engine flink --layout tars --photos 20000 --folder DIR

Makes DIR/LAYOUT-PHOTOS unless it is there, writes DIR/records and the table DIR/memory-ENGINE-LAYOUT-PHOTOS.tsv, and
prints photos/s and the peak of each process.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.clusters import engines
from tests.support.installed import install
from tests.support.many_photos import CAPTIONS, LAYOUTS
from tests.support.memory_watch import MemoryWatch
from tfcaption.records.dataset_info import load_dataset_info

# A process by a word of its command line.
ROLES = {
    "launcher": "beam_jobs.build_records",
    "job server": "-job-server-",
    "prism": "prism --job_port",
    "manager": "StandaloneSessionClusterEntrypoint",
    "task manager": "TaskManagerRunner",
    "master": "deploy.master.Master",
    "spark worker": "deploy.worker.Worker",
    "executor": "CoarseGrainedExecutorBackend",
    "pool": "worker_pool_main",
    "worker": "SdkHarness",
}


def measure(engine: str, layout: str, photos: int, folder: Path) -> None:
    """Build the records of so many photos, and print what it took."""
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
        with getattr(engines, engine)(logs, install(installed)) as running:
            command = [sys.executable, "-m", "beam_jobs.build_records", "--images", data, "--captions", data]
            command += ["--output", output, "--image_size=32", *running.flags]
            start = time.monotonic()
            with MemoryWatch(ROLES) as watch:
                subprocess.run([*map(str, command)], check=True, env={**os.environ, **running.environment})
            seconds = time.monotonic() - start
    watch.write(folder / f"memory-{engine}-{layout}-{photos}.tsv")
    info = load_dataset_info(output)
    assert sum(split.photos for split in info.splits.values()) == photos and not info.rejected_photos
    assert sum(split.captions for split in info.splits.values()) == CAPTIONS * photos
    print(f"{engine}, {layout}: {photos:,} photos in {seconds:.0f} s, {photos / seconds:.0f} photos/s; peaks (MB):")
    for role, peaks in watch.peaks().items():
        if peaks:
            print(f"  {role:14} {' '.join(map(str, peaks))}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", required=True, choices=["flink", "spark", "prism"])
    parser.add_argument("--layout", required=True, choices=LAYOUTS)
    parser.add_argument("--photos", type=int, required=True, nargs="+")
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for count in arguments.photos:
        measure(arguments.engine, arguments.layout, count, arguments.folder.absolute())
