"""Evaluates runs, ensembles of runs, and files of captions: captions.jsonl and metrics.json."""

import dataclasses
import itertools
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from tfcaption.config import Config
from tfcaption.evaluation import caption_files
from tfcaption.evaluation.references import References, load_references
from tfcaption.evaluation.scores import score_captions
from tfcaption.metrics.corpus import ScoreError
from tfcaption.records.dataset_info import load_dataset_info, load_features_info
from tfcaption.records.examples import Stage
from tfcaption.records.sharding import shard_name
from tfcaption.runs.directory import RunError, load_features, load_run
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.paths import as_path
from tfcaption.runtime.process import start_tensorflow
from tfcaption.runtime.progress import Progress

PROTOCOL = "corpus scores, all raw references, Penn Treebank tokens without punctuation"


def evaluate(
    run_path: str | Path,
    *,
    split: str = "dev",
    beam: int = 3,
    limit: int | None = None,
    checkpoint: str = "best",
    records_path: str | None = None,
    expected: References | None = None,
    together_with: Sequence[str | Path] = (),
    output: str | Path | None = None,
) -> dict[str, Any]:
    """Caption and score every photo of a split once; no weight changes.

    Args:
        run_path: the run directory.
        split: train, dev or test.
        beam: how wide the search is; 1 is greedy.
        limit: score only so many photos, the first ones in the shards.
        checkpoint: `best` (by `train.early_stopping_metric`) or `last`.
        records_path: the records, if the data moved since the training; photos then go through ResNet50 again.
        expected: what `read_expected` gave for these records and this split, if that is at hand.
        together_with: other runs on the same records, whose captioners speak with it as an `Ensemble`.
        output: folder for `captions.jsonl` and `metrics.json`; None: `eval-SPLIT` in the run directory, or
            `eval-SPLIT-first-LIMIT`.

    Returns:
        What `metrics.json` holds: scores of the run, under `constant` those of the constant caption, and under
        `human` those of each photo's first reference against its others, where every photo has some.

    Raises:
        RunError: no run, no checkpoint, or records other than it was trained on.
        RecordError: there is no such split, or the records are damaged.
        ValueError: `beam` or `limit` is below 1.
    """
    check_positive(beam=beam, limit=limit)
    run, *others = (load_run(path) for path in (run_path, *together_with))
    config = run.config
    if records_path:
        config.data.records, config.data.features = records_path, None
    elif others:  # they may train from different stages: from the one that all can go on from
        config = min((each.config for each in (run, *others)), key=_stage_index)
    data = config.data
    for other in others:
        if other.info != run.info or other.words != run.words:
            raise RunError(f"{other.path}: was trained on other records than {run.path}")
    if load_dataset_info(data.records) != run.info:
        raise RunError(f"{data.records}: other records than {run.path} was trained on")
    run.info.split(split)
    start = time.monotonic()
    start_tensorflow()
    from tfcaption.evaluation.predictions import caption_split
    from tfcaption.input_pipeline.split import open_split
    from tfcaption.models.ensemble import CaptionModel, Ensemble
    from tfcaption.runs.checkpoints import load_captioner

    features = load_features(config, run.info)
    # By photo, and read once.
    opened = open_split(
        split, run.info, data.features or data.records, features, buckets=data.length_buckets, cache=False
    )
    loaded_first, used = load_captioner(run, checkpoint)
    captioner: CaptionModel = loaded_first
    if others:
        loaded = [load_captioner(other, checkpoint) for other in others]
        captioner = Ensemble([loaded_first, *(other for other, _ in loaded)])
        used = ", ".join([used, *(path for _, path in loaded)])
    expected = (expected or load_references(as_path(data.records), split)).first(limit)
    with (
        _first_photos(opened, limit) as some,
        Progress(some.photos, unit="photos", label=f"captioning {split}") as progress,
    ):
        spoken = caption_split(
            captioner,
            some,
            run.words,
            batch_size_photos=data.batch_size_photos,
            beam=beam,
            attention=True,
            progress=progress.update,
        )
    search = f"beam search, beam {beam}" if beam > 1 else "greedy search (beam 1)"
    scores, cosines = score_captions(spoken.captions, expected, run.config.model.glove)
    result = {
        "split": split,
        "protocol": f"{PROTOCOL}, {search}{_first(limit, run.info.splits[split].photos)}",
        "checkpoint": used,
        "beam": beam,
        **scores,
        "perplexity": spoken.perplexity,
        "token_accuracy": spoken.token_accuracy,
        "reference_oov_rate": run.info.splits[split].oov_rate,  # of the whole split
        "seconds": round(time.monotonic() - start, 1),
    }
    lines = [
        {
            "id": photo,
            "caption": caption,
            "score": spoken.nbest[photo][0].score,
            "nbest": [found._asdict() for found in spoken.nbest[photo]],
            "references": expected.by_photo[photo],
            **({"cosine": round(cosines[photo], 4)} if photo in cosines else {}),
            **({"attention": [word._asdict() for word in spoken.looked[photo]]} if spoken.looked else {}),
        }
        for photo, caption in sorted(spoken.captions.items())
    ]
    _write(as_path(output) if output else evaluation_folder(run.path, split, limit), result, lines)
    return result


def evaluation_folder(run_path: str | Path, split: str, limit: int | None) -> Path:
    """Where the scores of a run go: those of its first photos only never take the place of those of all."""
    return as_path(run_path) / (f"eval-{split}" if limit is None else f"eval-{split}-first-{limit}")


def _stage_index(config: Config) -> int:
    """How far the photos are through ResNet50 in what a run trains from."""
    features = config.data.features
    return get_args(Stage).index(load_features_info(features).settings.stage if features else "photo")


def evaluate_captions(
    path: str | Path,
    *,
    records_path: str | Path,
    split: str = "dev",
    limit: int | None = None,
    output: str | Path | None = None,
) -> dict[str, Any]:
    """Score captions made elsewhere against the references of some records.

    Args:
        path: as `caption_files.read_captions` reads it; must caption every photo of the split.
        records_path: the records.
        split: train, dev or test.
        limit: score only so many photos, the first ones in the shards.
        output: folder for `captions.jsonl` and `metrics.json`; None writes nothing.

    Returns:
        What `metrics.json` holds: as `evaluate` says, without what only a model can tell.

    Raises:
        ScoreError: the file is no such file, or leaves photos out.
        RecordError: there are no such records or split, or they are damaged.
        ValueError: `limit` is below 1.
    """
    check_positive(limit=limit)
    start = time.monotonic()
    if not as_path(path).is_file():
        raise ScoreError(f"{path}: no such file of captions")
    everything = load_references(as_path(records_path), split)
    captions = caption_files.read_captions(as_path(path), everything.by_photo)
    expected = everything.first(limit)
    missing = [photo for photo in expected.by_photo if photo not in captions]
    if missing:
        raise ScoreError(
            f"{path}: has no caption for {len(missing):,} of {len(expected.by_photo):,} photos of split {split}, "
            f"such as {missing[0]}; every photo must have one"
        )
    captions = {photo: captions[photo] for photo in expected.by_photo}
    scores, _ = score_captions(captions, expected, None)
    result = {
        "split": split,
        "protocol": PROTOCOL + _first(limit, len(everything.by_photo)),
        "captions": str(path),
        **scores,
        "seconds": round(time.monotonic() - start, 1),
    }
    if output is not None:
        lines = [
            {"id": photo, "caption": caption, "references": expected.by_photo[photo]}
            for photo, caption in sorted(captions.items())
        ]
        _write(as_path(output), result, lines)
    return result


def _first(limit: int | None, photos: int) -> str:
    return f", the first {limit} of {photos} photos" if limit is not None and limit < photos else ""


def check_positive(**numbers: int | None) -> None:
    """Refuse options below 1, by name."""
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise UsageError(f"--{name} {number}: must be at least 1")


@contextmanager
def _first_photos(split: Any, limit: int | None) -> Iterator[Any]:
    """The split with its first photos only, copied into one temporary shard; all of it for None."""
    if limit is None or limit >= split.photos:
        yield split
        return
    from tfcaption.records import tfrecord

    with tempfile.TemporaryDirectory(prefix="tfcaption-") as folder:
        shard = Path(folder) / shard_name(split.name, 0, 1)
        with shard.open("wb") as output:
            left = limit
            for file in split.files:
                with as_path(file).open("rb") as stream:
                    for frame in itertools.islice(tfrecord.read_frames(stream, file), left):
                        output.write(tfrecord.frame_record(frame))
                        left -= 1
        yield dataclasses.replace(
            split, files=[str(shard)], bytes=shard.stat().st_size, photos=limit, most_photos=limit
        )


def _write(folder: Path, result: dict[str, Any], lines: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "captions.jsonl").open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / "metrics.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
