"""The second half of the pipeline of `build_records`: photos and their words -> shards -> `dataset.json`."""

import hashlib
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.io.filesystems import FileSystems
from google_crc32c import value as crc32c

from beam_jobs.errors import JobFailed
from beam_jobs.execution.finish import REJECTED, add_final_step, check_conservation, rejected
from beam_jobs.execution.output_folder import RECORDS, complete_output, is_complete, remove_leftovers
from beam_jobs.execution.paths import as_path
from beam_jobs.execution.progress import KEPT_SHARDS, ProgressCounter
from beam_jobs.execution.reading import read_photo
from beam_jobs.execution.rejection_files import RejectionFile, RejectionFiles, merge_rejections
from beam_jobs.execution.rejections import RejectionCounts, check_rejected, named_reasons
from beam_jobs.execution.shard_writer import atomic_file, write_shard, write_text
from beam_jobs.execution.worker import start_worker
from beam_jobs.pipelines.finished_shard import FinishedShard, fingerprint, remove_finished
from beam_jobs.pipelines.packed import packed, unpacked
from beam_jobs.sources.base import CaptionedPhoto
from beam_jobs.sources.unpacked_photos import remove_unpacked
from tfcaption.preprocessing.photos import PhotoError, prepare_photo
from tfcaption.records.dataset_info import REJECTED_FILE, DatasetInfo, RecordSettings, Rejection
from tfcaption.records.examples import PhotoRecord, encode_record
from tfcaption.records.sharding import order_key
from tfcaption.records.statistics import Statistics, Totals, VocabularyCounts, build_dataset_info
from tfcaption.records.vocabulary import MODEL_FILE, VOCABULARY_FILE, encode_words, load_tokenizer_model

_DIGESTS = "digests"
_PHOTOS_PER_COMPARISON = 50_000  # whose digests are compared by one worker at once


@dataclass(frozen=True)
class TokenizedPhoto:
    """A photo that is not read yet, and the words of each of its captions."""

    photo: CaptionedPhoto
    words: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class BuildContext:
    """What the steps that write must know of the build."""

    settings: RecordSettings
    output: str
    max_rejected: float | None
    tokenizer_model: str = ""  # path of the tokenizer's model file; empty for those that have none


def add_shard_steps(
    photos: beam.PCollection,
    vocabulary: beam.PCollection,
    totals: beam.PCollection,
    rejections: Iterable[beam.PCollection],
    *,
    build: BuildContext,
) -> None:
    """Add the steps from photos to complete records, for any runner.

    Args:
        photos: (shard name, packed TokenizedPhotos), at least once for every shard, so that empty ones are written.
        vocabulary: one VocabularyCounts.
        totals: one Totals.
        rejections: the output `REJECTED` of each earlier step.
        build: what the steps must know.
    """
    written = (
        photos
        | "ToShards" >> beam.GroupByKey()
        | "WriteShard"
        >> beam.ParDo(
            WriteShard(build.settings, build.output), pvalue.AsSingleton(vocabulary), pvalue.AsSingleton(totals)
        ).with_outputs(REJECTED, _DIGESTS, main="shards")
    )
    duplicates = (
        written[_DIGESTS] | "ToDigests" >> beam.GroupByKey() | "FindDuplicates" >> beam.FlatMap(_in_several_splits)
    )
    rejected_files = (
        [written[REJECTED], *rejections]
        | "Rejected" >> beam.Flatten()
        | "RejectedFiles" >> RejectionFiles(build.output)
    )
    add_final_step(
        photos.pipeline,
        _finish,
        pvalue.AsIter(written["shards"]),
        pvalue.AsList(duplicates),
        pvalue.AsSingleton(vocabulary),
        pvalue.AsSingleton(totals),
        pvalue.AsList(rejected_files),
        build=build,
    )


class WriteShard(beam.DoFn):
    """(shard name, its photos in batches) -> the shard's file; yields (split, Statistics), and rejected photos.

    The output `digests` has (number of a comparison, packed (split, photo id -> hash of its file)).
    """

    def __init__(self, settings: RecordSettings, output: str) -> None:
        self._settings, self._output = settings, output

    def setup(self) -> None:
        """Let this worker end with its job, or it would write into the next job's output."""
        start_worker(self._output)

    def process(
        self, element: tuple[str, Iterable[bytes]], vocabulary: VocabularyCounts, totals: Totals
    ) -> Iterator[Any]:
        """Write the photos of one shard in the order of a seeded hash, or keep the shard that exists."""
        name, batches = element
        photos: list[TokenizedPhoto] = sorted(
            (photo for batch in batches for photo in unpacked(batch)),
            key=lambda tokenized: order_key(tokenized.photo.id, seed=self._settings.seed),
        )
        progress = ProgressCounter(self._output, name)
        made_from = fingerprint(self._settings, vocabulary, photos)
        finished = self._kept(name, made_from, photos)
        if finished:
            KEPT_SHARDS.inc()
            progress.add(len(photos))
        else:
            remove_finished(self._output, name)  # or it would vouch for the next shard of that name
            finished = self._write(name, photos, vocabulary, progress, made_from)
            finished.write(self._output)
        progress.close()
        split = name.partition("-")[0]
        yield split, finished.statistics
        yield from map(rejected, finished.rejections)
        compared = defaultdict[int, dict[str, str]](dict)
        for photo_id, digest in finished.file_digests.items():
            compared[int(digest, 16) % (totals.photos // _PHOTOS_PER_COMPARISON + 1)][photo_id] = digest
        for number, digests in compared.items():
            yield pvalue.TaggedOutput(_DIGESTS, (number, packed((split, digests))))

    def _kept(self, name: str, made_from: str, photos: Sequence[TokenizedPhoto]) -> FinishedShard | None:
        """The shard in the output folder; None unless it was made from the same and would be rejected the same."""
        finished = FinishedShard.read(self._output, name, made_from)
        if finished:
            rejected = {each.id: each for each in finished.rejections}
            for tokenized in photos:
                before = rejected.get(tokenized.photo.id)
                if before and self._prepared(tokenized.photo) != before:  # it may be readable now
                    return None
        return finished

    def _write(
        self,
        name: str,
        photos: Sequence[TokenizedPhoto],
        vocabulary: VocabularyCounts,
        progress: ProgressCounter,
        made_from: str,
    ) -> FinishedShard:
        finished = FinishedShard(made_from=made_from, statistics=Statistics(), file_digests={}, rejections=[])
        index, max_words = vocabulary.index, self._settings.max_words

        def serialized() -> Iterator[bytes]:
            for tokenized in photos:
                photo = tokenized.photo
                prepared = self._prepared(photo)
                if isinstance(prepared, Rejection):
                    finished.rejections.append(prepared)
                else:
                    encoded = [encode_words(words, index, max_words) for words in tokenized.words]
                    ids, cut = map(list, zip(*encoded, strict=True))
                    finished.statistics.add(ids, cut)
                    finished.file_digests[photo.id] = prepared.digest
                    yield encode_record(
                        PhotoRecord(
                            photo_id=photo.id,
                            jpeg=prepared.jpeg,
                            captions=list(photo.captions),
                            token_ids=ids,
                            source_ids=list(photo.source_ids),
                        )
                    )
                progress.add()

        finished.statistics.shards.append(write_shard(self._output, name, serialized()))
        return finished

    def _prepared(self, photo: CaptionedPhoto) -> "_Prepared | Rejection":
        """Read and resize a photo."""
        try:
            data = read_photo(*photo.location)
            jpeg = prepare_photo(data, image_size=self._settings.image_size, resize=self._settings.resize)
        except PhotoError as error:
            captions = len(photo.captions)
            return Rejection(kind="photo", id=photo.id, reason=error.reason, detail=error.detail, captions=captions)
        return _Prepared(jpeg, _file_digest(data, jpeg))


class _Prepared(NamedTuple):
    """A photo as its record holds it."""

    jpeg: bytes
    digest: str  # of its file


def _file_digest(data: bytes, jpeg: bytes) -> str:
    """A hash of a photo's file, in less time than hashing all of it takes: 3% of what preparing the photo does.

    Identical files become identical JPEGs. Different files that become one JPEG differ in length or in CRC, but for one
    pair in four billion.

    Args:
        data: the file's content.
        jpeg: what it became, usually much smaller.
    """
    return hashlib.blake2b(jpeg, digest_size=16, person=struct.pack("<QI", len(data), crc32c(data))).hexdigest()


def _in_several_splits(element: tuple[int, Iterable[bytes]]) -> Iterator[dict[str, str]]:
    """The photos with one content, as photo id -> split, for each content that more than one split has."""
    photos_of = defaultdict[str, dict[str, str]](dict)
    for batch in element[1]:
        split, digests = unpacked(batch)
        for photo_id, digest in digests.items():
            photos_of[digest][photo_id] = split
    return (photos for photos in photos_of.values() if len({*photos.values()}) > 1)


def _finish(
    _: None,
    shards: Iterable[tuple[str, Statistics]],
    duplicates: list[dict[str, str]],
    vocabulary: VocabularyCounts,
    totals: Totals,
    rejected_files: list[RejectionFile],
    *,
    build: BuildContext,
) -> None:
    """Check that nothing was lost, and write the description of the records, `dataset.json` last."""
    output = build.output
    splits: dict[str, Statistics] = {}
    for split, statistics in shards:
        splits.setdefault(split, Statistics()).merge(statistics)
    if not is_complete(output, RECORDS):  # a runner may try this step again
        rejections = merge_rejections(rejected_files, output)
        write_text(output, VOCABULARY_FILE, "".join(f"{word}\n" for word in vocabulary.words))
        if build.tokenizer_model:
            with atomic_file(output, MODEL_FILE) as stream:
                stream.write(load_tokenizer_model(as_path(build.tokenizer_model), build.settings.tokenizer))
        info = build_dataset_info(splits, rejections.reasons, build.settings, vocabulary, totals, duplicates)
        file = FileSystems.join(output, REJECTED_FILE)
        check_rejected(rejections, "photo", info.photos_in, build.max_rejected, file)
        check_rejected(rejections, "caption", info.captions_in, build.max_rejected, file)
        if not info.splits["train"].photos:
            raise JobFailed(f"no photo is left for the training split: {named_reasons(rejections.select('photo'))}")
        _check_conservation(info, rejections)
        complete_output(output, RECORDS, info)
    remove_unpacked(output)
    remove_leftovers(output, RECORDS, (shard.name for split in splits.values() for shard in split.shards))


def _check_conservation(info: DatasetInfo, rejections: RejectionCounts) -> None:
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
        rejected=sum(info.rejected_captions.values()) + rejections.captions,
    )
