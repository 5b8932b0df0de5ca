"""The Beam pipeline of `build_records`: captions -> vocabulary; photos and token ids -> shards -> dataset.json.

Captions travel in chunks of 50,000, and the worker process that gets a chunk imports TensorFlow to tokenize it (4 s,
0.5 GB). A data set like Flickr8k is one chunk, so one process pays once. Every other process never imports TensorFlow:
it only reads photos and writes shards, and looks token ids up in a plain dictionary.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.errors import JobFailed, SourceError
from beam_jobs.execution.finish import REJECTED, add_final_step, check_conservation, rejection
from beam_jobs.execution.output_folder import RECORDS, complete_output, remove_file, remove_previous
from beam_jobs.execution.paths import as_path
from beam_jobs.execution.progress import ProgressCounter
from beam_jobs.execution.reading import read_if_exists, read_photo, read_shard
from beam_jobs.execution.rejections import check_rejected, named_reasons
from beam_jobs.execution.runner import run_pipeline
from beam_jobs.execution.shard_writer import write_shard, write_text
from beam_jobs.sources.base import CaptionedPhoto, Listing, Location
from tfcaption.preprocessing.photos import PhotoError, prepare_photo
from tfcaption.records.dataset_info import (
    REJECTED_FILE,
    DatasetInfo,
    RecordSettings,
    Rejection,
    ShardInfo,
    load_dataset_info,
    rejected_lines,
)
from tfcaption.records.examples import PhotoRecord, encode_record
from tfcaption.records.sharding import automatic_shard_count, order_key, shard_index, shard_name
from tfcaption.records.statistics import ShardStatistics, Totals, VocabularyCounts, build_dataset_info
from tfcaption.records.vocabulary import SPECIAL_TOKENS, VOCABULARY_FILE, encode_words, vocabulary_words
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.folder_lock import end_with_holder

CAPTIONS_PER_CHUNK = 50_000
MOST_PHOTOS_PER_SHARD = 10_000  # a worker sorts the words of a shard's photos in memory, some 4 KB a photo
_COUNTS = "counts"

Item = TypeVar("Item")


@dataclass(frozen=True)
class TokenizedPhoto:
    """A photo that is not read yet, and the words of each of its captions."""

    photo: CaptionedPhoto
    words: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class BuildContext:
    """What the final step must know of the build."""

    settings: RecordSettings
    totals: Totals
    photo_files: list[str]  # names of the files that list the photos, in the output folder
    rejection_file: str  # name of the file with the rejections of the listing
    output: str
    max_rejected: float | None


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
        check_rejected(listing.rejections, "photo", listing.photos_in, max_rejected, file)
        check_rejected(listing.rejections, "caption", listing.captions_in, max_rejected, file)
        if not any(photo.split == "train" for photo in listing.photos):
            found = ", ".join(f"{count:,} in {split}" for split, count in _split_sizes(listing).items()) or "no photo"
            lost = named_reasons(listing.rejections)
            cure = "; add photos, or divide them anew by --shares" if listing.photos else ""
            raise SourceError(f"no photo is left for the training split: {found}{lost and f'; {lost}'}{cure}")
    except (JobFailed, SourceError):
        if file:
            write_text(output, REJECTED_FILE, rejected_lines(listing.rejections))
        raise


def run(
    listing: Listing, settings: RecordSettings, options: PipelineOptions, *, output: str, max_rejected: float | None
) -> DatasetInfo | None:
    """Write the records of a data set.

    Args:
        listing: its photos and captions.
        settings: all that decides the bytes.
        options: Beam's.
        output: folder for the records, any path that Beam's filesystems know; records in it are replaced.
        max_rejected: see `check_listing`.

    Returns:
        The description of the records, as written; None for a dry run or a template.

    Raises:
        UsageError: the shards would be too large.
        JobFailed: too much was rejected, or records were lost.
    """
    remove_previous(output, RECORDS)
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
    # No beam.Flatten: FnApiRunner (2.77) loses what a worker sends through one beyond 10 MB.
    written = (
        tokenized["photos"]
        | "ToShards" >> beam.GroupByKey()
        | "WriteShard"
        >> beam.ParDo(WriteShard(settings, output), pvalue.AsSingleton(vocabulary)).with_outputs(
            REJECTED, main="shards"
        )
    )
    build = BuildContext(
        settings, Totals(listing.photos_in, listing.captions_in), photo_files, rejection_file, output, max_rejected
    )
    add_final_step(
        pipeline,
        _finish,
        pvalue.AsList(written["shards"]),
        pvalue.AsList(tokenized[REJECTED]),
        pvalue.AsList(written[REJECTED]),
        pvalue.AsSingleton(vocabulary),
        build=build,
    )


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
    """Write each chunk into a file that is named as a shard, so that the next run removes it; returns the names.

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


class WriteShard(beam.DoFn):
    """(shard name, its photos) -> the shard's file; yields its ShardStatistics, and the rejected photos."""

    def __init__(self, settings: RecordSettings, output: str) -> None:
        self._settings, self._output = settings, output

    def setup(self) -> None:
        """Let this worker end with its job, or it would write into the next job's output."""
        end_with_holder(self._output)

    def process(
        self, element: tuple[str, Iterable[TokenizedPhoto | None]], vocabulary: VocabularyCounts
    ) -> Iterator[Any]:
        """Read, resize, encode and write the photos of one shard, in the order of a seeded hash."""
        name, group = element
        settings = self._settings
        statistics = ShardStatistics(name.partition("-")[0], ShardInfo(name=name, records=0, bytes=0, sha256=""))
        rejected: list[pvalue.TaggedOutput] = []
        word_ids = {word: i for i, word in enumerate(vocabulary.words) if i >= len(SPECIAL_TOKENS)}
        ordered = sorted(
            (photo for photo in group if photo is not None),
            key=lambda tokenized: order_key(tokenized.photo.id, seed=settings.seed),
        )
        progress = ProgressCounter(self._output, name)

        def serialized() -> Iterator[bytes]:
            for tokenized in ordered:
                photo = tokenized.photo
                try:
                    data = read_photo(*photo.location)
                    jpeg = prepare_photo(data, image_size=settings.image_size, resize=settings.resize)
                except PhotoError as error:
                    captions = len(photo.captions)
                    rejected.append(rejection("photo", photo.id, error.reason, error.detail, captions=captions))
                else:
                    ids = [encode_words(w, word_ids, settings.max_words) for w in tokenized.words]
                    statistics.add(tokenized.words, ids)
                    statistics.digests[photo.id] = hashlib.blake2b(data, digest_size=16).digest()
                    yield encode_record(
                        PhotoRecord(
                            photo_id=photo.id,
                            jpeg=jpeg,
                            captions=list(photo.captions),
                            token_ids=ids,
                            source_ids=list(photo.source_ids),
                        )
                    )
                progress.add()

        statistics.info = write_shard(self._output, name, serialized())
        progress.close()
        yield statistics
        yield from rejected


def _finish(
    _: None,
    shards: list[ShardStatistics],
    captions_rejected: list[Rejection],
    photos_rejected: list[Rejection],
    vocabulary: VocabularyCounts,
    *,
    build: BuildContext,
) -> None:
    """Check that nothing was lost, and write the description of the records, `dataset.json` last."""
    listed = (Rejection(**json.loads(data)) for data in read_shard(build.output, build.rejection_file))
    rejections = [*listed, *captions_rejected, *photos_rejected]
    write_text(build.output, REJECTED_FILE, rejected_lines(rejections))
    write_text(build.output, VOCABULARY_FILE, "".join(f"{word}\n" for word in vocabulary.words))
    info = build_dataset_info(shards, rejections, build.settings, vocabulary, build.totals)
    file = FileSystems.join(build.output, REJECTED_FILE)
    check_rejected(rejections, "photo", info.photos_in, build.max_rejected, file)
    check_rejected(rejections, "caption", info.captions_in, build.max_rejected, file)
    if not info.splits["train"].photos:
        raise JobFailed(f"no photo is left for the training split: {named_reasons(photos_rejected)}")
    _check_conservation(info, rejections)
    complete_output(build.output, RECORDS, info)
    for name in (*build.photo_files, build.rejection_file):
        remove_file(build.output, name)


def _check_conservation(info: DatasetInfo, rejections: Iterable[Rejection]) -> None:
    """Check photos and captions; the captions of a rejected photo count as rejected."""
    splits = info.splits.values()
    check_conservation(
        "photos",
        info.photos_in,
        written=sum(split.photos for split in splits),
        rejected=sum(info.rejected_photos.values()),
    )
    check_conservation(
        "captions",
        info.captions_in,
        written=sum(split.captions for split in splits),
        rejected=sum(info.rejected_captions.values()) + sum(rejected.captions for rejected in rejections),
    )
