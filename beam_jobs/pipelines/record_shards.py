"""The second half of the pipeline of `build_records`: photos and their words -> shards -> `dataset.json`."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.io.filesystems import FileSystems

from beam_jobs.errors import JobFailed
from beam_jobs.execution.finish import REJECTED, add_final_step, check_conservation, rejection
from beam_jobs.execution.output_folder import RECORDS, complete_output, remove_file
from beam_jobs.execution.progress import ProgressCounter
from beam_jobs.execution.reading import read_photo
from beam_jobs.execution.rejections import check_rejected, named_reasons
from beam_jobs.execution.shard_writer import write_shard, write_text
from beam_jobs.sources.base import CaptionedPhoto
from tfcaption.preprocessing.photos import PhotoError, prepare_photo
from tfcaption.records.dataset_info import (
    REJECTED_FILE,
    DatasetInfo,
    RecordSettings,
    Rejection,
    ShardInfo,
    rejected_lines,
)
from tfcaption.records.examples import PhotoRecord, encode_record
from tfcaption.records.sharding import order_key
from tfcaption.records.statistics import ShardStatistics, Totals, VocabularyCounts, build_dataset_info
from tfcaption.records.vocabulary import SPECIAL_TOKENS, VOCABULARY_FILE, encode_words
from tfcaption.runtime.folder_lock import end_with_holder


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
    temporary_files: tuple[str, ...] = ()  # names in the output folder, removed when the records are complete


def add_shard_steps(
    photos: beam.PCollection,
    vocabulary: beam.PCollection,
    totals: beam.PCollection,
    rejections: Mapping[str, beam.PCollection],
    *,
    build: BuildContext,
) -> None:
    """Add the steps from photos to complete records, for any runner.

    Args:
        photos: (shard name, TokenizedPhoto), and (shard name, None) once for every shard, so that empty ones are
            written.
        vocabulary: one VocabularyCounts.
        totals: one Totals.
        rejections: name of an earlier step, of small letters -> what it rejected; see `Rejection`.
        build: what the steps must know.
    """
    written = (
        photos
        | "ToShards" >> beam.GroupByKey()
        | "WriteShard"
        >> beam.ParDo(WriteShard(build.settings, build.output), pvalue.AsSingleton(vocabulary)).with_outputs(
            REJECTED, main="shards"
        )
    )
    add_final_step(
        photos.pipeline,
        _finish,
        pvalue.AsList(written["shards"]),
        pvalue.AsSingleton(vocabulary),
        pvalue.AsSingleton(totals),
        *map(pvalue.AsList, [written[REJECTED], *rejections.values()]),
        build=build,
    )


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
    vocabulary: VocabularyCounts,
    totals: Totals,
    photos_rejected: list[Rejection],
    *before: list[Rejection],
    build: BuildContext,
) -> None:
    """Check that nothing was lost, and write the description of the records, `dataset.json` last."""
    rejections = [*itertools.chain(photos_rejected, *before)]
    write_text(build.output, REJECTED_FILE, rejected_lines(rejections))
    write_text(build.output, VOCABULARY_FILE, "".join(f"{word}\n" for word in vocabulary.words))
    info = build_dataset_info(shards, rejections, build.settings, vocabulary, totals)
    file = FileSystems.join(build.output, REJECTED_FILE)
    check_rejected(rejections, "photo", info.photos_in, build.max_rejected, file)
    check_rejected(rejections, "caption", info.captions_in, build.max_rejected, file)
    if not info.splits["train"].photos:
        raise JobFailed(f"no photo is left for the training split: {named_reasons(photos_rejected)}")
    _check_conservation(info, rejections)
    complete_output(build.output, RECORDS, info)
    for name in build.temporary_files:
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
