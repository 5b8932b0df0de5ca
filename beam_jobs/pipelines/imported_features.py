"""The Beam pipeline of `import_features`: one record shard in, one feature shard out, then features.json.

`matched_features.py` has the steps before that, which find the features of each photo. Rows of tables are copied first,
as they will be stored, into a file for each table in the output folder, so that each table is read once for all shards.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam import pvalue
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.errors import JobFailed, SourceError
from beam_jobs.execution.announcement import announce, announced
from beam_jobs.execution.finish import REJECTED, add_final_step, check_conservation, rejection, shards_by_split
from beam_jobs.execution.output_folder import (
    FEATURES,
    check_writable,
    complete_output,
    remove_partial_files,
    remove_previous,
)
from beam_jobs.execution.paths import as_path, open_file
from beam_jobs.execution.progress import ProgressCounter, announce_total
from beam_jobs.execution.reading import read_shard
from beam_jobs.execution.rejection_files import RejectionFile, RejectionFiles, line_in_file, merge_rejections
from beam_jobs.execution.rejections import named_reasons
from beam_jobs.execution.runner import run_pipeline
from beam_jobs.execution.shard_writer import TEMPORARY_MARK, atomic_file, write_shard, write_text
from beam_jobs.execution.worker import start_worker
from beam_jobs.pipelines.buckets import Batches, items_of
from beam_jobs.pipelines.matched_features import add_matching_steps
from beam_jobs.sources.feature_files import ImportRequest
from beam_jobs.sources.feature_forms import UNKNOWN_FORM, CommonForm, FeatureForm, Looks
from beam_jobs.sources.feature_matching import MatchFacts
from beam_jobs.sources.feature_tables import read_rows
from beam_jobs.sources.feature_values import FeatureError, FeatureLocation, read_features
from tfcaption.records.dataset_info import (
    IMPORTED,
    REJECTED_FILE,
    DatasetInfo,
    FeatureSettings,
    FeaturesInfo,
    Rejection,
    ShardInfo,
    load_dataset_info,
    load_features_info,
)
from tfcaption.records.examples import feature_record, features_size, ids_of
from tfcaption.records.tfrecord import RecordError
from tfcaption.runtime.paths import is_local

_LOOKS = "looks"
_COPIED_ROWS = f"{FEATURES.partial}{TEMPORARY_MARK}rows"  # a later run removes it, whatever ends this one


@dataclass
class ImportedShard:
    """A feature shard that was written."""

    split: str
    info: ShardInfo
    looks: Counter[Looks]
    sha256: str  # of all values


def run(
    request: ImportRequest, options: PipelineOptions, *, output: str, overwrite: bool = False
) -> FeaturesInfo | None:
    """Import the features of all photos of some records; prints which features no photo has.

    Args:
        request: the features, and the records.
        options: Beam's.
        output: folder for the features, any path that Beam's filesystems know.
        overwrite: replace complete features.

    Returns:
        The description of the features, as written; None for a dry run or a template.

    Raises:
        UsageError: the job must not write into `output`, or an option is not for such files.
        RecordError: the records are missing or damaged.
        SourceError: there are no features, or not of every photo, or it is not clear which array holds them.
        JobFailed: features cannot be used; `rejected.jsonl` in `output` names each photo.
    """
    info = load_dataset_info(as_path(request.records))
    check_writable(output, FEATURES, overwrite=overwrite)
    if is_local(request.source):  # a worker does the same for all files, in some seconds
        kinds = [not name for _, name in islice(request.files(), 1)]
        request.check(arrays=False in kinds, tables=True in kinds)
    pipeline = beam.Pipeline(options=options)
    add_steps(pipeline, info, request, output)
    with announced(output) as show:
        finished = run_pipeline(
            *(pipeline, output),
            total=None,
            unit="photos",
            label="importing features",
            reading="reading tables",
            now_and_then=show,
        )
    if not finished:
        return None
    remove_partial_files(output, FEATURES)
    return load_features_info(as_path(output))


def _settings(info: DatasetInfo, form: FeatureForm = UNKNOWN_FORM, weights: str = "") -> FeatureSettings:
    """The settings of imported features; by default those of a job that has not read them yet."""
    return FeatureSettings(
        **form._asdict(),
        layers=[IMPORTED],
        weights=weights,
        preprocessing="unknown",
        records=info.fingerprint(),
        batch_size=1,
    )


def add_steps(pipeline: beam.Pipeline, info: DatasetInfo, request: ImportRequest, output: str) -> None:
    """Add all steps of the job to an empty pipeline, for any runner.

    Args:
        pipeline: an empty pipeline.
        info: the description of the records.
        request: the features, and the records.
        output: folder for the features.
    """
    shards, photos = [shard.name for split in info.splits.values() for shard in split.shards], _photos(info)
    matched = add_matching_steps(pipeline, request, shards, photos)
    planned = matched.facts | "Plan" >> beam.Map(_plan, request, photos, _settings(info), output)
    plan = pvalue.AsSingleton(planned)
    copied = matched.rows | "ToTables" >> beam.GroupByKey() | "CopyRows" >> beam.ParDo(CopyRows(request, output), plan)
    written = (
        [matched.located, copied]
        | "Located" >> beam.Flatten()
        | "ToShards" >> beam.GroupByKey()
        | "ImportShard" >> beam.ParDo(ImportShard(request, output), plan).with_outputs(REJECTED, _LOOKS, main="written")
    )
    counts = written.written | "Looks" >> beam.Map(lambda shard: shard.looks)
    form = counts | "SumLooks" >> beam.CombineGlobally(_sum) | "CommonForm" >> beam.Map(CommonForm)
    other = written[_LOOKS] | "FindOthers" >> beam.FlatMap(_others, pvalue.AsSingleton(form))
    rejected_files = (
        [written[REJECTED], other] | "Rejected" >> beam.Flatten() | "RejectedFiles" >> RejectionFiles(output)
    )
    add_final_step(
        pipeline,
        _finish,
        pvalue.AsList(written.written),
        pvalue.AsSingleton(form),
        pvalue.AsList(rejected_files),
        info=info,
        request=request,
        output=output,
    )


def _photos(info: DatasetInfo) -> int:
    return sum(split.photos for split in info.splits.values())


def _plan(facts: MatchFacts, request: ImportRequest, photos: int, settings: FeatureSettings, output: str) -> MatchFacts:
    """Check that each photo has features, make room in the output folder, and tell which features no photo has.

    Args:
        facts: of all photos.
        request: the features, and the records.
        photos: of the records.
        settings: of the features, before they are read.
        output: the folder, where a runner may try this step again.

    Raises:
        SourceError: a photo has no features, or more than one; the output folder stays as it is.
    """
    where = f"--input {request.source}"
    ambiguous, missing, unused = facts.ambiguous, facts.missing, facts.unused
    if ambiguous:
        photo, found = ambiguous.first[0]
        raise SourceError(
            f"{where}: it is not clear which features {ambiguous.count:,} of {photos:,} photos have "
            f"({ambiguous.names(at=0)}): {photo} may be {' or '.join(found)}; leave one of them, or name files "
            "with the folders of the photos' ids"
        )
    if missing:
        raise SourceError(
            f"{where}: {missing.count:,} of {photos:,} photos of {request.records} have no features "
            f"({missing.names()}); add them, or build records without these photos"
        )
    remove_previous(output, FEATURES, running=True)
    write_text(output, FEATURES.partial, settings.model_dump_json(indent=1) + "\n")
    announce_total(output, photos)
    if unused:
        announce(
            output,
            [f"ignored: features of {unused.count:,} photos that the records do not have ({unused.names()})"],
        )
    return facts


def _sum(counts: Iterable[Counter[Looks]]) -> Counter[Looks]:
    return sum(counts, Counter())


def _others(looks: Mapping[str, Looks], form: CommonForm) -> Iterator[tuple[int, bytes]]:
    """The rejections of photos of one shard that look otherwise than most."""
    for photo, look in looks.items():
        if fault := form.fault(look):
            yield line_in_file(Rejection(kind="photo", id=photo, reason=fault[0], detail=fault[1]))


class CopyRows(beam.DoFn):
    """(path of a table, packed rows to read) -> (record shard, packed locations of its photos' copies)."""

    def __init__(self, request: ImportRequest, output: str) -> None:
        self._columns, self._output = request.columns, output

    def setup(self) -> None:
        """End with the process that holds the output folder."""
        start_worker(self._output)

    def process(self, element: tuple[bytes, Iterable[bytes]], _: MatchFacts) -> Iterator[tuple[str, bytes]]:
        """Copy the rows, as they will be stored, into a file of the table."""
        table = os.fsdecode(element[0])
        photo_of = {name: (photo, shard) for name, photo, shard in items_of(element[1])}
        digest = hashlib.sha256(element[0]).hexdigest()[:16]
        name, progress = f"{_COPIED_ROWS}-{digest}", ProgressCounter.of_entries(self._output, digest)
        batches, offset = Batches(), 0
        with atomic_file(self._output, name) as stream:
            for number, (row, features) in enumerate(read_rows(as_path(table), self._columns, photo_of), 1):
                if not number % 1_000:
                    progress.add()
                photo, shard = photo_of[row]
                found: FeatureLocation | Rejection
                if isinstance(features, FeatureError):
                    detail = f"{table}: {features.detail}" if features.detail else table
                    found = Rejection(kind="photo", id=photo, reason=features.reason, detail=detail)
                else:
                    stream.write(features.tobytes())
                    found = FeatureLocation(FileSystems.join(self._output, name), offset, features.shape)
                    offset += features.nbytes
                yield from batches.add(shard, (photo, found))
        progress.close()
        yield from batches.rest()


class ImportShard(beam.DoFn):
    """(record shard, packed locations) -> its feature shard; yields an `ImportedShard`, and rejections."""

    def __init__(self, request: ImportRequest, output: str) -> None:
        self._request, self._output = request, output

    def setup(self) -> None:
        """End with the process that holds the output folder."""
        start_worker(self._output)

    def process(self, element: tuple[str, Iterable[bytes]], _: MatchFacts) -> Iterator[Any]:
        """Read the features of the shard's photos and write them; photos without usable ones are left out."""
        name, batches = element
        locations: dict[str, FeatureLocation | Rejection] = dict(items_of(batches))
        rejections: list[pvalue.TaggedOutput] = []
        looks: dict[str, Looks] = {}
        digest = hashlib.sha256()
        progress = ProgressCounter(self._output, name)

        def records() -> Iterator[bytes]:
            for serialized in self._records(name):
                photo, _ = ids_of(serialized)
                try:
                    values = self._read(locations[photo])
                except FeatureError as error:
                    rejections.append(rejection("photo", photo, error.reason, error.detail))
                else:
                    looks[photo] = (values.shape, values.ndim == 3 and not values.any(-1).all())
                    digest.update(f"{values.shape}".encode() + values.tobytes())
                    yield feature_record(serialized, values.tobytes())
                progress.add()

        written = write_shard(self._output, name, records())
        progress.close()
        yield from rejections
        yield pvalue.TaggedOutput(_LOOKS, looks)
        yield ImportedShard(name.partition("-")[0], written, Counter(looks.values()), digest.hexdigest())

    def _records(self, name: str) -> Iterator[bytes]:
        try:
            yield from read_shard(self._request.records, name)
        except (RecordError, OSError) as error:
            raise JobFailed(str(error)) from error

    def _read(self, location: FeatureLocation | Rejection) -> np.ndarray:
        if isinstance(location, Rejection):
            raise FeatureError(location.reason, location.detail)
        if not location.shape:
            return read_features(location.path, self._request.key)
        with open_file(location.path) as stream:
            stream.seek(location.offset)
            return np.frombuffer(stream.read(features_size(location.shape)), "<f2").reshape(location.shape)


def _finish(
    _: None,
    shards: list[ImportedShard],
    form: CommonForm,
    rejected_files: list[RejectionFile],
    *,
    info: DatasetInfo,
    request: ImportRequest,
    output: str,
) -> None:
    """Check that nothing was lost and that all photos' features have one form; write the description last."""
    shards = sorted(shards, key=lambda shard: shard.info.name)
    splits = shards_by_split(info.splits, ((shard.split, shard.info) for shard in shards))
    photos = _photos(info)
    rejected = sum(file.counts.total for file in rejected_files) - form.faulty  # those are in the shards
    check_conservation("photos", photos, written=sum(shard.info.records for shard in shards), rejected=rejected)
    if rejected_files:
        rejections = merge_rejections(rejected_files, output)
        raise JobFailed(
            f"the features of {rejections.total:,} of {photos:,} photos cannot be used ({named_reasons(rejections)}); "
            f"{FileSystems.join(output, REJECTED_FILE)} names each. Compute them again, or build records without these "
            "photos"
        )
    digest = hashlib.sha256()
    for shard in shards:
        digest.update(shard.sha256.encode())
    settings = _settings(info, form.form, weights=digest.hexdigest())
    complete_output(
        output,
        FEATURES,
        FeaturesInfo(
            settings=settings,
            encoder=[IMPORTED],
            encoder_input=[],
            weights=IMPORTED,
            name=request.name,
            splits=splits,
        ),
    )
