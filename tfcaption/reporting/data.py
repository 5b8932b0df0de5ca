"""Reads evaluated runs: scores, captions, logged metrics, and the photos of their captions.

Imports no TensorFlow.
"""

import io
import json
import shlex
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from tfcaption.evaluation.results import ATTENTION_GRID, LINES_FILE, score_protocol
from tfcaption.metrics.bootstrap import PhotoScores
from tfcaption.metrics.score_tokenizers import TREEBANK, ScoreTokenizer, score_tokenizer
from tfcaption.preprocessing import photos
from tfcaption.records.captions import grid_side
from tfcaption.records.dataset_info import DATASET_FILE, load_dataset_info
from tfcaption.records.examples import photo_of
from tfcaption.records.reading import check_shards, read_records
from tfcaption.records.tfrecord import RecordError
from tfcaption.runs.about import About, read_about
from tfcaption.runs.directory import Run, RunError, load_run
from tfcaption.runs.metrics_log import METRICS_FILE, STEPS_FILE, read_lines
from tfcaption.runtime.paths import files_below
from tfcaption.runtime.progress import Progress

PREFERRED_SPLITS = ("dev", "test", "train")


@dataclass(frozen=True)
class EvaluatedRun:
    """A run with its evaluation on one split."""

    name: str
    run: Run
    scores: dict[str, Any]  # metrics.json
    captions: dict[str, dict[str, Any]]  # photo id -> its line of captions.jsonl
    epochs: list[dict[str, Any]]  # lines of metrics.jsonl
    steps: list[dict[str, Any]]  # lines of steps.jsonl
    about: About

    @property
    def kept_epoch(self) -> int | None:
        """The epoch whose weights the run kept: the first with the best value of the metric that decides."""
        key = self.run.config.train.early_stopping_metric
        values = {line["epoch"]: line[key] for line in self.epochs if key in line}
        best = min if key == "dev_loss" else max
        return best(values, key=values.__getitem__) if values else None

    @property
    def evaluated(self) -> str:
        """Which checkpoint was evaluated, and how."""
        checkpoint, protocol = (str(self.scores.get(key, "unknown")) for key in ("checkpoint", "protocol"))
        return f"checkpoint {Path(checkpoint).name}; {protocol}"

    @property
    def attends(self) -> bool:
        """Whether its captions have attention."""
        return any(line.get("attention") for line in self.captions.values())

    @cached_property
    def attends_to_grid(self) -> bool:
        """Whether the regions of its attention form a grid over the photo."""
        sizes = {len(word["weights"]) for line in self.captions.values() for word in line.get("attention", ())}
        return self.scores.get(ATTENTION_GRID, True) and all(map(grid_side, sizes))

    @property
    def tokenizer(self) -> ScoreTokenizer:
        """Of its scores; evaluations of earlier versions do not name it."""
        return score_tokenizer(self.scores.get("score_tokenizer", TREEBANK.name))

    @property
    def search(self) -> str:
        """How its captions were searched; empty where that is unknown."""
        return str(self.scores.get("protocol", "")).removeprefix(score_protocol(self.tokenizer)).removeprefix(", ")


def read_runs(paths: Sequence[Path], split: str | None = None) -> tuple[str, list[EvaluatedRun]]:
    """Read runs and their evaluations.

    Args:
        paths: run directories.
        split: train, dev or test; None: the first of dev, test and train on which all runs were evaluated.

    Returns:
        The split, and the runs in the order of their paths.

    Raises:
        RunError: a directory is not a run, is given twice, was not evaluated or was scored by other tokens than the
            first; names the command that evaluates it.
    """
    split = split or _common_split(paths)
    runs = [_read_run(name, path, split) for name, path in zip(_names(paths), paths, strict=True)]
    for path, run in zip(paths, runs, strict=True):
        if run.tokenizer != runs[0].tokenizer:
            name = runs[0].tokenizer.name
            raise RunError(
                f"{paths[0]} was scored with --score_tokenizer {name}, {path} with {run.tokenizer.name}, so they "
                f"cannot be compared; run {_evaluation_of(paths, split)} --score_tokenizer {name}"
            )
    return split, runs


def common_photos(runs: Sequence[EvaluatedRun]) -> list[str]:
    """Sorted ids of the photos that all runs captioned.

    Raises:
        RunError: there are none.
    """
    ids = sorted(set.intersection(*(set(run.captions) for run in runs)))
    if not ids:
        raise RunError(f"{', '.join(str(run.run.path) for run in runs)}: captioned no photo in common")
    return ids


def run_captions(run: EvaluatedRun, ids: Sequence[str]) -> list[str]:
    """The run's caption of each photo."""
    return [run.captions[photo]["caption"] for photo in ids]


def all_references(run: EvaluatedRun, ids: Sequence[str]) -> list[str]:
    """All references of the photos, photo by photo."""
    return [reference for photo in ids for reference in run.captions[photo]["references"]]


def compared_scores(runs: Sequence[EvaluatedRun]) -> dict[str, dict[str, Any]]:
    """Scores of the constant caption and of people, as far as the evaluations of the runs have them."""
    found: dict[str, dict[str, Any]] = {}
    for key, name in (("constant", "constant caption"), ("human", "people")):
        for run in runs:  # a run without word vectors lacks some that another one has
            found[name] = {**run.scores.get(key, {}), **found.get(name, {})}
    return {name: scores for name, scores in found.items() if scores}


def photo_scores(runs: Sequence[EvaluatedRun], ids: Sequence[str]) -> list[PhotoScores]:
    """What each photo adds to the scores of each run, against the references that the run was evaluated with."""
    with Progress(len(runs), unit="runs", label="scoring") as progress:
        scores = []
        for run in runs:
            references = [run.captions[photo]["references"] for photo in ids]
            scores.append(PhotoScores.of(run_captions(run, ids), references, run.tokenizer.tokenize))
            progress.update(len(scores))
    return scores


def read_photos(
    ids: Collection[str], records: Path, split: str, *, size: int, images: Path | None = None
) -> dict[str, bytes]:
    """JPEGs of some photos of a split, by id, at most `size` pixels wide and high.

    Args:
        ids: of the photos.
        records: the records folder. Its photos are squares.
        split: train, dev or test.
        size: in pixels.
        images: folder of the photos that the records were made of, which have their own shape. It is not used where
            the records cropped the photos or put borders around them, since captioners see only that.

    Raises:
        RecordError: the records are missing or damaged, or lack some of the photos.
    """
    info = load_dataset_info(records)
    originals = _files_of(ids, images) if images and info.settings.resize == "squash" else {}
    size_of_records = min(size, info.settings.image_size)
    jpegs: dict[str, bytes] = {}
    with Progress(len(ids), unit="photos", label="reading photos") as progress:
        for shard in info.split(split, records).shards:
            if len(jpegs) == len(ids):
                break
            check_shards(records, [shard], description=DATASET_FILE, job="build_records", check_sizes=False)
            for serialized in read_records([str(records / shard.name)]):
                photo, jpeg = photo_of(serialized)
                if photo in ids:
                    small = _reduced(originals[photo], size) if photo in originals else None
                    jpegs[photo] = small or photos.prepare_photo(jpeg, image_size=size_of_records, resize="squash")
                    progress.update(len(jpegs))
    if missing := set(ids) - set(jpegs):
        raise RecordError(
            f"{records}: has no photo {min(missing)} in its {split} split; name the right records with --records"
        )
    return jpegs


def _files_of(ids: Collection[str], images: Path) -> dict[str, Path]:
    """The files of photos below a folder: those of the id's path, or the only one of its name."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    wanted = {PurePosixPath(photo).name for photo in ids}
    for file in files_below(images):
        if file.name in wanted:
            by_name[file.name].append(file)
    found = {}
    for photo in ids:
        named = by_name[PurePosixPath(photo).name]
        exact = [file for file in named if file == images / photo]
        if len(exact or named) == 1:
            (found[photo],) = exact or named
    return found


def _reduced(file: Path, size: int) -> bytes | None:
    """A photo in its own shape as a JPEG, at most `size` pixels wide and high; None where it cannot be read."""
    try:
        with Image.open(io.BytesIO(file.read_bytes()), formats=photos.FORMATS) as image:
            image.draft("RGB", (2 * size, 2 * size))
            reduced = photos.to_rgb(image)
    except Exception:  # a damaged file may raise any error in a decoder
        return None
    reduced.thumbnail((size, size))
    stream = io.BytesIO()
    reduced.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _common_split(paths: Sequence[Path]) -> str:
    for split in PREFERRED_SPLITS:
        if all(_scores_file(path, split).is_file() for path in paths):
            return split
    for path in paths:
        load_run(path)  # raises RunError if it is not a run directory
    split = next((s for s in PREFERRED_SPLITS if any(_scores_file(p, s).is_file() for p in paths)), PREFERRED_SPLITS[0])
    raise _not_evaluated([path for path in paths if not _scores_file(path, split).is_file()], split)


def _scores_file(path: Path, split: str) -> Path:
    return path / f"eval-{split}" / "metrics.json"


def _not_evaluated(paths: Sequence[Path], split: str) -> RunError:
    named = " ".join(map(str, paths))
    return RunError(f"{named}: not evaluated on the {split} split; run {_evaluation_of(paths, split)}")


def _evaluation_of(paths: Sequence[Path], split: str) -> str:
    """The command that evaluates runs, for a shell."""
    return f"python -m tfcaption.evaluate --run {shlex.join(map(str, paths))} --split {split}"


def _names(paths: Sequence[Path]) -> list[str]:
    """The folders' names; whole paths where two folders have the same name."""
    names = [path.resolve().name for path in paths]
    names = [str(path) if names.count(name) > 1 else name for path, name in zip(paths, names, strict=True)]
    if len(set(names)) < len(names):
        raise RunError(f"{max(names, key=names.count)}: is given twice; name each run once")
    return names


def _read_run(name: str, path: Path, split: str) -> EvaluatedRun:
    run = load_run(path)
    scores_file = _scores_file(path, split)
    if not scores_file.is_file():
        raise _not_evaluated([path], split)
    try:
        scores = json.loads(scores_file.read_text(encoding="utf-8"))
        captions = _read_captions(scores_file.with_name(LINES_FILE))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{scores_file.parent}: cannot be read ({error}); evaluate again with {_evaluation_of([path], split)}"
        ) from error
    epochs, steps = read_lines(path / METRICS_FILE), read_lines(path / STEPS_FILE)
    return EvaluatedRun(name, run, scores, captions, epochs, steps, read_about(path))


def _read_captions(path: Path) -> dict[str, dict[str, Any]]:
    # Not splitlines: a caption may contain other characters that end a line.
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    if not all(line["references"] and isinstance(line["caption"], str) for line in lines):
        raise ValueError("a photo has no caption or no references")
    return {line["id"]: line for line in lines}
