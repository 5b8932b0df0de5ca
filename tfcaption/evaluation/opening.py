"""Opens what several kinds of evaluation read: the captioners of runs on the same records, a split's first photos."""

import dataclasses
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tfcaption.input_pipeline.split import Split
from tfcaption.models.captioner import Captioner
from tfcaption.records.dataset import Dataset
from tfcaption.records.reading import read_records
from tfcaption.records.sharding import shard_name
from tfcaption.records.tfrecord import frame_record
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import Run, RunError, load_run_dataset


def open_runs(runs: Sequence[Run], dataset: Dataset, checkpoint: str) -> tuple[list[Captioner], str, Dataset]:
    """The captioners of runs, to be used together.

    Args:
        runs: trained on the same records, with any decoders.
        dataset: of the earliest stage that any of them trains from.
        checkpoint: `best` or `last`.

    Returns:
        The captioners, the paths of their checkpoints as one text, and the dataset that all can start from: the given
        one, or the photos of its records if it holds features of another encoder than some run has.

    Raises:
        RunError: the runs were trained on different records, or have no such checkpoint.
    """
    first, *others = runs
    for other in others:
        if other.info != first.info or other.vocabulary != first.vocabulary:
            raise RunError(f"{other.path}: trained on other records than {first.path}")
    captioners, checkpoints = zip(*(load_captioner(run, checkpoint) for run in runs), strict=True)
    stored = dataset.features
    if stored and all(each.encoder.fingerprint(dataset.stage) == stored.settings.weights for each in captioners):
        return list(captioners), ", ".join(checkpoints), dataset
    if imports := [run.path for run in runs if run.config.model.imports_features]:
        raise RunError(
            f"{imports[0]}: reads features that were made elsewhere, so it goes together only with runs on the same "
            "features"
        )
    photos = load_run_dataset(first, dataset.records) if stored else dataset
    return list(captioners), ", ".join(checkpoints), photos


@contextmanager
def first_photos(split: Split, limit: int | None) -> Iterator[Split]:
    """The split with its first photos only, copied into one temporary shard; all of it for None."""
    if limit is None or limit >= split.photos:
        yield split
        return
    with tempfile.TemporaryDirectory(prefix="tfcaption-") as folder:
        shard = Path(folder) / shard_name(split.name, 0, 1)
        with shard.open("wb") as stream:
            for record in itertools.islice(read_records(split.files), limit):
                stream.write(frame_record(record))
        size = shard.stat().st_size
        yield dataclasses.replace(
            split, files=[str(shard)], further_views=[], bytes=size, photos=limit, most_photos_of_a_host=limit
        )
