"""The first half of the pipeline of `build_records`: parts of a data set -> photos with captions, words and evidence.

All that names a photo meets in its group of names (see `sources/grouping.py`), and several groups share a bucket, of
some 20,000 captions. A worker process that gets a bucket imports TensorFlow to tokenize it (4 s, 0.5 GB). A data set
like Flickr8k is two buckets. Every other process never imports TensorFlow.
"""

import pickle
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import apache_beam as beam
from apache_beam import pvalue

from beam_jobs.execution.finish import REJECTED, rejected
from beam_jobs.execution.paths import as_path
from beam_jobs.execution.progress import ProgressCounter
from beam_jobs.sources.grouping import bucket_of, group_key
from beam_jobs.sources.items import Caption, Item
from beam_jobs.sources.joining import Group, JoinContext, JoinedPhoto, JoinFacts, UncaptionedPhoto, UnreadList
from beam_jobs.sources.parts import Part, ReadFacts, is_span_of_lines, lines_before, read_part
from beam_jobs.sources.reader import DataSet
from beam_jobs.sources.text_files import count_lines
from tfcaption.records.dataset_info import Rejection
from tfcaption.records.vocabulary import load_tokenizer_model

ITEMS_PER_BATCH = 2_000  # that travel together, since each element of a pipeline has its cost
BUFFERED_ITEMS = 50_000  # of all buckets, at most
PHOTOS_PER_CHUNK = 1_000
_FACTS = "facts"

Facts = TypeVar("Facts", ReadFacts, JoinFacts)


class PhotoWords(NamedTuple):
    """A photo and the words of each of its captions, which may be none."""

    photo: JoinedPhoto
    words: tuple[tuple[str, ...], ...]


@dataclass
class Chunk:
    """Some photos of a data set, and what else their groups leave to be decided."""

    photos: list[PhotoWords]
    others: list[UncaptionedPhoto | UnreadList]
    first: bool = False  # the only chunk of a data set of which that is true


@dataclass
class CaptionedPhotos:
    """Collections of a pipeline."""

    chunks: beam.PCollection  # pickled `Chunk`s, one at least
    read: beam.PCollection  # one ReadFacts
    joined: beam.PCollection  # one JoinFacts
    rejections: list[beam.PCollection]  # the output `REJECTED` of each step


def add_photo_steps(
    pipeline: beam.Pipeline, data_set: DataSet, parts: Sequence[Part], *, tokenizer: str, tokenizer_model: str
) -> CaptionedPhotos:
    """Add the steps that read a data set and join its captions, photos and lists, for any runner.

    Args:
        pipeline: an empty one.
        data_set: what to read.
        parts: all its parts.
        tokenizer: as `RecordSettings.tokenizer` names it.
        tokenizer_model: path of its model file; empty for those that have none.
    """
    before: Any = {}
    if spans := [part for part in parts if is_span_of_lines(part, data_set)]:
        counts = pipeline | "Spans" >> beam.Create(spans, reshuffle=True) | "CountLines" >> beam.Map(_count_lines)
        summed = counts | "AllCounts" >> beam.combiners.ToDict()
        before = pvalue.AsSingleton(summed | "LinesBefore" >> beam.Map(partial(lines_before, spans)))
    read = (
        pipeline
        | "Parts" >> beam.Create(parts, reshuffle=True)
        | "ReadPart" >> beam.ParDo(ReadPart(data_set), before).with_outputs(_FACTS, REJECTED, main="items")
    )
    read_facts = read[_FACTS] | "SumRead" >> beam.CombineGlobally(Merge(ReadFacts))
    joined = (
        read["items"]
        | "ByName" >> beam.GroupByKey()
        | "JoinPhotos"
        >> beam.ParDo(JoinPhotos(data_set, tokenizer, tokenizer_model), pvalue.AsSingleton(read_facts)).with_outputs(
            _FACTS, REJECTED, main="chunks"
        )
    )
    join_facts = joined[_FACTS] | "SumJoined" >> beam.CombineGlobally(Merge(JoinFacts))
    return CaptionedPhotos(joined["chunks"], read_facts, join_facts, [read[REJECTED], joined[REJECTED]])


def _count_lines(part: Part) -> tuple[int, int]:
    return part.number, count_lines(part.path, part.span)


class Merge(beam.CombineFn):
    """Adds up facts.

    Args:
        kind: their type, with a method `merge`.
    """

    def __init__(self, kind: type[Any]) -> None:
        self._kind = kind

    def create_accumulator(self) -> Any:
        """Facts of nothing."""
        return self._kind()

    def add_input(self, accumulator: Any, element: Any) -> Any:
        """Add facts."""
        accumulator.merge(element)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        """Add all."""
        merged = self._kind()
        for each in accumulators:
            merged.merge(each)
        return merged

    def extract_output(self, accumulator: Any) -> Any:
        """The sum."""
        return accumulator


class ReadPart(beam.DoFn):
    """A part of a data set -> (bucket, pickled items of groups), its facts, and rejections."""

    def __init__(self, data_set: DataSet) -> None:
        self._data_set = data_set

    def process(self, part: Part, lines_before: Mapping[int, int]) -> Iterator[Any]:
        """Read the part; items travel in batches."""
        if part.number in lines_before:
            part = part._replace(span=part.span._replace(lines_before=lines_before[part.number]))
        batches: dict[int, list[tuple[str, Item]]] = defaultdict(list)
        buffered = captions = 0
        progress = ProgressCounter.of_captions(self._data_set.output or "", str(part.number))
        if not part.number:
            batches[0] = []  # there is one bucket at least
        for found in read_part(part, self._data_set):
            if isinstance(found, Rejection):
                yield rejected(found)
            elif isinstance(found, ReadFacts):
                yield pvalue.TaggedOutput(_FACTS, found)
            else:
                name, item = found
                if isinstance(item, Caption):
                    captions += 1
                    if not captions % 1_000:
                        progress.add()
                key = group_key(name)
                bucket = bucket_of(key, self._data_set.buckets)
                batch = batches[bucket]
                batch.append((key, item))
                buffered += 1
                if len(batch) >= ITEMS_PER_BATCH:
                    buffered -= len(batch)
                    yield bucket, pickle.dumps(batches.pop(bucket))
                elif buffered >= BUFFERED_ITEMS:
                    yield from ((bucket, pickle.dumps(batch)) for bucket, batch in batches.items())
                    batches.clear()
                    buffered = 0
        progress.close()
        yield from ((bucket, pickle.dumps(batch)) for bucket, batch in batches.items())


class JoinPhotos(beam.DoFn):
    """(bucket, its items) -> pickled chunks of photos, facts, and rejections."""

    def __init__(self, data_set: DataSet, tokenizer: str, model: str) -> None:
        self._data_set, self._tokenizer, self._model = data_set, tokenizer, model

    def process(self, element: tuple[int, Iterable[bytes]], read: ReadFacts) -> Iterator[Any]:
        """Join the groups of a bucket, and tokenize all their captions in one TensorFlow call."""
        bucket, batches = element
        groups: dict[str, Group] = defaultdict(Group)
        for batch in batches:
            for key, item in pickle.loads(batch):
                groups[key].add(item)
        context, facts = JoinContext.of(self._data_set, read), JoinFacts()
        photos: list[JoinedPhoto] = []
        others: list[UncaptionedPhoto | UnreadList] = []
        while groups:
            for joined in groups.popitem()[1].join(context, facts):
                if isinstance(joined, Rejection):
                    yield rejected(joined)
                elif isinstance(joined, JoinedPhoto):
                    photos.append(joined)
                else:
                    others.append(joined)
        yield pvalue.TaggedOutput(_FACTS, facts)
        chunk = Chunk([], others, first=not bucket)
        for tokenized in self._tokenized(photos):
            chunk.photos.append(tokenized)
            if len(chunk.photos) == PHOTOS_PER_CHUNK:
                yield pickle.dumps(chunk)
                chunk = Chunk([], [])
        if chunk.photos or chunk.others or chunk.first:
            yield pickle.dumps(chunk)

    def _tokenized(self, photos: Sequence[JoinedPhoto]) -> Iterator[PhotoWords]:
        """Photos with the words of their captions."""
        if not photos:
            return
        # here: only a process that tokenizes pays for TensorFlow
        from tfcaption.preprocessing.tokenizer import split_words

        model = load_tokenizer_model(as_path(self._model), self._tokenizer)
        words = iter(split_words([caption for photo in photos for caption in photo.captions], self._tokenizer, model))
        for photo in photos:
            yield PhotoWords(photo, tuple(tuple(next(words)) for _ in photo.captions))
