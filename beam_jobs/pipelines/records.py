"""The Beam pipeline of `build_records`: captions -> words -> vocabulary; `record_shards.py` has the steps after that.

Captions travel in chunks of 50,000, and the worker process that gets a chunk imports TensorFlow to tokenize it (4 s,
0.5 GB). A data set like Flickr8k is one chunk, so one process pays once. Every other process never imports TensorFlow:
it only reads photos and writes shards, and looks token ids up in a plain dictionary.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, replace
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.errors import JobFailed, SourceError
from beam_jobs.execution.finish import REJECTED, rejection
from beam_jobs.execution.output_folder import RECORDS, remove_previous
from beam_jobs.execution.paths import as_path
from beam_jobs.execution.reading import read_if_exists, read_shard
from beam_jobs.execution.rejection_files import line_in_file
from beam_jobs.execution.rejections import RejectionCounts, check_rejected, named_reasons
from beam_jobs.execution.runner import run_pipeline
from beam_jobs.execution.shard_writer import write_shard, write_text
from beam_jobs.pipelines.record_shards import BuildContext, TokenizedPhoto, add_shard_steps
from beam_jobs.sources.base import CaptionedPhoto, Listing, Location
from tfcaption.records.dataset_info import (
    REJECTED_FILE,
    DatasetInfo,
    RecordSettings,
    Rejection,
    load_dataset_info,
    rejected_lines,
)
from tfcaption.records.sharding import automatic_shard_count, shard_index, shard_name
from tfcaption.records.statistics import Totals, VocabularyCounts
from tfcaption.records.vocabulary import SPECIAL_TOKENS, vocabulary_words
from tfcaption.runtime.errors import UsageError

CAPTIONS_PER_CHUNK = 50_000
MOST_PHOTOS_PER_SHARD = 10_000  # a worker sorts the words of a shard's photos in memory, some 4 KB a photo
_COUNTS = "counts"

Item = TypeVar("Item")


def check_listing(listing: Listing, *, output: str, max_rejected: float | None) -> None:
    """Check, before any photo is read, that enough of a listing is left.

    Otherwise `rejected.jsonl` is written, unless the output holds complete records, which stay as they are.

    Args:
        listing: its photos, captions and rejections.
        output: folder for the records.
        max_rejected: largest share of photos or captions that may be rejected; None: see `rejections_allowed`.

    Raises:
        JobFailed: too much was rejected.
        SourceError: no photo is left to train on.
    """
    keeps_records = read_if_exists(output, RECORDS.description) is not None
    file = "" if keeps_records else FileSystems.join(output, REJECTED_FILE)
    try:
        rejected = RejectionCounts.of(listing.rejections)
        check_rejected(rejected, "photo", listing.photos_in, max_rejected, file)
        check_rejected(rejected, "caption", listing.captions_in, max_rejected, file)
        if not any(photo.split == "train" for photo in listing.photos):
            found = ", ".join(f"{count:,} in {split}" for split, count in _split_sizes(listing).items()) or "no photo"
            lost = named_reasons(rejected)
            cure = "; add photos, or divide them anew by --shares" if listing.photos else ""
            raise SourceError(f"no photo is left for the training split: {found}{lost and f'; {lost}'}{cure}")
    except (JobFailed, SourceError):
        if file:
            write_text(output, REJECTED_FILE, rejected_lines(listing.rejections))
        raise


def run(
    listing: Listing,
    settings: RecordSettings,
    options: PipelineOptions,
    *,
    output: str,
    max_rejected: float | None,
    overwrite: bool = False,
) -> DatasetInfo | None:
    """Write the records of a data set.

    Shards that an earlier run wrote are kept if they were made from the same settings, photos and captions.

    Args:
        listing: its photos and captions.
        settings: all that decides the bytes.
        options: Beam's.
        output: folder for the records, any path that Beam's filesystems know; records in it are replaced.
        max_rejected: see `check_listing`.
        overwrite: keep no shard.

    Returns:
        The description of the records, as written; None for a dry run or a template.

    Raises:
        UsageError: the shards would be too large.
        JobFailed: too much was rejected, or records were lost.
    """
    remove_previous(output, RECORDS, keep_shards=not overwrite)
    pipeline = beam.Pipeline(options=options)
    add_steps(pipeline, listing, settings, output=output, max_rejected=max_rejected)
    finished = run_pipeline(pipeline, output, total=len(listing.photos), unit="photos", label="writing records")
    return load_dataset_info(as_path(output)) if finished else None


def add_steps(
    pipeline: beam.Pipeline, listing: Listing, settings: RecordSettings, *, output: str, max_rejected: float | None
) -> None:
    """Add all steps of the job to an empty pipeline, for any runner; see `run` for the arguments."""
    shard_counts = _shard_counts(listing, settings.shards)
    # The listing goes through files, since a pipeline must stay small: Dataflow takes at most 20 MB, the captions of
    # 50,000 photos.
    photo_files = _write_listing(output, "listing", _chunks(listing.photos), astuple)
    (rejection_file,) = _write_listing(output, "rejections", [listing.rejections], Rejection.model_dump)
    tokenized = (
        pipeline
        | "Listing" >> beam.Create(photo_files, reshuffle=True)
        | "ReadListing" >> beam.Map(_read_photos, output)
        | "Tokenize"
        >> beam.ParDo(Tokenize(shard_counts, settings.seed, first=listing.photos[0].id)).with_outputs(
            _COUNTS, REJECTED, main="photos"
        )
    )
    vocabulary = (
        tokenized[_COUNTS]
        | "CountWords" >> beam.CombineGlobally(_merge_counts)
        | "Vocabulary" >> beam.Map(_count_vocabulary, settings.min_count)
    )
    listed = (
        pipeline
        | "Rejections" >> beam.Create([rejection_file])
        | "ReadRejections" >> beam.FlatMap(_read_rejections, output)
    )
    totals = pipeline | "Totals" >> beam.Create([Totals(listing.photos_in, listing.captions_in)])
    build = BuildContext(settings, output, max_rejected)
    rejections = [listed, tokenized[REJECTED]]
    add_shard_steps(tokenized["photos"], vocabulary, totals, rejections, build=build)


def _shard_counts(listing: Listing, shards: int | None) -> dict[str, int]:
    """Shards of each split: `shards` for the largest, the others in proportion; by their photos where it is None."""
    sizes = _split_sizes(listing)
    if shards is None:
        return {split: automatic_shard_count(size) for split, size in sizes.items()}
    least = -(-max(sizes.values()) // MOST_PHOTOS_PER_SHARD)
    if shards < least:
        raise UsageError(
            f"--shards {shards}: more than {MOST_PHOTOS_PER_SHARD:,} photos in a shard; name {least:,} or more, or auto"
        )
    return {split: max(1, round(shards * size / max(sizes.values()))) for split, size in sizes.items()}


def _split_sizes(listing: Listing) -> Counter[str]:
    return Counter(photo.split for photo in listing.photos)


def _chunks(photos: Iterable[CaptionedPhoto]) -> Iterator[list[CaptionedPhoto]]:
    """Photos in chunks of about `CAPTIONS_PER_CHUNK` captions."""
    chunk: list[CaptionedPhoto] = []
    captions = 0
    for photo in photos:
        chunk.append(photo)
        captions += len(photo.captions)
        if captions >= CAPTIONS_PER_CHUNK:
            yield chunk
            chunk, captions = [], 0
    if chunk:
        yield chunk


def _write_listing(
    output: str, prefix: str, chunks: Iterable[Sequence[Item]], as_json: Callable[[Item], Any]
) -> list[str]:
    """Write each chunk into a file that is named as a shard, so that the final step removes it; returns the names.

    Args:
        output: the job's output folder.
        prefix: first part of the names.
        chunks: items to write.
        as_json: turns an item into something that JSON can hold.
    """
    chunks = list(chunks)
    names = [shard_name(prefix, index, len(chunks)) for index in range(len(chunks))]
    for name, chunk in zip(names, chunks, strict=True):
        write_shard(output, name, (json.dumps(as_json(item)).encode() for item in chunk))
    return names


def _read_photos(name: str, output: str) -> list[CaptionedPhoto]:
    return [
        CaptionedPhoto(photo, Location(*location), tuple(captions), split, tuple(source_ids))
        for photo, location, captions, split, source_ids in map(json.loads, read_shard(output, name))
    ]


def _read_rejections(name: str, output: str) -> Iterator[tuple[int, bytes]]:
    return (line_in_file(Rejection(**json.loads(data))) for data in read_shard(output, name))


class Tokenize(beam.DoFn):
    """A chunk of photos -> (shard name, TokenizedPhoto) for each; word counts of the training split; rejections.

    The chunk of the photo `first` also gives (shard name, None) for every shard, so that empty shards are written.
    """

    def __init__(self, shards: dict[str, int], seed: int, *, first: str) -> None:
        self._shards, self._seed, self._first = shards, seed, first

    def process(self, chunk: list[CaptionedPhoto]) -> Iterator[Any]:
        """Tokenize all captions of the chunk in one TensorFlow call."""
        import tensorflow as tf  # here: only the process that tokenizes pays for TensorFlow

        from tfcaption.preprocessing.tokenizer import tokenize

        if chunk[0].id == self._first:
            for split, count in self._shards.items():
                yield from ((shard_name(split, index, count), None) for index in range(count))
        captions = [caption for photo in chunk for caption in photo.captions]
        tokenized = iter(tokenize(tf.constant(captions)).to_list())
        counts: Counter[str] = Counter()
        for photo in chunk:
            words = [tuple(word.decode() for word in next(tokenized)) for _ in photo.captions]
            kept = [(caption, w) for caption, w in zip(photo.captions, words, strict=True) if w]
            for caption, w in zip(photo.captions, words, strict=True):
                if not w:
                    yield rejection("caption", photo.id, "empty caption", caption)
            if not kept:
                yield rejection("photo", photo.id, "no captions")
                continue
            if photo.split == "train":
                counts.update(word for _, w in kept for word in w)
            index = shard_index(photo.id, shards=self._shards[photo.split], seed=self._seed)
            name = shard_name(photo.split, index, self._shards[photo.split])
            photo = replace(photo, captions=tuple(caption for caption, _ in kept))
            yield name, TokenizedPhoto(photo, tuple(w for _, w in kept))
        yield pvalue.TaggedOutput(_COUNTS, dict(counts))


def _merge_counts(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    merged: Counter[str] = Counter()
    for part in counts:
        merged.update(part)
    return dict(merged)


def _count_vocabulary(word_counts: dict[str, int], min_count: int) -> VocabularyCounts:
    words = vocabulary_words(word_counts, min_count)
    if len(words) == len(SPECIAL_TOKENS):
        most = max(word_counts.values(), default=0)
        raise JobFailed(
            f"no word of the training captions occurs {min_count:,} times (the most frequent one {most:,}), so a "
            "captioner could learn none; name a lower --min_count, or add captions"
        )
    return VocabularyCounts.of(words, word_counts)
