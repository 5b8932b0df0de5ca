"""Measures this machine: our way and what a user would write instead, side by side in one run.

Prints a table (median, spread, ratio to the alternative), and writes it as JSON with --json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tfcaption import baselines, records, runs, terminal
from tfcaption.config import Config, load_config, save_config

EXAMPLES = """examples:
  # the Beam job against a plain multiprocessing loop, on 6,000 photos
  python -m tfcaption.benchmark records --images photos/ --photos 6000 --workers 1 2
  # feature extraction against a plain tf.data loop over the same model
  python -m tfcaption.benchmark extract --images photos/ --photos 256 --weights imagenet
  # batches a second against a Keras sequence and a plain tf.data pipeline over the files
  python -m tfcaption.benchmark input --images photos/ --records records/ --features features/pooled features/trunk
  # seconds an epoch of both variants against Keras fit on that sequence
  python -m tfcaption.benchmark train --images photos/ --configs configs/flickr8k_frozen.yaml \\
      configs/flickr8k_finetuned.yaml --json train.json
  # captions a second against model.predict word by word
  python -m tfcaption.benchmark search --run runs/flickr8k_frozen --features features/pooled
  # peak memory of each command, on 400 photos and on 4,000
  python -m tfcaption.benchmark memory --images photos/ --photos 400"""


@dataclass
class Row:
    """One candidate: what it is, and a value for each repeat."""

    name: str
    unit: str
    reference: str = ""  # the name of the row that the ratio is to
    values: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def median(self) -> float:
        """Of the repeats."""
        return statistics.median(self.values)


def table(rows: Sequence[Row]) -> str:
    """Rows as text: median, range, and how many times the reference's speed."""
    medians = {row.name: row.median for row in rows}
    lines = [f"{'':58} {'median':>10} {'range':>21} {'ratio':>8}"]
    for row in rows:
        ratio = f"{ratio_to(row, medians):7.2f}x" if row.reference else ""
        spread = f"{min(row.values):,.1f} - {max(row.values):,.1f}"
        lines.append(f"{row.name:58} {row.median:10,.1f} {spread:>21} {ratio:>8}  {row.unit}{row.note}")
    return "\n".join(lines)


def ratio_to(row: Row, medians: dict[str, float]) -> float:
    """How many times as fast (or as much) as its reference; a row in seconds is faster where it is smaller."""
    ratio = row.median / medians[row.reference]
    return 1 / ratio if row.unit == "s an epoch" else ratio


@contextmanager
def repeated_photos(images: str, count: int) -> Iterator[tuple[Path, Path, list[str]]]:
    """A Flickr8k layout of `count` photos: those below `images`, over and over, by links.

    Yields:
        The folder of the photos, the folder of the captions, and the photos' paths.
    """
    originals = baselines.find_photos(images)
    with tempfile.TemporaryDirectory() as name:
        folder, texts = Path(name) / "photos", Path(name) / "text"
        folder.mkdir()
        texts.mkdir()
        lines, paths = [], []
        for index in range(count):
            path = folder / f"photo_{index:06d}.jpg"
            path.symlink_to(originals[index % len(originals)].resolve())
            paths.append(str(path))
            lines += [f"{path.name}#{k}\tA photo of number {index % 50} .\n" for k in range(5)]
        (texts / "Flickr8k.token.txt").write_text("".join(lines))
        (texts / "Flickr_8k.trainImages.txt").write_text("".join(f"{Path(path).name}\n" for path in paths))
        yield folder, texts, paths


def _run(*arguments: object) -> None:
    done = subprocess.run([sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{arguments[0]} failed: {done.stderr.strip().splitlines()[-1]}")


def _seconds(work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


def benchmark_records(arguments: argparse.Namespace) -> list[Row]:
    """The Beam job, start-up included, against a loop over a pool of processes."""
    rows = []
    with repeated_photos(arguments.images, arguments.photos) as (folder, texts, paths), _scratch() as scratch:
        for workers in arguments.workers:
            plain = Row(f"plain loop, {workers} process(es)", "photos/s")
            beam = Row(f"build_records, {workers} worker(s)", "photos/s", plain.name)
            for repeat in range(arguments.repeats):
                target = scratch / f"plain-{workers}-{repeat}"
                target.mkdir()
                job = [*("--images", folder), *("--captions", texts), *("--output", scratch / f"{workers}-{repeat}")]
                # In a process of its own, as a user's script would be.
                loop = (
                    "from tfcaption.baselines import plain_records_loop as loop; import sys, pathlib\n"
                    "if __name__ == '__main__':\n"
                    "    paths = sorted(map(str, pathlib.Path(sys.argv[1]).iterdir()))\n"
                    f"    loop(paths, output=sys.argv[2], processes={workers}, image_size=224)\n"
                )
                script = scratch / "plain_loop.py"
                script.write_text(loop)
                command = [sys.executable, str(script), str(folder), str(target)]
                plain.values.append(
                    len(paths) / _seconds(lambda command=command: subprocess.run(command, check=True))  # type: ignore[misc]
                )
                beam.values.append(
                    len(paths)
                    / _seconds(
                        lambda job=job, workers=workers: _run(  # type: ignore[misc]
                            "beam_jobs.build_records", *job, "--min_count=1", f"--direct_num_workers={workers}"
                        )
                    )
                )
            rows += [plain, beam]
    return rows


def benchmark_extract(arguments: argparse.Namespace) -> list[Row]:
    """extract_features against one tf.data loop over the same model; both start-ups included."""
    plain = Row("plain tf.data loop", "photos/s")
    beam = Row("extract_features", "photos/s", plain.name)
    with repeated_photos(arguments.images, arguments.photos) as (folder, texts, paths), _scratch() as scratch:
        made = scratch / "records"
        _run("beam_jobs.build_records", "--images", folder, "--captions", texts, "--output", made, "--min_count=1")
        info = records.load_dataset_info(made)
        files = [str(made / shard.name) for split in info.splits.values() for shard in split.shards if shard.records]
        settings = {"image_size": 224, "weights": arguments.weights, "batch_size": 64, "output": str(scratch / "plain")}
        code = f"from tfcaption.baselines import plain_features_loop as loop; loop({files!r}, **{settings!r})"
        job = ["--records", made, "--stage=pooled", "--weights", arguments.weights]
        for repeat in range(arguments.repeats):
            plain.values.append(len(paths) / _seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True)))
            output = scratch / f"features-{repeat}"
            beam.values.append(
                len(paths)
                / _seconds(lambda output=output: _run("beam_jobs.extract_features", *job, "--output", output))  # type: ignore[misc]
            )
    return [plain, beam]


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def benchmark_input(arguments: argparse.Namespace) -> list[Row]:
    """Photos and captions a second of our pipelines against a Keras sequence and a pipeline over the files."""
    terminal.start_tensorflow()
    from tfcaption import input_pipeline
    from tfcaption.captioner import packs
    from tfcaption.config import TrainConfig
    from tfcaption.training import resolve_mode

    buckets = 1 if packs(resolve_mode(TrainConfig()).xla) else 8  # as a training by default
    info = records.load_dataset_info(arguments.records)
    size, batch = info.settings.image_size, 64
    paths = baselines.find_photos(arguments.images)
    captions = [[records.START, *[4] * 10, records.END]] * 100_000
    sequence = baselines.keras_sequence(paths, captions, longest=info.max_length, image_size=size, batch_size=batch)
    naive = Row("Keras sequence over files (a photo for each caption)", "captions/s")
    candidates: list[tuple[Row, Iterator[int]]] = [
        (naive, ((sequence[index % len(sequence)], batch)[1] for index in range(10**9))),
        (
            Row("tf.data list_files over files", "photos/s", naive.name),
            (len(images) for images in baselines.list_files_pipeline(paths, image_size=size, batch_size=batch)),
        ),
    ]

    def ours(folder: str, cache: bool, photos: bool) -> Iterator[int]:
        features = None if folder == arguments.records else records.load_features_info(folder)
        split = input_pipeline.open_split("train", info, folder, features, buckets=buckets, cache=cache)
        for found in input_pipeline.batches(split, batch_size_photos=batch, shuffle_seed=0, epochs=10**6):
            # Full batches hold each of these; the few at an epoch's end that are not full count as such too.
            yield len(found["inputs"]) if photos else found["tokens"].shape[0] * found["tokens"].shape[1]

    for folder in (arguments.records, *arguments.features):
        stage = "photo" if folder == arguments.records else records.load_features_info(folder).settings.stage
        for cache in (False, True):
            kept = "in memory" if cache else "streamed"
            for unit in ("captions",) if stage == "pooled" else ("photos",):
                row = Row(f"tfcaption from {stage}, {kept}", f"{unit}/s", naive.name)
                candidates.append((row, ours(folder, cache, unit == "photos")))
    for _, batches in candidates:
        for _ in range(3):
            next(batches)
    for _ in range(arguments.repeats):
        for row, batches in candidates:
            done, start = 0, time.monotonic()
            while time.monotonic() - start < arguments.seconds:
                done += next(batches)
            row.values.append(done / (time.monotonic() - start))
    return [row for row, _ in candidates]


def benchmark_train(arguments: argparse.Namespace) -> list[Row]:
    """Seconds of an epoch, from a stated number of steps, against Keras fit with the encoder in the graph."""
    terminal.start_tensorflow()
    rows: list[Row] = []
    for path in arguments.configs:
        config = load_config(path, arguments.set)
        rows += _train_rows(config, arguments)
    return rows


def _train_rows(config: Config, arguments: argparse.Namespace) -> list[Row]:
    import keras

    from tfcaption import train as command

    variant = config.model.variant
    with _scratch() as scratch:
        config.run = str(scratch / "run")
        config.train.epochs = 10**4
        run = runs.create_run(config)
        training = command._Training(run, 0, 1, terminal.StopRequest())
        batches, waits = _timed(training._iterator(training.train_split, shuffled=True), arguments.profile)
        total = run.info.split("train").captions
        naive = Row(f"Keras fit, encoder in the graph, {variant}", "s an epoch")
        name = f"tfcaption.train from {training.train_split.stage}, {variant}"
        ours = Row(name, "s an epoch", naive.name)
        training.trainer.train_steps(batches, 3)  # traces

        pairs = baselines.keras_sequence(
            baselines.find_photos(arguments.images),
            [[records.START, *[4 + k % 50 for k in range(10)], records.END]] * 100_000,
            longest=run.info.max_length,
            image_size=run.info.settings.image_size,
            batch_size=64,
        )
        model = baselines.keras_captioner(
            vocabulary_size=len(run.words),
            image_size=run.info.settings.image_size,
            weights=config.model.weights,
            gru_units=config.model.gru_units,
            dense_units=config.model.dense_units,
            finetuned=variant == "finetuned",
        )
        model.fit(pairs, steps_per_epoch=1, verbose=0)  # traces
        figures = []
        for _ in range(arguments.repeats):
            seconds = _seconds(lambda: model.fit(pairs, steps_per_epoch=arguments.naive_steps, verbose=0))
            naive.values.append(seconds / (64 * arguments.naive_steps) * total)
            waits.clear()
            start = time.monotonic()
            with _profile(arguments.profile):
                outcomes = training.trainer.train_steps(batches, arguments.steps)
            seconds = time.monotonic() - start
            captions = sum(outcome.captions for outcome in outcomes)
            tokens = sum(outcome.tokens for outcome in outcomes)
            ours.values.append(seconds / captions * total)
            figures.append(
                (captions / seconds, tokens / seconds, sum(waits) / seconds, _flops(training) * tokens / seconds)
            )
        rate, token_rate, wait, flops = (statistics.median(column) for column in zip(*figures, strict=True))
        ours.note = (
            f" ({rate:,.0f} captions/s, {token_rate:,.0f} real tokens/s, {wait:.1%} of the time waiting for input, "
            f"{flops / 1e9:,.0f} GFLOP/s for real tokens; a matrix product {_matrix_product() / 1e9:,.0f}; "
            f"from {arguments.steps} steps)"
        )
        naive.note = f" (from {arguments.naive_steps} steps of 64 captions)"
        keras.backend.clear_session()
        return [naive, ours]


def benchmark_search(arguments: argparse.Namespace) -> list[Row]:
    """Captions a second from pooled features: search in the graph against `model.predict` word by word."""
    terminal.start_tensorflow()
    import tensorflow as tf

    from tfcaption import input_pipeline, search

    run = runs.load_run(arguments.run)
    captioner, _ = runs.load_captioner(run)
    info = records.load_features_info(arguments.features)
    split = input_pipeline.open_split("dev", run.info, arguments.features, info, buckets=1, cache=False)
    batches = list(input_pipeline.batches(split, batch_size_photos=min(arguments.photos, split.photos)).take(1))
    features = tf.cast(batches[0]["inputs"], tf.float32)
    longest, count = run.info.max_length, len(features)
    predict = baselines.keras_word_by_word(captioner, longest=longest)
    naive = Row("model.predict word by word, greedy", "captions/s")
    rows: list[tuple[Row, Callable[[], object], int]] = [
        (naive, lambda: [predict(features[i : i + 1]) for i in range(arguments.naive_photos)], arguments.naive_photos)
    ]
    for compiled in (False, True):
        for beam in (1, 3, 5):

            @tf.function(jit_compile=compiled, autograph=False, reduce_retracing=True)
            def find(batch: tf.Tensor, beam: int = beam, compiled: bool = compiled) -> tf.Tensor:
                return search.beam_search(captioner, batch, max_tokens=longest, beam=beam, compiled=compiled).tokens

            def caption_all(find: Any = find) -> None:
                for start in range(0, count - arguments.batch_size + 1, arguments.batch_size):
                    find(features[start : start + arguments.batch_size]).numpy()

            name = f"{'greedy' if beam == 1 else f'beam {beam}'}, XLA {'on' if compiled else 'off'}"
            rows.append((Row(name, "captions/s", naive.name), caption_all, count - count % arguments.batch_size))
            find(features[: arguments.batch_size])  # traces
    predict(features[:1])
    for _ in range(arguments.repeats):
        for row, work, photos in rows:
            row.values.append(photos / _seconds(work))
    return [row for row, _, _ in rows]


def benchmark_memory(arguments: argparse.Namespace) -> list[Row]:
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
        with repeated_photos(arguments.images, count) as (folder, texts, _), _scratch() as scratch:
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
        raise ValueError(f"{command[0]} failed")
    return usage.ru_maxrss / 1000


def _timed(batches: Any, profile: str | None) -> tuple[Any, list[float]]:
    """The same batches, and the seconds that each was waited for."""
    import tensorflow as tf

    waits: list[float] = []

    def one_by_one() -> Iterator[Any]:
        for _ in range(10**9):
            start = time.monotonic()
            batch = next(batches)
            waits.append(time.monotonic() - start)
            yield batch

    return iter(tf.data.Dataset.from_generator(one_by_one, output_signature=batches.element_spec)), waits


@contextmanager
def _profile(folder: str | None) -> Iterator[None]:
    import tensorflow as tf

    if folder:
        tf.profiler.experimental.start(folder)
    yield
    if folder:
        tf.profiler.experimental.stop()


def _flops(training: Any) -> float:
    """Floating point operations that training one real token takes: forward, and twice that backward.

    The head's are spread over the tokens of all captions of a photo.
    """
    model, info = training.config.model, training.run.info
    words, units = len(training.run.words), model.gru_units
    embedding = training.trainer.captioner.decoder.embedding.output_dim
    decoder = 2 * (3 * units * (embedding + units) + units * model.dense_units + model.dense_units * words)
    if training.train_split.stage != "trunk":
        return 3 * decoder
    positions = training.train_split.shape[0] * training.train_split.shape[1]
    block = 2 * positions * (2 * 2048 * 512 + 9 * 512 * 512)
    split = info.split("train")
    return 3 * (decoder + 2 * block * split.photos / (split.tokens - split.captions))


def _matrix_product() -> float:
    """Floating point operations a second of one large float32 matrix product."""
    import tensorflow as tf

    a, b = tf.random.normal((4096, 1024)), tf.random.normal((1024, 3072))
    times = [_seconds(lambda: tf.matmul(a, b).numpy()) for _ in range(7)]
    return 2 * 4096 * 1024 * 3072 / statistics.median(times)


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = terminal.command_parser("tfcaption.benchmark", EXAMPLES)
    commands = parser.add_subparsers(required=True, metavar="records|extract|input|train|search|memory")
    for name, run in (
        ("records", benchmark_records),
        ("extract", benchmark_extract),
        ("input", benchmark_input),
        ("train", benchmark_train),
        ("search", benchmark_search),
        ("memory", benchmark_memory),
    ):
        command = commands.add_parser(name, help=run.__doc__, description=run.__doc__, allow_abbrev=False)
        command.set_defaults(measure=run)
        if name == "search":
            command.add_argument("--run", required=True, help="run directory of the frozen variant")
            command.add_argument("--features", required=True, help="pooled features that extract_features made")
            command.add_argument("--photos", type=int, default=1000, help="default: %(default)s")
            command.add_argument("--batch_size", type=int, default=100, help="default: %(default)s")
            command.add_argument("--naive_photos", type=int, default=10, help="default: %(default)s")
        else:
            command.add_argument("--images", required=True, help="folder of original JPEG photos")
        command.add_argument("--repeats", type=int, default=3, help="the median of so many (default: %(default)s)")
        command.add_argument("--json", help="file to write the figures to")
        if name in ("records", "extract", "memory"):
            default = {"records": 6000, "extract": 256, "memory": 400}[name]
            command.add_argument("--photos", type=int, default=default, help="by repetition (default: %(default)s)")
        if name == "records":
            command.add_argument("--workers", type=int, nargs="+", default=[1, os.cpu_count() or 1])
        if name == "extract":
            command.add_argument("--weights", default="imagenet", help="of ResNet50 (default: %(default)s)")
        if name == "input":
            command.add_argument("--records", required=True, help="folder that build_records wrote")
            command.add_argument("--features", nargs="*", default=[], help="folders that extract_features made of them")
            command.add_argument("--seconds", type=float, default=3.0, help="of each repeat (default: %(default)s)")
        if name == "train":
            command.add_argument("--configs", nargs="+", required=True, help="YAML files, as tfcaption.train takes")
            command.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
            command.add_argument("--steps", type=int, default=16, help="of ours a repeat (default: %(default)s)")
            command.add_argument("--naive_steps", type=int, default=3, help="of Keras fit (default: %(default)s)")
            command.add_argument("--profile", help="folder for a TensorBoard trace of our steps")
    arguments = parser.parse_args(argv)
    try:
        rows = arguments.measure(arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(rows))
    if arguments.json:
        medians = {row.name: row.median for row in rows}
        figures = [
            asdict(row) | {"median": row.median} | ({"ratio": ratio_to(row, medians)} if row.reference else {})
            for row in rows
        ]
        Path(arguments.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
