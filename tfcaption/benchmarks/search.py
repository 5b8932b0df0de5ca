"""Benchmark of beam search, beside `model.predict` word by word."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import tensorflow as tf

from tfcaption.benchmarks.baselines import keras_word_by_word
from tfcaption.benchmarks.harness import Row, cpu_seconds_of, seconds_of
from tfcaption.decoding.beam_search import SearchOptions, beam_search
from tfcaption.input_pipeline.batches import make_batches
from tfcaption.input_pipeline.options import NO_CACHE, BatchOptions
from tfcaption.input_pipeline.split import open_split
from tfcaption.models.captioner import Captioner
from tfcaption.records.dataset import Dataset
from tfcaption.records.dataset_info import load_features_info
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import Run, load_run, load_run_dataset, trainable_stages
from tfcaption.runtime.errors import UsageError

Search = Callable[[tf.Tensor], object]  # from features (photos, ...) to token ids
Candidate = tuple[Row, Search, list[tf.Tensor]]  # the search, and the batches that it captions

BEAMS = (1, 3, 5)  # greedy search first


def measure_search(
    *,
    run: Sequence[Path],
    features: Sequence[Path],
    photos: int,
    batch_size: int,
    naive_photos: int,
    xla: bool,
    cpu: bool,
    repeats: int,
) -> list[Row]:
    """Captions/s of each run: search in the graph against `model.predict` word by word; the encoder is not measured.

    Args:
        run: run directories, of any decoders.
        features: folders of features, from which each run takes the ones of a stage that it reads; empty: the features
            or photos that each run was trained from.
        photos: photos of the dev split to caption.
        batch_size: photos per call of the search.
        naive_photos: photos to caption word by word.
        xla: whether to measure the search with XLA, too.
        cpu: whether seconds are those of all cores together in this process, and not those of the clock.
        repeats: measurements of each.

    Raises:
        UsageError: none of the features is of a stage that a run reads.
    """
    runs = [(loaded, find_dataset(loaded, features)) for loaded in map(load_run, run)]
    rows = []
    for loaded, dataset in runs:
        captioner, _ = load_captioner(loaded)
        inputs, longest = _read_features(captioner, dataset, photos, batch_size), loaded.info.max_length
        batches = _batches(inputs, min(batch_size, len(inputs)))
        name, unit = f"{loaded.path} ({loaded.config.model.decoder})", f"captions/{'CPU-' if cpu else ''}s"
        naive = Row(f"{name}: model.predict word by word, greedy", unit)
        word_by_word = keras_word_by_word(captioner, longest=longest)
        candidates: list[Candidate] = [(naive, word_by_word, _batches(inputs[:naive_photos], 1))]
        for compiled in (False, True) if xla else (False,):
            for beam in BEAMS:
                kind = (f"beam {beam}" if beam > 1 else "greedy") + (", XLA" if compiled else "")
                search = _search(captioner, max_tokens=longest, beam=beam, compiled=compiled)
                candidates.append((Row(f"{name}: {kind}", unit, naive.name), search, batches))
        rows += _measure(candidates, cpu_seconds_of if cpu else seconds_of, repeats)
    return rows


def _measure(candidates: Sequence[Candidate], seconds: Callable[..., float], repeats: int) -> list[Row]:
    """The rows of one run with their values, and beside wider beams the time that greedy search takes."""
    for _, search, batches in candidates:
        search(batches[0])  # traces
    for _ in range(repeats):
        for row, search, batches in candidates:
            row.values.append(sum(map(len, batches)) / seconds(_search_all, search, batches))
    rows = [row for row, _, _ in candidates]
    for start in range(1, len(rows), len(BEAMS)):
        greedy, *wider = rows[start : start + len(BEAMS)]
        for row in wider:
            row.note = f", {greedy.median / row.median:.2f} times the time of greedy"
    return rows


def find_dataset(run: Run, features: Sequence[Path]) -> Dataset:
    """The features that a run reads, as for `measure_search`.

    Raises:
        UsageError: none of them is of a stage that the run reads.
    """
    if not features:
        return load_run_dataset(run)
    stages = trainable_stages(run.config.model)
    found = {load_features_info(folder).settings.stage: folder for folder in features}
    stage = next((stage for stage in stages if stage in found), None)
    if stage is None:
        raise UsageError(f"{run.path}: reads features of stage {' or '.join(stages)}; add such a folder to --features")
    data = run.config.data.model_copy(update={"features": str(found[stage])})
    return load_run_dataset(replace(run, config=run.config.model_copy(update={"data": data})))


def _read_features(captioner: Captioner, dataset: Dataset, photos: int, batch_size: int) -> tf.Tensor:
    """Features of the first dev photos for the decoder: (photos, ...) float32."""
    split = open_split("dev", dataset, buckets=1, cache=NO_CACHE)
    (batch,) = make_batches(split, BatchOptions(min(photos, split.photos))).take(1)
    inputs = batch["inputs"]
    parts = [inputs[start : start + batch_size] for start in range(0, len(inputs), batch_size)]
    return tf.concat([tf.cast(captioner.encode(part, split.stage), tf.float32) for part in parts], 0)


def _batches(inputs: tf.Tensor, size: int) -> list[tf.Tensor]:
    """Full batches of features; the rest of the photos is dropped."""
    return [inputs[start : start + size] for start in range(0, len(inputs) - size + 1, size)]


def _search_all(search: Search, batches: Sequence[tf.Tensor]) -> None:
    for batch in batches:
        search(batch)


def _search(captioner: Captioner, *, max_tokens: int, beam: int, compiled: bool) -> Search:
    """Beam search as a graph function."""

    options = SearchOptions(max_tokens=max_tokens, beam=beam)

    @tf.function(jit_compile=compiled, autograph=False, reduce_retracing=True)
    def search(features: tf.Tensor) -> tf.Tensor:
        return beam_search(captioner, features, options, compiled=compiled).tokens

    return lambda features: search(features).numpy()
