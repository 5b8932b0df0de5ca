"""The first half of the pipeline of `build_records`: parts of a data set -> photos with captions, words and evidence.

All that names a photo meets in its group of names (see `sources/grouping.py`), and several groups share a bucket, of
some 20,000 captions. A worker process that gets a bucket imports TensorFlow to tokenize it (4 s, 0.5 GB). A data set
like Flickr8k is two buckets. Every other process never imports TensorFlow.
"""

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
from beam_jobs.execution.worker import return_freed_memory, without_collections
from beam_jobs.pipelines.buckets import Batches, items_of
from beam_jobs.pipelines.packed import packed
from beam_jobs.sources.grouping import MOST_BUCKETS, bucket_of, group_key
from beam_jobs.sources.items import Caption
from beam_jobs.sources.joining import Group, JoinContext, JoinedPhoto, JoinFacts, UncaptionedPhoto, UnreadList
from beam_jobs.sources.parts import Part, ReadFacts, exact_spans, is_span_of_lines, read_part
from beam_jobs.sources.reader import DataSet
from beam_jobs.sources.text_files import Span
from tfcaption.preprocessing.plain_words import plain_words
from tfcaption.records.dataset_info import Rejection
from tfcaption.records.vocabulary import WORDS, load_tokenizer_model

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
    data_set: int = 0  # its index
    first: bool = False  # the only chunk of a data set of which that is true


@dataclass
class CaptionedPhotos:
    """Collections of a pipeline."""

    chunks: beam.PCollection  # packed `Chunk`s, one at least
    read: beam.PCollection  # one dict: index of each data set -> its ReadFacts
    joined: beam.PCollection  # one dict: index of each data set -> its JoinFacts
    rejections: list[beam.PCollection]  # the output `REJECTED` of each step


def add_photo_steps(
    pipeline: beam.Pipeline,
    data_sets: Sequence[DataSet],
    parts: Sequence[Part],
    *,
    tokenizer: str,
    tokenizer_model: str,
) -> CaptionedPhotos:
    """Add the steps that read data sets and join the captions, photos and lists of each, for any runner.

    Args:
        pipeline: an empty one.
        data_sets: what to read: one, or several that become one.
        parts: all their parts.
        tokenizer: as `RecordSettings.tokenizer` names it.
        tokenizer_model: path of its model file; empty for those that have none.
    """
    spans: Any = {}
    if divided := [part for part in parts if is_span_of_lines(part, data_sets[part.data_set])]:
        counts = (
            pipeline
            | "Spans" >> beam.Create(divided, reshuffle=True)
            | "CountLines" >> beam.Map(_count_lines, data_sets)
            | "AllCounts" >> beam.combiners.ToDict()
        )
        spans = pvalue.AsSingleton(counts | "ExactSpans" >> beam.Map(partial(exact_spans, divided)))
    read = (
        pipeline
        | "Parts" >> beam.Create(parts, reshuffle=True)
        | "ReadPart" >> beam.ParDo(ReadPart(data_sets), spans).with_outputs(_FACTS, REJECTED, main="items")
    )
    read_facts = read[_FACTS] | "SumRead" >> beam.CombineGlobally(Merge(ReadFacts))
    joined = (
        read["items"]
        | "ByName" >> beam.GroupByKey()
        | "JoinPhotos"
        >> beam.ParDo(JoinPhotos(data_sets, tokenizer, tokenizer_model), pvalue.AsSingleton(read_facts)).with_outputs(
            _FACTS, REJECTED, main="chunks"
        )
    )
    join_facts = joined[_FACTS] | "SumJoined" >> beam.CombineGlobally(Merge(JoinFacts))
    return CaptionedPhotos(joined["chunks"], read_facts, join_facts, [read[REJECTED], joined[REJECTED]])


def _count_lines(part: Part, data_sets: Sequence[DataSet]) -> tuple[int, int | None]:
    return part.number, data_sets[part.data_set].layout.lines_in(part.path, part.span)


class Merge(beam.CombineFn):
    """Adds up facts: dicts with facts of some data sets by their index.

    Args:
        kind: their type, with a method `merge`.
    """

    def __init__(self, kind: type[Any]) -> None:
        self._kind = kind

    def create_accumulator(self) -> dict[int, Any]:
        """Facts of nothing."""
        return {}

    def add_input(self, accumulator: dict[int, Any], element: Mapping[int, Any]) -> dict[int, Any]:
        """Add facts."""
        for index, facts in element.items():
            accumulator.setdefault(index, self._kind()).merge(facts)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[dict[int, Any]]) -> dict[int, Any]:
        """Add all."""
        merged: dict[int, Any] = {}
        for each in accumulators:
            self.add_input(merged, each)
        return merged

    def extract_output(self, accumulator: dict[int, Any]) -> dict[int, Any]:
        """The sums."""
        return accumulator


class ReadPart(beam.DoFn):
    """A part of a data set -> (number of a bucket, packed items of groups), its facts, and rejections."""

    def __init__(self, data_sets: Sequence[DataSet]) -> None:
        self._data_sets = data_sets

    def setup(self) -> None:
        """Keep no freed memory: a worker that reads large files of captions has many large messages to send."""
        return_freed_memory()

    def process(self, part: Part, spans: Mapping[int, Span]) -> Iterator[Any]:
        """Read the part; items travel in batches."""
        part = part._replace(span=spans.get(part.number, part.span))
        data_set, first_bucket = self._data_sets[part.data_set], part.data_set * MOST_BUCKETS
        batches, captions = Batches(), 0
        progress = ProgressCounter.of_entries(data_set.output or "", str(part.number))
        if part.first:
            yield first_bucket, packed([])  # there is one bucket at least
        for found in read_part(part, data_set):
            if isinstance(found, Rejection):
                yield rejected(data_set.own(found))
            elif isinstance(found, ReadFacts):
                yield pvalue.TaggedOutput(_FACTS, {part.data_set: found})
            else:
                name, item = found
                if isinstance(item, Caption):
                    captions += 1
                    if not captions % 1_000:
                        progress.add()
                key = group_key(name)
                yield from batches.add(first_bucket + bucket_of(key, data_set.buckets), (key, item))
        progress.close()
        yield from batches.rest()


class JoinPhotos(beam.DoFn):
    """(number of a bucket, its items) -> packed chunks of photos, facts, and rejections."""

    def __init__(self, data_sets: Sequence[DataSet], tokenizer: str, model: str) -> None:
        self._data_sets, self._tokenizer, self._model = data_sets, tokenizer, model
        self._uncounted = 0  # captions

    def setup(self) -> None:
        """Keep no freed memory; see `ReadPart`."""
        return_freed_memory()

    @without_collections
    def process(self, element: tuple[int, Iterable[bytes]], read: Mapping[int, ReadFacts]) -> Iterator[Any]:
        """Join the groups of a bucket, and tokenize all their captions in one TensorFlow call."""
        number, batches = element
        index, bucket = divmod(number, MOST_BUCKETS)
        data_set = self._data_sets[index]
        progress = ProgressCounter.of_entries(data_set.output or "", str(number), joined=True)
        groups: dict[str, Group] = defaultdict(Group)
        for key, item in items_of(batches):
            groups[key].add(item)
            self._uncounted += isinstance(item, Caption)
        context, facts = JoinContext.of(data_set, read[index]), JoinFacts()
        photos: list[JoinedPhoto] = []
        others: list[UncaptionedPhoto | UnreadList] = []
        while groups:
            for joined in groups.popitem()[1].join(context, facts):
                if isinstance(joined, Rejection):
                    yield rejected(data_set.own(joined))
                elif isinstance(joined, JoinedPhoto):
                    photos.append(joined)
                else:
                    others.append(joined)
        yield pvalue.TaggedOutput(_FACTS, {index: facts})
        chunk = Chunk([], others, index, first=not bucket)
        for tokenized in self._tokenized(photos):
            chunk.photos.append(tokenized)
            if len(chunk.photos) == PHOTOS_PER_CHUNK:
                yield packed(chunk)
                chunk = Chunk([], [], index)
        if chunk.photos or chunk.others or chunk.first:
            yield packed(chunk)
        thousands, self._uncounted = divmod(self._uncounted, 1_000)
        progress.add(thousands)
        progress.close()

    def _tokenized(self, photos: Sequence[JoinedPhoto]) -> Iterator[PhotoWords]:
        """Photos with the words of their captions."""
        split = self._split({caption for photo in photos for caption in photo.captions})
        for photo in photos:
            yield PhotoWords(photo, tuple(tuple(split[caption]) for caption in photo.captions))

    def _split(self, captions: Iterable[str]) -> dict[str, Sequence[str]]:
        """Captions and their words."""
        split: dict[str, Sequence[str]] = {}
        others = []
        for caption in captions:
            words = plain_words(caption) if self._tokenizer == WORDS else None
            if words is None:
                others.append(caption)
            else:
                split[caption] = words
        if others:
            # here: only a process with such captions pays for TensorFlow
            from tfcaption.preprocessing.tokenizer import split_words

            model = load_tokenizer_model(as_path(self._model), self._tokenizer)
            split.update(zip(others, split_words(others, self._tokenizer, model), strict=True))
        return split
