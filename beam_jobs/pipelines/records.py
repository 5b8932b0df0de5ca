"""The Beam pipeline of `build_records`: captions -> words -> vocabulary; photos and tokens -> shards -> dataset.json.

Who tokenizes: captions travel in chunks of 50,000, and the worker process that gets a chunk imports TensorFlow for
it (4 s, 0.5 GB). A data set like Flickr8k is one chunk, so one process pays once; the others, and every process that
only reads photos and writes shards, never import TensorFlow: ids are looked up in a plain dictionary.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from beam_jobs.errors import JobFailed
from beam_jobs.execution import output_folder
from beam_jobs.execution.progress import ProgressCounter
from beam_jobs.execution.shard_writer import write_shard, write_text
from beam_jobs.sources.base import CaptionedPhoto, Listing, Location
from tfcaption.preprocessing import photos
from tfcaption.records.dataset_info import (
    DATASET_FILE,
    REJECTED_FILE,
    DatasetInfo,
    RecordSettings,
    Rejection,
    ShardInfo,
    rejected_lines,
)
from tfcaption.records.examples import PhotoRecord, encode_record
from tfcaption.records.sharding import automatic_shard_count, order_key, shard_index, shard_name
from tfcaption.records.statistics import ShardStatistics, build_dataset_info, occurrences
from tfcaption.records.tfrecord import read_frames
from tfcaption.records.vocabulary import SPECIAL_TOKENS, VOCABULARY_FILE, encode_words, vocabulary_words
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.folder_lock import end_with_holder

CAPTIONS_PER_CHUNK = 50_000
MOST_PHOTOS_PER_SHARD = 10_000  # a worker holds the words of a shard's photos, some 4 KB each, to put them in order
_COUNTS, _REJECTED = "counts", "rejected"


@dataclass(frozen=True)
class TokenizedPhoto:
    """A photo not yet read, and the words of each of its captions."""

    photo: CaptionedPhoto
    words: tuple[tuple[str, ...], ...]


def shard_counts(listing: Listing, shards: int | None) -> dict[str, int]:
    """Shards of each split: `shards` for the largest, the others in proportion; by their photos where it is None.

    Raises:
        ValueError: they would be too large.
    """
    sizes = Counter(photo.split for photo in listing.photos)
    if shards is None:
        return {split: automatic_shard_count(size) for split, size in sizes.items()}
    least = -(-max(sizes.values()) // MOST_PHOTOS_PER_SHARD)
    if shards < least:
        raise UsageError(
            f"--shards {shards}: more than {MOST_PHOTOS_PER_SHARD:,} photos in a shard; name {least:,} or more, or auto"
        )
    return {split: max(1, round(shards * size / max(sizes.values()))) for split, size in sizes.items()}


def add_steps(
    pipeline: beam.Pipeline, listing: Listing, settings: RecordSettings, *, output: str, max_rejected: float
) -> None:
    """Put the whole job into `pipeline`.

    Args:
        pipeline: an empty pipeline, for any runner.
        listing: what a source gave.
        settings: all that decides the bytes.
        output: folder for the shards and their description, any path that Beam's filesystems know.
        max_rejected: largest share of photos or captions that may be rejected.
    """
    counts = shard_counts(listing, settings.shards)
    # In files, since a pipeline must stay small: Dataflow takes no more than 20 MB, the captions of 50,000 photos.
    listed = _write_listing(output, "listing", _chunks(listing.photos), astuple)
    rejected = _write_listing(output, "rejections", [listing.rejections], Rejection.model_dump)
    tokenized = (
        pipeline
        | "Listing" >> beam.Create(listed, reshuffle=True)
        | "ReadListing" >> beam.Map(_read_photos, output)
        | "Tokenize"
        >> beam.ParDo(Tokenize(counts, settings.seed, first=listing.photos[0].id)).with_outputs(
            _COUNTS, _REJECTED, main="photos"
        )
    )
    vocabulary = (
        tokenized[_COUNTS]
        | "CountWords" >> beam.CombineGlobally(_merge_counts)
        | "Vocabulary" >> beam.Map(_with_vocabulary, settings.min_count)
    )
    # No beam.Flatten: FnApiRunner (2.77) loses what a worker sends through one beyond 10 MB.
    written = (
        tokenized["photos"]
        | "ToShards" >> beam.GroupByKey()
        | "WriteShard"
        >> beam.ParDo(WriteShard(settings, output), pvalue.AsSingleton(vocabulary)).with_outputs(
            _REJECTED, main="shards"
        )
    )
    _ = (
        pipeline
        | "Once" >> beam.Create([None])
        | "Finish"
        >> beam.Map(
            _finish,
            pvalue.AsList(written["shards"]),
            pvalue.AsList(tokenized[_REJECTED]),
            pvalue.AsList(written[_REJECTED]),
            pvalue.AsSingleton(vocabulary),
            listed=[*listed, *rejected],
            photos_in=listing.photos_in,
            captions_in=listing.captions_in,
            settings=settings,
            output=output,
            max_rejected=max_rejected,
        )
    )


def _chunks(listed: Iterable[CaptionedPhoto]) -> Iterator[list[CaptionedPhoto]]:
    chunk: list[CaptionedPhoto] = []
    size = 0
    for photo in listed:
        chunk.append(photo)
        size += len(photo.captions)
        if size >= CAPTIONS_PER_CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _write_listing(output: str, what: str, chunks: Iterable[Sequence[Any]], plain: Callable[[Any], Any]) -> list[str]:
    """Write each chunk into a file of its own, which a next run knows for one of ours; their names.

    Args:
        output: the job's output folder.
        what: begins the names.
        chunks: what to write.
        plain: makes of an item what JSON can hold.
    """
    parts = list(chunks)
    names = [shard_name(what, index, len(parts)) for index in range(len(parts))]
    for name, part in zip(names, parts, strict=True):
        write_shard(output, name, (json.dumps(plain(item)).encode() for item in part))
    return names


def _read_listing(name: str, output: str) -> list[Any]:
    path = FileSystems.join(output, name)
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
        return [json.loads(data) for data in read_frames(stream, path)]


def _read_photos(name: str, output: str) -> list[CaptionedPhoto]:
    return [
        CaptionedPhoto(photo, Location(*location), tuple(captions), split)
        for photo, location, captions, split in _read_listing(name, output)
    ]


class Tokenize(beam.DoFn):
    """A chunk of photos -> (shard name, TokenizedPhoto) each; word counts of the training split; rejections.

    The chunk of the photo `first` gives (shard name, None) for every shard, too, so that empty ones are written.
    """

    def __init__(self, shards: dict[str, int], seed: int, *, first: str) -> None:
        self._shards, self._seed, self._first = shards, seed, first

    def process(self, chunk: list[CaptionedPhoto]) -> Iterator[Any]:
        """Tokenize all captions of the chunk in one TensorFlow call."""
        import tensorflow as tf  # only the process that tokenizes pays for it

        from tfcaption.preprocessing.tokenizer import tokenize

        if chunk[0].id == self._first:
            for split, count in self._shards.items():
                yield from ((shard_name(split, index, count), None) for index in range(count))
        captions = [caption for photo in chunk for caption in photo.captions]
        spoken = iter(tokenize(tf.constant(captions)).to_list())
        counts: Counter[str] = Counter()
        for photo in chunk:
            words = [tuple(word.decode() for word in next(spoken)) for _ in photo.captions]
            kept = [(caption, w) for caption, w in zip(photo.captions, words, strict=True) if w]
            for caption, w in zip(photo.captions, words, strict=True):
                if not w:
                    yield _rejection("caption", photo.id, "empty caption", caption)
            if not kept:
                yield _rejection("photo", photo.id, "no captions")
                continue
            if photo.split == "train":
                counts.update(word for _, w in kept for word in w)
            index = shard_index(photo.id, shards=self._shards[photo.split], seed=self._seed)
            name = shard_name(photo.split, index, self._shards[photo.split])
            photo = CaptionedPhoto(photo.id, photo.location, tuple(caption for caption, _ in kept), photo.split)
            yield name, TokenizedPhoto(photo, tuple(w for _, w in kept))
        yield pvalue.TaggedOutput(_COUNTS, dict(counts))


def _rejection(kind: str, name: str, reason: str, detail: str = "", captions: int = 0) -> pvalue.TaggedOutput:
    rejection = Rejection(kind=kind, id=name, reason=reason, detail=detail, captions=captions)
    return pvalue.TaggedOutput(_REJECTED, rejection)


def _merge_counts(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    merged: Counter[str] = Counter()
    for part in counts:
        merged.update(part)
    return dict(merged)


def _with_vocabulary(counts: dict[str, int], min_count: int) -> tuple[list[str], list[int]]:
    """The words in the order of their ids, and how often each occurs in the training split (<oov>: all the rest)."""
    words = vocabulary_words(counts, min_count)
    return words, occurrences(words, counts)


class WriteShard(beam.DoFn):
    """(shard name, its photos) -> the shard's file; yields its ShardResult, and the photos rejected."""

    def __init__(self, settings: RecordSettings, output: str) -> None:
        self._settings, self._output = settings, output

    def setup(self) -> None:
        """A worker of a killed job must not write on."""
        end_with_holder(self._output)

    def process(
        self, element: tuple[str, Iterable[TokenizedPhoto | None]], vocabulary: tuple[list[str], list[int]]
    ) -> Iterator[Any]:
        """Read, resize, encode and write the photos of one shard, in the order of a seeded hash."""
        name, group = element
        settings = self._settings
        result = ShardStatistics(name.partition("-")[0], ShardInfo(name=name, records=0, bytes=0, sha256=""))
        rejected: list[pvalue.TaggedOutput] = []
        index = {word: i for i, word in enumerate(vocabulary[0]) if i >= len(SPECIAL_TOKENS)}
        ordered = sorted(
            (photo for photo in group if photo is not None),
            key=lambda tokenized: order_key(tokenized.photo.id, seed=settings.seed),
        )
        progress = ProgressCounter(self._output, name)

        def serialized() -> Iterator[bytes]:
            for tokenized in ordered:
                photo = tokenized.photo
                try:
                    data = _read(photo.location)
                    jpeg = photos.prepare_photo(data, image_size=settings.image_size, resize=settings.resize)
                except photos.PhotoError as error:
                    rejected.append(
                        _rejection("photo", photo.id, error.reason, error.detail, captions=len(photo.captions))
                    )
                else:
                    ids = [encode_words(w, index, settings.max_words) for w in tokenized.words]
                    result.add(tokenized.words, ids)
                    result.digests[photo.id] = hashlib.blake2b(data, digest_size=16).digest()
                    yield encode_record(
                        PhotoRecord(photo_id=photo.id, jpeg=jpeg, captions=list(photo.captions), token_ids=ids)
                    )
                progress.add()

        result.info = write_shard(self._output, name, serialized())
        progress.close()
        yield result
        yield from rejected


def _read(location: Location) -> bytes:
    """The bytes of a photo; of one that is too large only as many as tell so."""
    size = photos.MAX_BYTES + 1
    if location.size is not None:
        size = min(size, location.size)
    try:
        with FileSystems.open(location.path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            if location.offset:
                stream.seek(location.offset)
            return stream.read(size)
    except Exception as error:  # Beam's filesystems raise their own kinds
        raise photos.PhotoError("unreadable", str(error)) from error


def _finish(
    _: None,
    shards: list[ShardStatistics],
    captions_rejected: list[Rejection],
    photos_rejected: list[Rejection],
    vocabulary: tuple[list[str], list[int]],
    *,
    listed: Sequence[str],
    photos_in: int,
    captions_in: int,
    settings: RecordSettings,
    output: str,
    max_rejected: float,
) -> None:
    """Check that nothing was lost, and write the description of the records, `dataset.json` last."""
    listed_rejections = (Rejection(**rejection) for rejection in _read_listing(listed[-1], output))
    rejections = [*listed_rejections, *captions_rejected, *photos_rejected]
    write_text(output, REJECTED_FILE, rejected_lines(rejections))
    write_text(output, VOCABULARY_FILE, "".join(f"{word}\n" for word in vocabulary[0]))
    info = build_dataset_info(
        shards,
        rejections,
        settings=settings,
        words=vocabulary[0],
        word_counts=vocabulary[1],
        photos_in=photos_in,
        captions_in=captions_in,
        duplicates=_duplicates(shards),
    )
    _check_limit("photos", photos_in, info.rejected_photos, max_rejected, output)
    _check_limit("captions", captions_in, info.rejected_captions, max_rejected, output)
    _check_conservation(info, rejections)
    write_text(output, DATASET_FILE, info.model_dump_json(indent=1) + "\n")
    for name in listed:
        output_folder.remove_file(output, name)


def _duplicates(shards: Iterable[ShardStatistics]) -> list[dict[str, str]]:
    """Photos of the same bytes in more than one split, id -> split, in the order of their ids."""
    same: dict[bytes, dict[str, str]] = defaultdict(dict)
    for shard in shards:
        for photo, digest in shard.digests.items():
            same[digest][photo] = shard.split
    return sorted((dict(sorted(found.items())) for found in same.values() if len(set(found.values())) > 1), key=list)


def _check_limit(unit: str, total: int, reasons: dict[str, int], limit: float, output: str) -> None:
    rejected = sum(reasons.values())
    if rejected > limit * total:
        listed = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        raise JobFailed(
            f"{rejected:,} of {total:,} {unit} were rejected ({listed}), more than --max_rejected {limit:g} allows; "
            f"each is named in {FileSystems.join(output, REJECTED_FILE)}. "
            "Mend them, or raise --max_rejected."
        )


def _check_conservation(info: DatasetInfo, rejections: Iterable[Rejection]) -> None:
    """Photos and captions in = written + rejected (captions of photos left out go with them)."""
    splits = info.splits.values()
    rejected_captions = sum(info.rejected_captions.values()) + sum(rejection.captions for rejection in rejections)
    for unit, total, written, rejected in (
        ("photos", info.photos_in, sum(split.photos for split in splits), sum(info.rejected_photos.values())),
        ("captions", info.captions_in, sum(split.captions for split in splits), rejected_captions),
    ):
        if written + rejected != total:
            raise JobFailed(
                f"conservation check: {total:,} {unit} in, but {written:,} written and {rejected:,} rejected; "
                "the runner lost records, do not use this output; please report the runner and its options"
            )
