"""Steps that give photos their splits: what is counted, what is rejected, and what several data sets have in common."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import apache_beam as beam
from apache_beam import pvalue

from beam_jobs.execution.finish import rejected
from beam_jobs.execution.worker import without_collections
from beam_jobs.pipelines.captioned_photos import Chunk, PhotoWords
from beam_jobs.pipelines.packed import unpacked
from beam_jobs.sources.assignment import SplitCounts, assign, unassigned
from beam_jobs.sources.decision import Decision
from beam_jobs.sources.held_out import HeldOut
from beam_jobs.sources.merging import Sighting, compare, sighting_of_unused, sightings
from beam_jobs.sources.parts import OwnPaths
from beam_jobs.sources.reader import DataSet
from tfcaption.preprocessing.normalization import lacks_spaces
from tfcaption.records.dataset_info import Rejection

COUNTS, SIGHTINGS = "counts", "sightings"  # tagged outputs of `CountSplits`


class CountSplits(beam.DoFn):
    """A chunk of photos -> its words, with their counts in training captions; its SplitCounts; rejections."""

    def __init__(self, data_sets: Sequence[DataSet]) -> None:
        self._data_sets = data_sets

    @without_collections
    def process(self, element: bytes, decisions: Mapping[int, Decision], held_out: HeldOut) -> Iterator[Any]:
        """Assign a split to each photo; only the words of those of the training split count."""
        chunk: Chunk = unpacked(element)
        data_set, decision = self._data_sets[chunk.data_set], decisions[chunk.data_set]
        counts, words, own = SplitCounts(), Counter[str](), OwnPaths()
        for each in chunk.photos:
            split = assign(each.photo, decision, held_out, counts)
            if data_set.name:
                of_split = "" if isinstance(split, Rejection) else split
                for sighting in sightings(each.photo, of_split, data_set, own):
                    yield pvalue.TaggedOutput(SIGHTINGS, sighting)
            if isinstance(split, Rejection):
                yield rejected(data_set.own(split))
                continue
            if split == "train":
                for caption, of_caption in zip(each.photo.captions, each.words, strict=True):
                    if lacks_spaces(of_caption):
                        counts.unspaced.add(caption)
            spoken = chain.from_iterable(each.words)
            words.update(spoken if split == "train" else dict.fromkeys(spoken, 0))
            yield from _without_words(each, data_set)
        for rejection in unassigned(chunk.others, decision, data_set, counts):
            if data_set.name and rejection.kind == "unused":  # unless another data set uses it
                yield pvalue.TaggedOutput(SIGHTINGS, sighting_of_unused(rejection, data_set, own))
            else:
                yield rejected(data_set.own(rejection))
        yield pvalue.TaggedOutput(COUNTS, {chunk.data_set: counts})
        yield dict(words)


def _without_words(each: PhotoWords, data_set: DataSet) -> Iterator[pvalue.TaggedOutput]:
    """Rejections of captions of which the tokenizer leaves nothing."""
    photo = data_set.own_id(each.photo.id)
    for caption, words in zip(each.photo.captions, each.words, strict=True):
        if not words:
            yield rejected(Rejection(kind="caption", id=photo, reason="empty caption", detail=caption))
    if not any(each.words):
        yield rejected(Rejection(kind="photo", id=photo, reason="no captions"))


class CompareDataSets(beam.DoFn):
    """(what is the same for one photo, sightings) -> (id, where) of each overlap; rejections of unused photos."""

    def process(self, element: tuple[str, Iterable[Sighting]]) -> Iterator[Any]:
        """Compare them."""
        overlap, unused = compare(element[1])
        if overlap:
            yield overlap
        if unused:
            yield rejected(unused)
