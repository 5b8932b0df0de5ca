"""The first half of the pipeline of `import_features`: the photos of records, and where the features of each are.

Workers read the ids of the photos, shard by shard, and the names of features: one walks through the folder, another
reads a column of each table. All that names may match meets in a bucket (see `sources/feature_matching.py`); what
buckets know of a photo meets in its record shard.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam import pvalue

from beam_jobs.errors import JobFailed
from beam_jobs.execution.reading import read_shard
from beam_jobs.pipelines.buckets import Batches, items_of
from beam_jobs.pipelines.packed import packed
from beam_jobs.sources.feature_files import ImportRequest
from beam_jobs.sources.feature_matching import (
    Claim,
    FeatureName,
    MatchFacts,
    MatchItem,
    PhotoNumber,
    RecordPhoto,
    decide,
    match_bucket,
    match_key,
    settle,
)
from beam_jobs.sources.feature_tables import TABLE_SUFFIX, photo_names
from beam_jobs.sources.feature_values import FeatureLocation
from beam_jobs.sources.grouping import MOST_BUCKETS, bucket_of
from beam_jobs.sources.text_files import normal_name
from tfcaption.records.examples import ids_of

_PHOTOS_PER_BUCKET, _FEWEST_BUCKETS = 10_000, 16  # there may be many more names than photos
_SHARDS, _TABLES, _CLAIMS, _FACTS, _ROWS = "shards", "tables", "claims", "facts", "rows"


@dataclass
class MatchedFeatures:
    """Collections of a pipeline."""

    located: beam.PCollection  # (record shard, packed pairs: photo id, FeatureLocation of its file), of every shard
    rows: beam.PCollection  # (path of a table as bytes, packed (name, photo id, record shard) of the rows to read)
    facts: beam.PCollection  # one MatchFacts


def add_matching_steps(
    pipeline: beam.Pipeline, request: ImportRequest, shards: Sequence[str], photos: int
) -> MatchedFeatures:
    """Add the steps that find the features of all photos, for any runner.

    Args:
        pipeline: an empty one.
        request: the features, and the records.
        shards: names of the record shards.
        photos: of all shards.
    """
    buckets = min(_FEWEST_BUCKETS + photos // _PHOTOS_PER_BUCKET, MOST_BUCKETS)
    read = (
        pipeline
        | "RecordShards" >> beam.Create(shards, reshuffle=True)
        | "ReadIds" >> beam.FlatMap(_read_ids, request.records, buckets).with_outputs(_SHARDS, main="items")
    )
    walked = (
        pipeline
        | "Walk" >> beam.Create([request])
        | "FindFiles" >> beam.FlatMap(_find_files, buckets).with_outputs(_TABLES, main="items")
    )
    rows = walked[_TABLES] | "Tables" >> beam.Reshuffle() | "ReadNames" >> beam.FlatMap(_read_names, request, buckets)
    matched = (
        [read["items"], walked["items"], rows]
        | "Names" >> beam.Flatten()
        | "ByName" >> beam.GroupByKey()
        | "MatchNames" >> beam.FlatMap(_match_names, buckets).with_outputs(_CLAIMS, _FACTS, main="found")
    )
    decided = (
        [read[_SHARDS], matched["found"]]
        | "Found" >> beam.Flatten()
        | "ByShard" >> beam.GroupByKey()
        | "Decide" >> beam.FlatMap(_decide, buckets).with_outputs(_CLAIMS, _FACTS, _ROWS, main="located")
    )
    settled = (
        [matched[_CLAIMS], decided[_CLAIMS]]
        | "Claims" >> beam.Flatten()
        | "ByClaim" >> beam.GroupByKey()
        | "Settle" >> beam.Map(_settle)
    )
    facts = [matched[_FACTS], decided[_FACTS], settled] | "Facts" >> beam.Flatten()
    return MatchedFeatures(decided["located"], decided[_ROWS], facts | "SumFacts" >> beam.CombineGlobally(_sum))


def _read_ids(shard: str, records: str, buckets: int) -> Iterator[Any]:
    batches = Batches()

    def add(item: MatchItem) -> Iterable[tuple[int, bytes]]:
        return batches.add(bucket_of(match_key(item), buckets), item)

    try:
        for serialized in read_shard(records, shard):
            photo_id, source_ids = ids_of(serialized)
            photo = RecordPhoto(photo_id, shard)
            yield from add(photo)
            for source_id in source_ids:
                yield from add(PhotoNumber(source_id, photo))
    except OSError as error:
        raise JobFailed(str(error)) from error
    yield from batches.rest()
    yield pvalue.TaggedOutput(_SHARDS, (shard, packed([])))


def _find_files(request: ImportRequest, buckets: int) -> Iterator[Any]:
    """The names of all .npy and .npz files; the tables."""
    tables: list[Path] = []
    first: tuple[str, Path] | None = None  # by its name
    batches = Batches()
    for path, name in request.files():
        if not name:
            tables.append(path)
            continue
        first = min(first or (name, path), (name, path))
        yield from _named(FeatureName(name, str(path)), batches, buckets)
    request.check(arrays=first is not None, tables=bool(tables))
    if first:
        request.check_array(first[1])
    yield from batches.rest()
    yield from (pvalue.TaggedOutput(_TABLES, table) for table in tables)


def _read_names(table: Path, request: ImportRequest, buckets: int) -> Iterator[tuple[int, bytes]]:
    """The name of the photo of each row of a table."""
    batches = Batches()
    for row, name in enumerate(photo_names(table, request.columns)):
        yield from _named(FeatureName(name, str(table), row), batches, buckets)
    yield from batches.rest()


def _named(item: FeatureName, batches: Batches, buckets: int) -> Iterable[tuple[int, bytes]]:
    """Add a name, unless it is of no photo."""
    return batches.add(bucket_of(match_key(item), buckets), item) if normal_name(item.name) else ()


def _match_names(element: tuple[int, Iterable[bytes]], buckets: int) -> Iterator[Any]:
    facts, found, claims = MatchFacts(), Batches(), Batches()
    for each in match_bucket(items_of(element[1]), facts):
        if isinstance(each, Claim):
            yield from _claimed(each, claims, buckets)
        else:
            yield from found.add(each.photo.shard, each)
    yield from found.rest()
    yield from _tagged(_CLAIMS, claims.rest())
    yield pvalue.TaggedOutput(_FACTS, facts)


def _decide(element: tuple[str, Iterable[bytes]], buckets: int) -> Iterator[Any]:
    """Where the features of all photos of a record shard are."""
    shard, batches = element
    facts, claims, rows = MatchFacts(), Batches(), Batches()
    located: list[tuple[str, FeatureLocation]] = []
    for each in decide(items_of(batches), facts):
        if isinstance(each, Claim):
            yield from _claimed(each, claims, buckets)
            continue
        photo, features = each
        path = features.paths[0]
        if path.lower().endswith(TABLE_SUFFIX):
            yield from _tagged(_ROWS, rows.add(os.fsencode(path), (features.name, photo.id, shard)))
        else:
            located.append((photo.id, FeatureLocation(path)))
    yield shard, packed(located)
    yield from _tagged(_CLAIMS, claims.rest())
    yield from _tagged(_ROWS, rows.rest())
    yield pvalue.TaggedOutput(_FACTS, facts)


def _settle(element: tuple[int, Iterable[bytes]]) -> MatchFacts:
    facts = MatchFacts()
    settle(items_of(element[1]), facts)
    return facts


def _claimed(claim: Claim, claims: Batches, buckets: int) -> Iterator[pvalue.TaggedOutput]:
    return _tagged(_CLAIMS, claims.add(bucket_of(claim.features.normal, buckets), claim))


def _tagged(tag: str, values: Iterable[Any]) -> Iterator[pvalue.TaggedOutput]:
    return (pvalue.TaggedOutput(tag, value) for value in values)


def _sum(parts: Iterable[MatchFacts]) -> MatchFacts:
    total = MatchFacts()
    for facts in parts:
        total.merge(facts)
    return total
