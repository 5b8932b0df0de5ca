"""Benchmarks of whole commands: the Beam jobs beside plain loops, and peak memory."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

from tfcaption.benchmarks.harness import Row, repeated_photos, run_module, scratch_folder, seconds_of
from tfcaption.config import Config, save_config
from tfcaption.records.dataset_info import load_dataset_info
from tfcaption.runtime.errors import UsageError


def measure_records(arguments: argparse.Namespace) -> list[Row]:
    """The Beam job, start-up included, against a loop over a pool of processes."""
    rows = []
    with repeated_photos(arguments.images, arguments.photos) as (folder, texts, paths), scratch_folder() as scratch:
        for workers in arguments.workers:
            plain = Row(f"plain loop, {workers} process(es)", "photos/s")
            beam = Row(f"build_records, {workers} worker(s)", "photos/s", plain.name)
            for repeat in range(arguments.repeats):
                target = scratch / f"plain-{workers}-{repeat}"
                target.mkdir()
                job = [*("--images", folder), *("--captions", texts), *("--output", scratch / f"{workers}-{repeat}")]
                # In a process of its own, as a user's script would be.
                loop = (
                    "from tfcaption.benchmarks.baselines import plain_records_loop as loop; import sys, pathlib\n"
                    "if __name__ == '__main__':\n"
                    "    paths = sorted(map(str, pathlib.Path(sys.argv[1]).iterdir()))\n"
                    f"    loop(paths, output=sys.argv[2], processes={workers}, image_size=224)\n"
                )
                script = scratch / "plain_loop.py"
                script.write_text(loop)
                command = [sys.executable, str(script), str(folder), str(target)]
                plain.values.append(
                    len(paths) / seconds_of(lambda command=command: subprocess.run(command, check=True))  # type: ignore[misc]
                )
                beam.values.append(
                    len(paths)
                    / seconds_of(
                        lambda job=job, workers=workers: run_module(  # type: ignore[misc]
                            "beam_jobs.build_records", *job, "--min_count=1", f"--direct_num_workers={workers}"
                        )
                    )
                )
            rows += [plain, beam]
    return rows


def measure_extract(arguments: argparse.Namespace) -> list[Row]:
    """extract_features against one tf.data loop over the same model; both start-ups included."""
    plain = Row("plain tf.data loop", "photos/s")
    beam = Row("extract_features", "photos/s", plain.name)
    with repeated_photos(arguments.images, arguments.photos) as (folder, texts, paths), scratch_folder() as scratch:
        made = scratch / "records"
        run_module(
            "beam_jobs.build_records", "--images", folder, "--captions", texts, "--output", made, "--min_count=1"
        )
        info = load_dataset_info(made)
        files = [str(made / shard.name) for split in info.splits.values() for shard in split.shards if shard.records]
        settings = {"image_size": 224, "weights": arguments.weights, "batch_size": 64, "output": str(scratch / "plain")}
        code = (
            f"from tfcaption.benchmarks.baselines import plain_features_loop as loop; loop({files!r}, **{settings!r})"
        )
        job = ["--records", made, "--stage=pooled", "--weights", arguments.weights]
        for repeat in range(arguments.repeats):
            plain.values.append(
                len(paths) / seconds_of(lambda: subprocess.run([sys.executable, "-c", code], check=True))
            )
            output = scratch / f"features-{repeat}"
            beam.values.append(
                len(paths)
                / seconds_of(lambda output=output: run_module("beam_jobs.extract_features", *job, "--output", output))  # type: ignore[misc]
            )
    return [plain, beam]


def measure_memory(arguments: argparse.Namespace) -> list[Row]:
    """Peak memory of each command on some photos, and on ten times as many."""
    small = arguments.photos
    rows = [
        Row(f"{command}, {count:,} photos", "MB", f"{command}, {small:,} photos" if count > small else "")
        for command in ("build_records", "extract_features", "train")
        for count in (small, 10 * small)
    ]
    for row, repeat in ((row, repeat) for repeat in range(arguments.repeats) for row in rows[:2]):
        del repeat
        count = small if row is rows[0] else 10 * small
        with repeated_photos(arguments.images, count) as (folder, texts, _), scratch_folder() as scratch:
            # A split of its own for every hundredth photo, so that there is something to select by.
            names = (texts / "Flickr_8k.trainImages.txt").read_text().splitlines(keepends=True)
            (texts / "Flickr_8k.trainImages.txt").write_text("".join(names[: -count // 100]))
            (texts / "Flickr_8k.devImages.txt").write_text("".join(names[-count // 100 :]))
            (texts / "Flickr_8k.testImages.txt").write_text("")
            config = Config.model_validate(
                {
                    "run": str(scratch / "run"),
                    # Streamed, and a buffer that is full in both runs.
                    "data": {
                        "records": str(scratch / "records"),
                        "features": str(scratch / "trunk"),
                        "cache": False,
                        "shuffle_buffer_photos": 128,
                    },
                    "model": {"variant": "finetuned", "weights": "random", "gru_units": 128, "dense_units": 128},
                    "train": {"epochs": 1},
                }
            )
            save_config(config, scratch / "config.yaml")
            source = ["--images", folder, "--captions", texts, "--image_size=64", "--min_count=1"]
            made = ["--records", scratch / "records", "--stage=trunk", "--weights=random"]
            for index, command in enumerate(
                (
                    ["beam_jobs.build_records", *source, "--output", scratch / "records"],
                    ["beam_jobs.extract_features", *made, "--output", scratch / "trunk"],
                    ["tfcaption.train", "--config", scratch / "config.yaml"],
                )
            ):
                rows[2 * index + (count > small)].values.append(_peak_megabytes(command))
    return rows


def _peak_megabytes(command: Sequence[object]) -> float:
    """Largest resident memory of a command's process or of one of its workers."""
    process = subprocess.Popen(
        [sys.executable, "-m", *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise UsageError(f"{command[0]} failed")
    return usage.ru_maxrss / 1000
