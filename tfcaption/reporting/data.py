"""What evaluated runs left behind: scores, captions, histories, and the photos that they were scored on.

Imports no TensorFlow.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfcaption.metrics.corpus import corpus_scores
from tfcaption.preprocessing import photos
from tfcaption.records import tfrecord
from tfcaption.records.dataset_info import load_dataset_info
from tfcaption.records.examples import photo_of
from tfcaption.records.tfrecord import RecordError
from tfcaption.runs.directory import Run, RunError, load_run
from tfcaption.runs.metrics_log import METRICS_FILE, STEPS_FILE
from tfcaption.runtime.paths import as_path
from tfcaption.runtime.progress import Progress

PREFERRED_SPLITS = ("dev", "test", "train")


@dataclass(frozen=True)
class Evaluated:
    """A run and what `tfcaption.evaluate` wrote of it."""

    name: str
    run: Run
    scores: dict[str, Any]  # metrics.json
    lines: dict[str, dict[str, Any]]  # of captions.jsonl, by photo id
    epochs: list[dict[str, Any]]  # of metrics.jsonl
    steps: list[dict[str, Any]]  # of steps.jsonl


def read_runs(paths: Sequence[Path], split: str | None = None) -> tuple[str, list[Evaluated]]:
    """Read runs and their evaluations.

    Args:
        paths: run directories.
        split: train, dev or test; None: the one that all runs were evaluated on, dev before test before train.

    Returns:
        The split, and the runs in the order of their paths.

    Raises:
        RunError: a directory is no run or is given twice, or was not evaluated; names the command to do so.
    """
    split = split or _common_split(paths)
    return split, [_read_run(name, path, split) for name, path in zip(_names(paths), paths, strict=True)]


def common_photos(evaluated: Sequence[Evaluated]) -> list[str]:
    """Ids of the photos that all runs captioned, in order.

    Raises:
        RunError: there is none.
    """
    ids = sorted(set.intersection(*(set(run.lines) for run in evaluated)))
    if not ids:
        raise RunError(f"{', '.join(str(run.run.path) for run in evaluated)}: captioned no photo in common")
    return ids


def captions_by_run(evaluated: Sequence[Evaluated], ids: Sequence[str]) -> dict[int | None, list[str]]:
    """The captions of each run by its number, and under None all references."""
    captions: dict[int | None, list[str]] = {
        index: [run.lines[photo]["caption"] for photo in ids] for index, run in enumerate(evaluated)
    }
    captions[None] = [reference for photo in ids for reference in evaluated[0].lines[photo]["references"]]
    return captions


def photo_scores(evaluated: Sequence[Evaluated], ids: Sequence[str]) -> np.ndarray:
    """The ROUGE-L of each caption against all references of its photo: (photos, runs) float64, from 0 to 1."""
    scores = np.zeros((len(ids), len(evaluated)))
    with Progress(len(ids), unit="photos", label="scoring") as progress:
        for row, photo in enumerate(ids):
            for column, run in enumerate(evaluated):
                line = run.lines[photo]
                found = corpus_scores({photo: line["caption"]}, {photo: line["references"]})
                scores[row, column] = found["rouge_l"]
            progress.update(row + 1)
    return scores


def read_photos(ids: Collection[str], folder: str | Path, split: str, *, size: int) -> dict[str, bytes]:
    """The JPEGs of some photos of a split, by id, at most `size` pixels wide.

    Raises:
        RecordError: the records are not there, are damaged, or have not all of the photos.
    """
    info = load_dataset_info(folder)
    size = min(size, info.settings.image_size)
    found: dict[str, bytes] = {}
    with Progress(len(ids), unit="photos", label="reading photos") as progress:
        for shard in info.split(split).shards:
            path = as_path(folder) / shard.name
            if not path.is_file():
                raise RecordError(f"{path}: no such file; run build_records again")
            with path.open("rb") as stream:
                for serialized in tfrecord.read_frames(stream, str(path)):
                    photo, jpeg = photo_of(serialized)
                    if photo in ids:
                        found[photo] = photos.prepare_photo(jpeg, image_size=size, resize="squash")
                        progress.update(len(found))
            if len(found) == len(ids):
                return found
    missing = min(set(ids) - set(found))
    raise RecordError(f"{folder}: has no photo {missing} in its {split} split; name the right ones with --records")


def _common_split(paths: Sequence[Path]) -> str:
    for split in PREFERRED_SPLITS:
        if all(_evaluation(path, split).is_file() for path in paths):
            return split
    for path in paths:
        load_run(path)  # says so if it is none
    split = next((s for s in PREFERRED_SPLITS if any(_evaluation(p, s).is_file() for p in paths)), PREFERRED_SPLITS[0])
    raise _not_evaluated([path for path in paths if not _evaluation(path, split).is_file()], split)


def _evaluation(path: Path, split: str) -> Path:
    return path / f"eval-{split}" / "metrics.json"


def _not_evaluated(paths: Sequence[Path], split: str) -> RunError:
    named = " ".join(map(str, paths))
    return RunError(
        f"{named}: not evaluated on the {split} split; run python -m tfcaption.evaluate --run {named} --split {split}"
    )


def _names(paths: Sequence[Path]) -> list[str]:
    """The folders' names, or whole paths where two are called the same."""
    names = [path.resolve().name for path in paths]
    names = [str(path) if names.count(name) > 1 else name for path, name in zip(paths, names, strict=True)]
    if len(set(names)) < len(names):
        raise RunError(f"{max(names, key=names.count)}: is given twice; name each run once")
    return names


def _read_run(name: str, path: Path, split: str) -> Evaluated:
    run = load_run(path)
    file = _evaluation(path, split)
    if not file.is_file():
        raise _not_evaluated([path], split)
    try:
        scores = json.loads(file.read_text(encoding="utf-8"))
        lines = {line["id"]: line for line in _read_lines(file.with_name("captions.jsonl"))}
        if not all(line["references"] and isinstance(line["caption"], str) for line in lines.values()):
            raise ValueError("a photo has no caption or no references")
    except (OSError, ValueError, KeyError, TypeError) as error:
        again = f"python -m tfcaption.evaluate --run {path} --split {split}"
        raise RunError(f"{file.parent}: not readable ({error}); evaluate again with {again}") from error
    epochs, steps = (_read_history(path / name) for name in (METRICS_FILE, STEPS_FILE))
    return Evaluated(name, run, scores, lines, epochs, steps)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    # Not splitlines: a caption may hold one of the other characters that end a line.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def _read_history(path: Path) -> list[dict[str, Any]]:
    """What is there of a file that a training may be writing, or was killed while writing."""
    lines: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").split("\n") if path.is_file() else ():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines
