"""The Beam pipeline of `import_features`: one record shard in, one feature shard out, then features.json.

The features of each photo are found before the pipeline starts. Rows of tables are first copied, as they will be
stored, into one file in the output folder, so that workers need not read whole tables for a few photos.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam import pvalue
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.errors import JobFailed, SourceError
from beam_jobs.execution.counting import some_of
from beam_jobs.execution.finish import REJECTED, add_final_step, check_conservation, rejection, shards_by_split
from beam_jobs.execution.output_folder import (
    FEATURES,
    check_writable,
    complete_output,
    remove_partial_files,
    remove_previous,
)
from beam_jobs.execution.paths import as_path, open_file
from beam_jobs.execution.progress import ProgressCounter
from beam_jobs.execution.reading import read_shard
from beam_jobs.execution.rejection_files import RejectionFile, RejectionFiles, line_in_file, merge_rejections
from beam_jobs.execution.rejections import named_reasons
from beam_jobs.execution.runner import run_pipeline
from beam_jobs.execution.shard_writer import TEMPORARY_MARK, write_shard, write_text
from beam_jobs.execution.worker import start_worker
from beam_jobs.sources.feature_files import find_files, match_photos
from beam_jobs.sources.feature_forms import UNKNOWN_FORM, CommonForm, FeatureForm, Looks
from beam_jobs.sources.feature_tables import FeatureColumns, photo_names, read_rows
from beam_jobs.sources.feature_values import NO_ARRAY, FeatureError, FeatureLocation, read_features
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
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.progress import Progress

_LOOKS = "looks"
_COPIED_ROWS = f"{FEATURES.partial}{TEMPORARY_MARK}rows"  # a later run removes it, whatever ends this one


@dataclass(frozen=True)
class ImportRequest:
    """The features that a user has."""

    records: str  # folder of the records
    source: str  # folder of .npy, .npz or .parquet files, or one .parquet file
    columns: FeatureColumns  # of .parquet files
    key: str | None = None  # name of the array in .npz files
    name: str = ""  # what made the features, for people


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
    """Import the features of all photos of some records.

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
    photos_of = {
        shard.name: dict(map(ids_of, read_shard(request.records, shard.name)))
        for split in info.splits.values()
        for shard in split.shards
    }
    photos = {photo: source_ids for shard in photos_of.values() for photo, source_ids in shard.items()}
    arrays, tables = find_files(as_path(request.source))
    _check_options(request, arrays)
    names = arrays if arrays else _names_in_tables(tables, request.columns)
    name_of = _match(request, photos, names)
    remove_previous(output, FEATURES)
    write_text(output, FEATURES.partial, _settings(info).model_dump_json(indent=1) + "\n")
    if arrays:
        found: dict[str, FeatureLocation | Rejection] = {
            photo: FeatureLocation(str(arrays[name][0])) for photo, name in name_of.items()
        }
    else:
        found = _copy_rows(tables, request.columns, name_of, output)
    shards = [
        (split, shard, {photo: found[photo] for photo in photos_of[shard.name]})
        for split, described in info.splits.items()
        for shard in described.shards
    ]
    pipeline = beam.Pipeline(options=options)
    add_steps(pipeline, info, request, shards, output)
    if not run_pipeline(pipeline, output, total=len(photos), unit="photos", label="importing features"):
        return None
    remove_partial_files(output, FEATURES)
    return load_features_info(as_path(output))


def _check_options(request: ImportRequest, arrays: Mapping[str, Sequence[Path]]) -> None:
    """Refuse options of the other kind of files, and a first file in which the array of features is not found."""
    if request.key and not arrays:
        raise UsageError(f"--key {request.key}: is for .npz files, and --input {request.source} holds .parquet files")
    if arrays and request.columns != FeatureColumns():
        raise UsageError(f"--columns: is for .parquet files, and --input {request.source} holds .npy or .npz files")
    if arrays:
        try:
            read_features(str(arrays[min(arrays)][0]), request.key)
        except FeatureError as error:
            if error.reason == NO_ARRAY:  # of one file only, any other fault is named when all are read
                raise SourceError(f"--input {error.detail}") from error


def _names_in_tables(tables: Sequence[Path], columns: FeatureColumns) -> dict[str, list[Path]]:
    """Name of a photo -> the table of each of its rows."""
    found: dict[str, list[Path]] = {}
    for table in tables:
        for name in photo_names(table, columns):
            found.setdefault(name, []).append(table)
    return found


def _match(
    request: ImportRequest, photos: Mapping[str, Sequence[str]], names: Mapping[str, Sequence[Path]]
) -> dict[str, str]:
    """Photo id -> name of its features, of all photos; prints which features no photo has.

    Raises:
        SourceError: a photo has no features, or more than one.
    """
    where = f"--input {request.source}"
    matches = match_photos(photos, names)
    several = matches.ambiguous | {
        photo: [str(path) for path in names[name]] for photo, name in matches.name_of.items() if len(names[name]) > 1
    }
    if several:
        photo, found = next(iter(sorted(several.items())))
        raise SourceError(
            f"{where}: it is not clear which features {len(several):,} of {len(photos):,} photos have "
            f"({some_of(sorted(several))}): {photo} may be {' or '.join(found[:3])}; leave one of them, or name files "
            "with the folders of the photos' ids"
        )
    if matches.missing:
        raise SourceError(
            f"{where}: {len(matches.missing):,} of {len(photos):,} photos of {request.records} have no features "
            f"({some_of(matches.missing)}); add them, or build records without these photos"
        )
    if matches.unused:
        print(
            f"ignored: features of {len(matches.unused):,} photos that the records do not have "
            f"({some_of(matches.unused)})"
        )
    return matches.name_of


def _copy_rows(
    tables: Iterable[Path], columns: FeatureColumns, name_of: Mapping[str, str], output: str
) -> dict[str, FeatureLocation | Rejection]:
    """Copy the features of all photos from tables into one file; returns photo id -> its part, or what is wrong."""
    photo_of = {name: photo for photo, name in name_of.items()}
    found: dict[str, FeatureLocation | Rejection] = {}
    path = FileSystems.join(output, _COPIED_ROWS)
    offset = 0
    with (
        FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as stream,
        Progress(len(name_of), unit="photos", label="reading tables") as progress,
    ):
        for table in tables:
            for name, features in read_rows(table, columns, photo_of):
                photo = photo_of[name]
                if isinstance(features, FeatureError):
                    detail = f"{table}: {features.detail}" if features.detail else str(table)
                    found[photo] = Rejection(kind="photo", id=photo, reason=features.reason, detail=detail)
                else:
                    stream.write(features.tobytes())
                    found[photo] = FeatureLocation(path, offset, features.shape)
                    offset += features.nbytes
                progress.update(len(found))
    return found


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


def add_steps(
    pipeline: beam.Pipeline,
    info: DatasetInfo,
    request: ImportRequest,
    shards: Sequence[tuple[str, ShardInfo, Mapping[str, FeatureLocation | Rejection]]],
    output: str,
) -> None:
    """Add all steps of the job to an empty pipeline, for any runner.

    Args:
        pipeline: an empty pipeline.
        info: the description of the records.
        request: the features, and the records.
        shards: split, record shard, and where the features of each of its photos are.
        output: folder for the features.
    """
    written = (
        pipeline
        | "Shards" >> beam.Create(shards, reshuffle=True)
        | "ImportShard" >> beam.ParDo(ImportShard(request, output)).with_outputs(REJECTED, _LOOKS, main="written")
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


def _sum(counts: Iterable[Counter[Looks]]) -> Counter[Looks]:
    return sum(counts, Counter())


def _others(looks: Mapping[str, Looks], form: CommonForm) -> Iterator[tuple[int, bytes]]:
    """The rejections of photos of one shard that look otherwise than most."""
    for photo, look in looks.items():
        if fault := form.fault(look):
            yield line_in_file(Rejection(kind="photo", id=photo, reason=fault[0], detail=fault[1]))


class ImportShard(beam.DoFn):
    """(split, record shard, locations) -> its feature shard; yields an `ImportedShard`, and rejections."""

    def __init__(self, request: ImportRequest, output: str) -> None:
        self._request, self._output = request, output

    def setup(self) -> None:
        """End with the process that holds the output folder."""
        start_worker(self._output)

    def process(self, element: tuple[str, ShardInfo, Mapping[str, FeatureLocation | Rejection]]) -> Iterator[Any]:
        """Read the features of the shard's photos and write them; photos without usable ones are left out."""
        split, shard, locations = element
        rejections: list[pvalue.TaggedOutput] = []
        looks: dict[str, Looks] = {}
        digest = hashlib.sha256()
        progress = ProgressCounter(self._output, shard.name)

        def records() -> Iterator[bytes]:
            for serialized in self._records(shard.name):
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

        written = write_shard(self._output, shard.name, records())
        progress.close()
        yield from rejections
        yield pvalue.TaggedOutput(_LOOKS, looks)
        yield ImportedShard(split, written, Counter(looks.values()), digest.hexdigest())

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
    photos = sum(split.photos for split in info.splits.values())
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
