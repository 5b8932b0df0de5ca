"""Benchmark of beam search, beside `model.predict` word by word."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import tensorflow as tf

from tfcaption.benchmarks.baselines import keras_word_by_word
from tfcaption.benchmarks.harness import Row, seconds_of
from tfcaption.decoding.beam_search import SearchOptions, beam_search
from tfcaption.input_pipeline.batches import make_batches
from tfcaption.input_pipeline.options import NO_CACHE, BatchOptions
from tfcaption.input_pipeline.split import open_split
from tfcaption.models.captioner import Captioner
from tfcaption.records.dataset_info import load_features_info
from tfcaption.runs.checkpoints import load_captioner
from tfcaption.runs.directory import load_run

Search = Callable[[tf.Tensor], object]  # from features (photos, ...) to token ids


def measure_search(
    *, run: Path, features: Path, photos: int, batch_size: int, naive_photos: int, repeats: int
) -> list[Row]:
    """Captions/s from pooled features: search in the graph against `model.predict` word by word.

    Args:
        run: run directory of the frozen variant.
        features: pooled features that extract_features wrote.
        photos: photos of the dev split to caption.
        batch_size: photos per call of the search.
        naive_photos: photos to caption word by word.
        repeats: measurements of each.
    """
    loaded = load_run(run)
    captioner, _ = load_captioner(loaded)
    dataset = replace(loaded.dataset, features_folder=features, features=load_features_info(features))
    split = open_split("dev", dataset, buckets=1, cache=NO_CACHE)
    (batch,) = make_batches(split, BatchOptions(min(photos, split.photos))).take(1)
    inputs, longest = tf.cast(batch["inputs"], tf.float32), loaded.info.max_length
    naive = Row("model.predict word by word, greedy", "captions/s")
    word_by_word = keras_word_by_word(captioner, longest=longest)
    candidates: list[tuple[Row, Search, list[tf.Tensor]]] = [(naive, word_by_word, _batches(inputs[:naive_photos], 1))]
    for compiled in (False, True):
        for beam in (1, 3, 5):
            name = f"{'greedy' if beam == 1 else f'beam {beam}'}, XLA {'on' if compiled else 'off'}"
            search = _search(captioner, max_tokens=longest, beam=beam, compiled=compiled)
            batches = _batches(inputs, min(batch_size, len(inputs)))
            candidates.append((Row(name, "captions/s", naive.name), search, batches))
    for _, search, batches in candidates:
        search(batches[0])  # traces
    for _ in range(repeats):
        for row, search, batches in candidates:
            row.values.append(sum(map(len, batches)) / seconds_of(_search_all, search, batches))
    return [row for row, _, _ in candidates]


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
