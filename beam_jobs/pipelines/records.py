"""The Beam pipeline of `build_records`: photos get splits and shards, the words of the training captions are counted.

`captioned_photos.py` and `assigned_photos.py` have the steps before that, `record_shards.py` those after it. The
process that starts the job only finds the files of the captions: workers read captions and look for photos, and
whatever the splits of all photos depend on is added up in little memory (`sources/decision.py`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from beam_jobs.errors import JobFailed, SourceError
from beam_jobs.execution.announcement import announce, announced
from beam_jobs.execution.counting import Some
from beam_jobs.execution.finish import REJECTED
from beam_jobs.execution.output_folder import RECORDS, remove_previous
from beam_jobs.execution.paths import as_path
from beam_jobs.execution.progress import announce_total
from beam_jobs.execution.reading import read_if_exists
from beam_jobs.execution.rejection_files import write_sorted
from beam_jobs.execution.runner import run_pipeline
from beam_jobs.execution.worker import without_collections
from beam_jobs.pipelines.assigned_photos import COUNTS, SIGHTINGS, CompareDataSets, CountSplits
from beam_jobs.pipelines.captioned_photos import PHOTOS_PER_CHUNK, Chunk, Merge, add_photo_steps
from beam_jobs.pipelines.packed import packed, unpacked
from beam_jobs.pipelines.record_shards import BuildContext, TokenizedPhoto, add_shard_steps
from beam_jobs.sources.assignment import SplitCounts
from beam_jobs.sources.base import CaptionedPhoto
from beam_jobs.sources.decision import Decision, decide
from beam_jobs.sources.held_out import HeldOut, held_out_photos
from beam_jobs.sources.joining import JoinFacts
from beam_jobs.sources.parts import Part, ReadFacts
from beam_jobs.sources.plan import DataSetFacts, Plan, check_plan, make_plan
from beam_jobs.sources.reader import DataSet
from beam_jobs.sources.unpacked_photos import remove_unpacked
from tfcaption.preprocessing.vocabulary_learning import learn_vocabulary
from tfcaption.records.dataset_info import (
    REJECTED_FILE,
    SPLITS,
    DatasetInfo,
    RecordSettings,
    load_dataset_info,
)
from tfcaption.records.sharding import automatic_shard_count, shard_index, shard_name
from tfcaption.records.statistics import Totals, VocabularyCounts
from tfcaption.records.vocabulary import SPECIAL_TOKENS
from tfcaption.runtime.errors import UsageError

MOST_PHOTOS_PER_SHARD = 10_000  # a worker sorts the words of a shard's photos in memory, some 4 KB a photo
_BUFFERED_CAPTIONS = 100_000  # of all shards, before they travel: some 40 MB


@dataclass(frozen=True)
class RecordsJob:
    """What `build_records` is asked to do."""

    data_sets: Sequence[DataSet]  # one, or several with names that become one
    settings: RecordSettings  # all that decides the bytes
    output: str  # folder for the records, any path that Beam's filesystems know; records in it are replaced
    max_rejected: float | None = None  # see `check_plan`
    held_out: tuple[str, ...] = ()  # see `held_out_photos`
    allow_overlap: bool = False
    overwrite: bool = False  # keep no shard of an earlier run
    tokenizer_model: str = ""  # path of the tokenizer's model file; empty for those that have none
    first_words: tuple[str, ...] = SPECIAL_TOKENS  # which the vocabulary begins with


def run(job: RecordsJob, parts: Sequence[Part], options: PipelineOptions) -> DatasetInfo | None:
    """Write the records of a data set, or of several that become one.

    Prints what is known of the data as soon as all captions are read. Shards that an earlier run wrote are kept if
    they were made from the same settings, photos and captions.

    Args:
        job: what to do.
        parts: all parts of all data sets.
        options: Beam's.

    Returns:
        The description of the records, as written; None for a dry run or a template.

    Raises:
        SourceError: the captions cannot be used, or no photo is left to train on.
        UsageError: the shards would be too large.
        JobFailed: too much was rejected, or records were lost.
    """
    pipeline = beam.Pipeline(options=options)
    add_steps(pipeline, job, parts)
    try:
        with announced(job.output) as show:
            finished = run_pipeline(
                pipeline, job.output, total=None, unit="photos", label="writing records", now_and_then=show
            )
    finally:
        with suppress(OSError):  # what stopped the job may be that nothing can be written
            remove_unpacked(job.output)
    return load_dataset_info(as_path(job.output)) if finished else None


def add_steps(pipeline: beam.Pipeline, job: RecordsJob, parts: Sequence[Part]) -> None:
    """Add all steps of the job to an empty pipeline, for any runner; see `run` for the arguments."""
    found = add_photo_steps(
        pipeline, job.data_sets, parts, tokenizer=job.settings.tokenizer, tokenizer_model=job.tokenizer_model
    )
    read, joined = pvalue.AsSingleton(found.read), pvalue.AsSingleton(found.joined)
    decision = pvalue.AsSingleton(found.read | "Decide" >> beam.Map(_decide, joined, data_sets=job.data_sets))
    held_out = pipeline | "HeldOut" >> beam.Create([job.held_out]) | "ReadHeldOut" >> beam.Map(_read_held_out)
    counted = found.chunks | "CountSplits" >> beam.ParDo(
        CountSplits(job.data_sets), decision, pvalue.AsSingleton(held_out)
    ).with_outputs(COUNTS, SIGHTINGS, REJECTED, main="words")
    counts = counted[COUNTS] | "SumSplits" >> beam.CombineGlobally(Merge(SplitCounts))
    rejections, overlap = [*found.rejections, counted[REJECTED]], []
    if len(job.data_sets) > 1:
        compared = (
            counted[SIGHTINGS]
            | "SamePhoto" >> beam.GroupByKey()
            | "Compare" >> beam.ParDo(CompareDataSets()).with_outputs(REJECTED, main="overlap")
        )
        rejections.append(compared[REJECTED])
        overlap = [pvalue.AsIter(compared["overlap"])]
    # No beam.Flatten for the plan: the final one takes the same rejections, and FnApiRunner (2.77) would then wait for
    # itself. They are read only where the job fails.
    sides = [read, joined, decision, *overlap, *map(pvalue.AsIter, rejections)]
    plan = counts | "Plan" >> beam.Map(_plan, *sides, job=job)
    vocabulary = (
        counted["words"]
        | "CountWords" >> beam.CombineGlobally(_merge_counts)
        | "Vocabulary" >> beam.Map(_learn_vocabulary, pvalue.AsSingleton(plan), job.settings, job.first_words)
    )
    photos = found.chunks | "ChooseShards" >> beam.ParDo(ChooseShards(job), decision, pvalue.AsSingleton(plan))
    totals = plan | "Totals" >> beam.Map(lambda plan: Totals(plan.photos_in, plan.captions_in))
    build = BuildContext(job.settings, job.output, job.max_rejected, job.tokenizer_model)
    add_shard_steps(photos, vocabulary, totals, rejections, build=build)


def _decide(
    read: Mapping[int, ReadFacts], joined: Mapping[int, JoinFacts], *, data_sets: Sequence[DataSet]
) -> dict[int, Decision]:
    return {index: decide(data_set, read[index], joined[index]) for index, data_set in enumerate(data_sets)}


def _read_held_out(paths: Sequence[str]) -> HeldOut:
    return HeldOut(held_out_photos(paths))


def _plan(
    counts: Mapping[int, SplitCounts],
    read: Mapping[int, ReadFacts],
    joined: Mapping[int, JoinFacts],
    decisions: Mapping[int, Decision],
    *sides: Iterable[Any],
    job: RecordsJob,
) -> Plan:
    """Plan the records, tell the user, and make room for them.

    Where too little is left of the data, `rejected.jsonl` is written, unless the output holds complete records, which
    stay as they are.

    Args:
        counts, read, joined, decisions: of each data set, by its index.
        sides: of several data sets (id, where) of the photos that one trains on and another holds out; then
            collections of rejections, as lines.
        job: what to do.
    """
    facts = [
        DataSetFacts(data_set, read[index], joined[index], decisions[index], counts[index])
        for index, data_set in enumerate(job.data_sets)
    ]
    overlap, rejections = Some(), [*sides]
    if len(facts) > 1:
        overlaps, *rejections = sides
        for each in overlaps:
            overlap.add(each)
    plan = make_plan(facts, overlap, allow_overlap=job.allow_overlap)
    announce(job.output, plan.lines)
    announce_total(job.output, plan.photos.total())
    keeps_records = read_if_exists(job.output, RECORDS.description) is not None
    file = "" if keeps_records else FileSystems.join(job.output, REJECTED_FILE)
    try:
        check_plan(plan, job.max_rejected, file)
    except (JobFailed, SourceError):
        if file:
            write_sorted((line for _, line in chain(*rejections)), job.output)
        raise
    _shard_counts(plan, job.settings.shards)
    remove_previous(job.output, RECORDS, keep_shards=not job.overwrite, running=True)
    return plan


def _shard_counts(plan: Plan, shards: int | None) -> dict[str, int]:
    """Shards of each split: `shards` for the largest, the others in proportion; by their photos where it is None."""
    sizes = {split: plan.photos[split] for split in SPLITS if plan.photos[split]}
    if shards is None:
        return {split: automatic_shard_count(size) for split, size in sizes.items()}
    least = -(-max(sizes.values()) // MOST_PHOTOS_PER_SHARD)
    if shards < least:
        raise UsageError(
            f"--shards {shards}: more than {MOST_PHOTOS_PER_SHARD:,} photos in a shard; name {least:,} or more, or auto"
        )
    return {split: max(1, round(shards * size / max(sizes.values()))) for split, size in sizes.items()}


class ChooseShards(beam.DoFn):
    """A chunk of photos -> (shard name, packed TokenizedPhotos), with as many photos at once as a bundle allows.

    The first chunk also gives every shard without photos, so that empty shards are written.
    """

    def __init__(self, job: RecordsJob) -> None:
        self._shards, self._seed, self._data_sets = job.settings.shards, job.settings.seed, job.data_sets

    def start_bundle(self) -> None:
        """Begin with nothing."""
        self._photos, self._buffered = defaultdict[str, list[TokenizedPhoto]](list), 0

    @without_collections
    def process(self, element: bytes, decisions: Mapping[int, Decision], plan: Plan) -> Iterator[tuple[str, bytes]]:
        """Choose the shard of each photo by a hash of its id."""
        chunk: Chunk = unpacked(element)
        shards = _shard_counts(plan, self._shards)
        if chunk.first:
            for name, count in shards.items():
                yield from ((shard_name(name, index, count), packed([])) for index in range(count))
        for photo, words in chunk.photos:
            split, _ = decisions[chunk.data_set].split_of(photo.id, photo.evidence)
            kept = [(caption, said) for caption, said in zip(photo.captions, words, strict=True) if said]
            if split and kept:
                captions, said = zip(*kept, strict=True)
                name = self._data_sets[chunk.data_set].own_id(photo.id)
                index = shard_index(name, shards=shards[split], seed=self._seed)
                captioned = CaptionedPhoto(name, photo.location, captions, split, photo.source_ids)
                self._photos[shard_name(split, index, shards[split])].append(TokenizedPhoto(captioned, said))
                self._buffered += len(kept)
        if self._buffered >= _BUFFERED_CAPTIONS:
            yield from self._batches()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """What is left."""
        return map(GlobalWindows.windowed_value, self._batches())

    def _batches(self) -> Iterator[tuple[str, bytes]]:
        for name, photos in self._photos.items():
            for start in range(0, len(photos), PHOTOS_PER_CHUNK):
                yield name, packed(photos[start : start + PHOTOS_PER_CHUNK])
        self.start_bundle()


def _merge_counts(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    merged: Counter[str] = Counter()
    for part in counts:
        merged.update(part)
    return dict(merged)


def _learn_vocabulary(
    word_counts: dict[str, int], _: Plan, settings: RecordSettings, first: Sequence[str]
) -> VocabularyCounts:
    """The vocabulary, once the plan is known to be sound."""
    learnt = learn_vocabulary(word_counts, settings.tokenizer, min_count=settings.min_count, first=first)
    if len(learnt.words) == len(SPECIAL_TOKENS):
        most = max(word_counts.values(), default=0)
        raise JobFailed(
            f"no word of the training captions occurs {settings.min_count:,} times (the most frequent one {most:,}), "
            "so a captioner could learn none; name a lower --min_count, or add captions"
        )
    return learnt
