"""All benchmarks in turn, each in a process of its own, into one JSON file that also describes the machine."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tfcaption.benchmarks.harness import BenchmarkError, Row, described_rows, read_rows, run_module, scratch_folder
from tfcaption.benchmarks.machine import Machine
from tfcaption.config import Config, save_config
from tfcaption.records.dataset_info import DatasetInfo, load_dataset_info
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.paths import atomic_path

BENCHMARK = "tfcaption.benchmark"


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    drawn_photos: int  # where the user brings none
    image_size: int  # pixels of the records, both sides
    units: int  # of the GRU and of the dense layer
    epochs: int  # of the run whose captions are measured
    records_photos: int
    extract_photos: int
    memory_photos: int  # and ten times as many
    search_photos: int
    naive_photos: int  # captioned word by word
    seconds: float  # of each measurement that goes on for a time
    steps: int
    naive_steps: int
    repeats: int


FULL = Sizes(
    drawn_photos=1000,
    image_size=224,
    units=512,
    epochs=3,
    records_photos=2000,
    extract_photos=256,
    memory_photos=200,
    search_photos=100,
    naive_photos=10,
    seconds=5.0,
    steps=16,
    naive_steps=8,
    repeats=3,
)
# Proves that all of it runs; its figures say nothing.
QUICK = Sizes(
    drawn_photos=40,
    image_size=32,
    units=16,
    epochs=1,
    records_photos=20,
    extract_photos=8,
    memory_photos=10,
    search_photos=4,
    naive_photos=1,
    seconds=0.05,
    steps=2,
    naive_steps=1,
    repeats=1,
)


@dataclass(frozen=True)
class Prepared:
    """What the benchmarks read."""

    folder: Path  # of all but the photos
    images: Path

    @property
    def records(self) -> Path:
        """Records of the photos."""
        return self.folder / "records"

    def features(self, stage: str) -> Path:
        """Features of the records."""
        return self.folder / stage

    def config(self, name: str) -> Path:
        """The config of a variant, `frozen` or `finetuned`, or of the CIDEr phase, `cider`."""
        return self.folder / f"{name}.yaml"

    @property
    def run(self) -> Path:
        """A run of the frozen variant."""
        return self.folder / "run"


@dataclass(frozen=True)
class Measured:
    """What one benchmark gave."""

    name: str
    command: str  # without the folder of the prepared data
    seconds: float
    rows: list[Row] = field(default_factory=list)
    failure: str = ""


def measure_all(*, images: Path | None, captions: Path | None, quick: bool, output: Path) -> Iterator[Measured]:
    """Prepare data, and measure everything that needs no GPU.

    A benchmark that fails is named in the file, and the next one is measured.

    Args:
        images: folder of JPEG photos; None: drawn ones.
        captions: of those photos, as `build_records` takes them.
        quick: as small as possible, to try everything.
        output: file for the figures, written again after each benchmark.

    Yields:
        The result of each benchmark.

    Raises:
        UsageError: photos without captions, or captions without photos.
        BenchmarkError: the data cannot be prepared.
    """
    if (images is None) != (captions is None):
        raise UsageError("--images and --captions belong together; name both, or none for drawn photos")
    sizes, machine = QUICK if quick else FULL, Machine()
    with scratch_folder() as folder:
        prepared = prepare(folder, images, captions, sizes)
        info, done = load_dataset_info(prepared.records), list[Measured]()
        for name, arguments in planned(prepared, sizes).items():
            done.append(measure(name, arguments, folder))
            _write(output, machine, info, done, drawn=images is None, quick=quick)
            yield done[-1]


def prepare(folder: Path, images: Path | None, captions: Path | None, sizes: Sizes) -> Prepared:
    """Records, features of two stages, configs of both variants, and a run, all with an encoder of random weights.

    Raises:
        BenchmarkError: a command fails.
    """
    own: tuple[str, ...] = ()
    if images is None or captions is None:
        run_module("tfcaption.sample_data", "--output", folder / "sample", "--photos", sizes.drawn_photos)
        images, captions = folder / "sample" / "Flicker8k_Dataset", folder / "sample" / "Flickr8k_text"
        own = ("--min_count=1",)  # its few words all count
    prepared = Prepared(folder, images)
    source = ("--images", images, "--captions", captions, *own)
    run_module("beam_jobs.build_records", *source, "--output", prepared.records, "--image_size", sizes.image_size)
    extract = ("beam_jobs.extract_features", "--records", prepared.records, "--weights=random")
    trunk, pooled = prepared.features("trunk"), prepared.features("pooled")
    run_module(*extract, "--output", trunk, "--stage=trunk")
    run_module(*extract, "--features", trunk, "--output", pooled, "--stage=pooled")
    cider = {"objective": "cider", "start_from": str(prepared.run)}
    for name, variant, features, phase in (
        ("frozen", "frozen", pooled, {}),
        ("finetuned", "finetuned", trunk, {}),
        ("cider", "frozen", pooled, cider),
    ):
        config = {
            "run": str(prepared.folder / "unwritten" if phase else prepared.run),
            "data": {"records": str(prepared.records), "features": str(features)},
            "model": {
                "variant": variant,
                "weights": "random",
                "gru_units": sizes.units,
                "dense_units": sizes.units,
            },
            "train": {"epochs": sizes.epochs, "shown_photos": 0, **phase},
        }
        save_config(Config.model_validate(config), prepared.config(name))
    run_module("tfcaption.train", "--config", prepared.config("frozen"))
    return prepared


def planned(prepared: Prepared, sizes: Sizes) -> dict[str, Sequence[object]]:
    """The arguments of each benchmark, in the order in which they are measured."""
    images, pooled, trunk = ("--images", prepared.images), prepared.features("pooled"), prepared.features("trunk")
    configs = (prepared.config("frozen"), prepared.config("finetuned"))
    steps = ("--steps", sizes.steps, "--naive_steps", sizes.naive_steps)
    searched = ("--photos", sizes.search_photos, "--naive_photos", sizes.naive_photos)
    arguments: dict[str, Sequence[object]] = {
        "records": (*images, "--photos", sizes.records_photos),
        "extract": (*images, "--photos", sizes.extract_photos, "--weights=random"),
        "input": (
            *(*images, "--records", prepared.records, "--features", pooled, trunk),
            *("--seconds", sizes.seconds),
        ),
        "train": (*images, "--configs", *configs, *steps),
        "cider": ("--configs", prepared.config("cider"), "--steps", sizes.steps),
        "search": ("--run", prepared.run, "--features", pooled, *searched),
        "serve": (*images, "--model", prepared.run, "--seconds", sizes.seconds),
        "memory": (*images, "--photos", sizes.memory_photos),
    }
    return {name: (*given, "--repeats", sizes.repeats) for name, given in arguments.items()}


def measure(name: str, arguments: Sequence[object], folder: Path) -> Measured:
    """Run one benchmark in a process of its own.

    Args:
        name: of the benchmark.
        arguments: of its command.
        folder: for its figures; the command that is shown does not name it.
    """
    shown = " ".join([name, *(str(argument).removeprefix(f"{folder}/") for argument in arguments)])
    file, start = folder / f"{name}.json", time.monotonic()
    rows, failure = [], ""
    try:
        run_module(BENCHMARK, name, *arguments, "--json", file)
        rows = [
            replace(row, name=row.name.replace(f"{folder}/", ""), reference=row.reference.replace(f"{folder}/", ""))
            for row in read_rows(file)
        ]
    except BenchmarkError as error:
        failure = str(error)
    return Measured(name, f"python -m {BENCHMARK} {shown}", round(time.monotonic() - start, 1), rows, failure)


def _write(
    output: Path, machine: Machine, info: DatasetInfo, measured: Sequence[Measured], *, drawn: bool, quick: bool
) -> None:
    """Write everything that is known so far."""
    data = {
        "photos": sum(split.photos for split in info.splits.values()),
        "captions": sum(split.captions for split in info.splits.values()),
        "words": info.vocabulary_size,
        "image_size": info.settings.image_size,
        "drawn": drawn,
    }
    benchmarks = [asdict(one) | {"rows": described_rows(one.rows)} for one in measured]
    content = {"machine": asdict(machine), "data": data, "quick": quick, "benchmarks": benchmarks}
    with atomic_path(output) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
