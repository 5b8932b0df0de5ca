"""Benchmarks of whole commands: the Beam jobs beside plain loops, and peak memory.

TensorFlow starts only in the processes that are measured.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tfcaption.backbones.families import is_file
from tfcaption.benchmarks.harness import BenchmarkError, Row, repeated_photos, run_module, scratch_folder, seconds_of
from tfcaption.config import Config, save_config

PLAIN_LOOPS = "tfcaption.benchmarks.plain_loops"
IMAGE_SIZE = 224  # pixels, the default of build_records
EXTRACT_BATCH_SIZE = 64


def measure_records(*, images: Path, photos: int, workers: Sequence[int], repeats: int) -> list[Row]:
    """The Beam job, start-up included, against a loop over a pool of processes.

    Args:
        images: folder of JPEG photos.
        photos: photos in the data set, by repetition.
        workers: numbers of processes to measure.
        repeats: measurements of each.
    """
    rows = []
    with repeated_photos(images, photos) as (folder, texts, _), scratch_folder() as scratch:
        for count in workers:
            plain = Row(f"plain loop, {count} process(es)", "photos/s")
            beam = Row(f"build_records, {count} worker(s)", "photos/s", plain.name)
            for repeat in range(repeats):
                target = scratch / f"plain-{count}-{repeat}"
                target.mkdir()
                loop = (PLAIN_LOOPS, "records", folder, target, count, IMAGE_SIZE)
                plain.values.append(photos / seconds_of(run_module, *loop))
                output = scratch / f"{count}-{repeat}"
                job = ("beam_jobs.build_records", "--images", folder, "--captions", texts, "--output", output)
                options = ("--min_count=1", f"--direct_num_workers={count}")
                beam.values.append(photos / seconds_of(run_module, *job, *options))
            rows += [plain, beam]
    return rows


def measure_extract(*, images: Path, photos: int, encoder: str, weights: str, repeats: int) -> list[Row]:
    """extract_features against one tf.data loop over the same model; both start-ups included.

    Args:
        images: folder of JPEG photos.
        photos: photos in the data set, by repetition.
        encoder: its name or file.
        weights: of a named encoder, as extract_features takes them; a file has its own.
        repeats: measurements of each.
    """
    plain = Row("plain tf.data loop", "photos/s")
    exact = Row("extract_features in float32", "photos/s", plain.name)
    fast = Row("extract_features in bfloat16", "photos/s", exact.name)
    with repeated_photos(images, photos) as (folder, texts, _), scratch_folder() as scratch:
        records = scratch / "records"
        source = ("--images", folder, "--captions", texts)
        run_module("beam_jobs.build_records", *source, "--output", records, "--min_count=1")
        named = () if is_file(encoder) else (weights,)
        loop = (PLAIN_LOOPS, "features", records, scratch / "plain", IMAGE_SIZE, EXTRACT_BATCH_SIZE, encoder, *named)
        options = ("--stage=pooled", "--encoder", encoder, *(("--weights", weights) if named else ()))
        job = ("beam_jobs.extract_features", "--records", records, *options)
        for repeat in range(repeats):
            plain.values.append(photos / seconds_of(run_module, *loop))
            for row, precision in ((exact, "float32"), (fast, "bfloat16")):
                output = ("--precision", precision, "--output", scratch / f"{precision}-{repeat}")
                row.values.append(photos / seconds_of(run_module, *job, *output))
    return [plain, exact, fast]


def measure_memory(*, images: Path, photos: int, repeats: int) -> list[Row]:
    """Peak memory of build_records, extract_features and train on some photos, and on ten times as many.

    Args:
        images: folder of JPEG photos.
        photos: photos in the smaller data set, by repetition.
        repeats: measurements of each.
    """
    rows = []
    for command in ("build_records", "extract_features", "train"):
        small = Row(f"{command}, {photos:,} photos", "MB")
        rows += [small, Row(f"{command}, {10 * photos:,} photos", "MB", small.name)]
    for _ in range(repeats):
        for index, count in enumerate((photos, 10 * photos)):
            with repeated_photos(images, count) as (folder, texts, _), scratch_folder() as scratch:
                commands = _memory_commands(folder, texts, count, scratch)
                for row, command_line in zip(rows[index::2], commands, strict=True):
                    row.values.append(_peak_megabytes(command_line))
    return rows


def _memory_commands(folder: Path, texts: Path, count: int, scratch: Path) -> list[Sequence[object]]:
    """The three commands, to be run in this order."""
    # Every hundredth photo in the dev split, so that training has something to select by.
    train = texts / "Flickr_8k.trainImages.txt"
    names = train.read_text().splitlines(keepends=True)
    train.write_text("".join(names[: -count // 100]))
    (texts / "Flickr_8k.devImages.txt").write_text("".join(names[-count // 100 :]))
    (texts / "Flickr_8k.testImages.txt").write_text("")
    records, features, config_file = scratch / "records", scratch / "trunk", scratch / "config.yaml"
    config = Config.model_validate(
        {
            "run": str(scratch / "run"),
            # Streamed, with a shuffle buffer that both data sets fill.
            "data": {
                "records": str(records),
                "features": str(features),
                "cache": False,
                "shuffle_buffer_photos": 128,
            },
            "model": {"variant": "finetuned", "weights": "random", "gru_units": 128, "dense_units": 128},
            "train": {"epochs": 1},
        }
    )
    save_config(config, config_file)
    source = ("--images", folder, "--captions", texts, "--image_size=64", "--min_count=1")
    stage = ("--stage=trunk", "--weights=random")
    return [
        ("beam_jobs.build_records", *source, "--output", records),
        ("beam_jobs.extract_features", "--records", records, *stage, "--output", features),
        ("tfcaption.train", "--config", config_file),
    ]


def _peak_megabytes(command_line: Sequence[object]) -> float:
    """Largest resident memory of a command's process or of one of its workers."""
    process = subprocess.Popen(
        [sys.executable, "-m", *map(str, command_line)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise BenchmarkError(f"python -m {command_line[0]}: exit code {os.waitstatus_to_exitcode(status)}")
    return usage.ru_maxrss / 1000
