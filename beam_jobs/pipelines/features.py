"""The Beam pipeline of `extract_features`: one record shard in, a feature shard of each view out, then features.json.

The input is records, or features of an earlier stage. Nothing is shuffled.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared

from beam_jobs.errors import JobFailed
from beam_jobs.execution.ahead import one_ahead
from beam_jobs.execution.finish import add_final_step, check_conservation, shards_by_split
from beam_jobs.execution.output_folder import FEATURES, complete_output, prepare_output, previous_settings
from beam_jobs.execution.paths import as_path
from beam_jobs.execution.progress import KEPT_SHARDS, ProgressCounter
from beam_jobs.execution.reading import read_shard
from beam_jobs.execution.runner import run_pipeline
from beam_jobs.execution.shard_writer import ShardDigest, write_shards
from beam_jobs.execution.worker import start_worker
from tfcaption.backbones.families import is_file
from tfcaption.backbones.settings import EncoderSettings
from tfcaption.records.dataset import load_dataset
from tfcaption.records.dataset_info import (
    IMPORTED,
    NAMED_WEIGHTS,
    DatasetInfo,
    FeatureSettings,
    FeaturesInfo,
    ShardInfo,
    load_dataset_info,
    load_features_info,
)
from tfcaption.records.examples import Precision, Stage, feature_record, features_of, features_size, inputs_of
from tfcaption.records.sharding import view_name
from tfcaption.records.tfrecord import RecordError, frame_record
from tfcaption.records.vocabulary import left_right_tokens
from tfcaption.runs.directory import load_run
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.paths import is_local
from tfcaption.runtime.process import start_tensorflow

if TYPE_CHECKING:
    from beam_jobs.pipelines.feature_extractor import FeatureExtractor
    from tfcaption.models.encoder import Encoder


@dataclass(frozen=True)
class FeatureRequest:
    """The features that a user asks for."""

    records: str  # folder of the records
    stages: tuple[Stage, ...]  # one or several, in the encoder's order
    encoder: EncoderSettings
    run: str | None = None  # whose encoder, fine-tuned or not, is taken instead
    features: str | None = None  # folder of features of an earlier stage, to start from instead of the photos
    views: int = 1  # of each training photo, where the photos are the input
    batch_size: int = 64  # photos per call
    precision: Precision | Literal["auto"] = "auto"  # of the encoder, see `load_encoder`


@dataclass(frozen=True)
class StageOutput:
    """The features of one stage."""

    settings: FeatureSettings
    folder: str


@dataclass(frozen=True)
class ExtractionContext:
    """What every worker of the job must know."""

    outputs: tuple[StageOutput, ...]  # one or several, of one encoder and one source
    image_size: int  # pixels, both sides
    encoder: EncoderSettings
    run: str | None
    described: dict[str, Any]  # the encoder, as features.json names it
    records: str  # folder of the records
    source: str  # the same, or folder of features of an earlier stage
    output: str  # of the job; of one stage also the folder of its features

    @property
    def settings(self) -> FeatureSettings:
        """Those of the last stage; all have the same source, views, batch size and precision."""
        return self.outputs[-1].settings


def run(
    request: FeatureRequest, options: PipelineOptions, *, output: str, overwrite: bool = False
) -> list[FeaturesInfo] | None:
    """Extract the features of records; shards that an earlier run with the same settings wrote are kept.

    Args:
        request: the features to extract.
        options: Beam's.
        output: folder for the features, any path that Beam's filesystems know; of several stages each gets a folder of
            its name there.
        overwrite: replace complete features.

    Returns:
        The description of the features of each stage, as written; None for a dry run or a template.

    Raises:
        UsageError: the stages do not follow each other, or the job must not write into `output`.
        RecordError: records or features are missing, or do not belong together.
        EncoderError, RunError: the encoder cannot be loaded.
        JobFailed: a record is damaged, or records were lost.
    """
    info = load_dataset_info(as_path(request.records))
    source = load_features_info(as_path(request.features)).settings if request.features else None
    if source:
        _check_source(request, source, info)
    folders = _folders(output, request.stages)
    precision = request.precision
    for folder in folders if precision == "auto" and not overwrite else ():
        # On another machine as well, a rerun goes on with what is there.
        if previous := previous_settings(folder, FEATURES, FeaturesInfo, FeatureSettings):
            precision = previous.precision
    shared = Shared()
    extractor = shared.acquire(
        lambda: open_extractor(
            encoder=request.encoder,
            run=request.run,
            image_size=info.settings.image_size,
            stages=request.stages,
            batch_size=request.batch_size,
            precision=precision,
            made_from=source.stage if source else "photo",
        )
    )
    views, sides = (source.views, source.sides) if source else (request.views, _left_right_tokens(request))
    outputs = tuple(
        StageOutput(extractor.settings(stage, info, views=views, sides=sides), folder)
        for stage, folder in zip(request.stages, folders, strict=True)
    )
    settings = outputs[-1].settings
    if source:
        _check_encoder(request, source, settings, extractor.encoder)
    for stage_output in outputs:
        prepare_output(stage_output.folder, FEATURES, FeaturesInfo, stage_output.settings, overwrite=overwrite)
    context = ExtractionContext(
        outputs,
        info.settings.image_size,
        request.encoder,
        request.run,
        _described(request, extractor.encoder),
        request.records,
        request.features or request.records,
        output,
    )
    pipeline = beam.Pipeline(options=options)
    add_steps(pipeline, context, shared)
    total = sum(split.photos * settings.views_of(name) for name, split in info.splits.items())
    unit = "views of photos" if settings.views > 1 else "photos"
    finished = run_pipeline(pipeline, output, total=total, unit=unit, label="extracting features")
    return [load_features_info(as_path(folder)) for folder in folders] if finished else None


def _folders(output: str, stages: Sequence[Stage]) -> list[str]:
    """The folder of the features of each stage."""
    return [output] if len(stages) == 1 else [FileSystems.join(output, stage) for stage in stages]


def open_extractor(
    *,
    encoder: EncoderSettings,
    run: str | None,
    image_size: int,
    stages: Sequence[Stage],
    batch_size: int,
    precision: Precision | Literal["auto"],
    made_from: Stage,
) -> "FeatureExtractor":
    """A `FeatureExtractor`, which starts TensorFlow in this process.

    Raises:
        UsageError: a stage does not come after `made_from`; TensorFlow is not started.
        EncoderError, RunError: the encoder cannot be loaded.
    """
    order = get_args(Stage)
    if order.index(stages[0]) <= order.index(made_from):
        raise UsageError(f"--stage {stages[0]} cannot be made from {made_from}, only from an earlier stage")
    start_tensorflow()
    from beam_jobs.pipelines.feature_extractor import FeatureExtractor, load_encoder  # here: imports TensorFlow

    loaded = load_encoder(encoder, run, image_size=image_size, precision=precision)
    return FeatureExtractor(loaded, stages=stages, batch_size=batch_size, made_from=made_from)


def _described(request: FeatureRequest, encoder: "Encoder") -> dict[str, Any]:
    """The encoder as features.json names it, so that a run in another working directory finds it, too."""
    names = request.encoder.encoders if request.run is None else load_run(request.run).config.model.encoders
    return {
        "encoder": [_absolute(name) if is_file(name) else name for name in names],
        "encoder_input": [backbone.input for backbone in encoder.backbones],
        "weights": _absolute(request.run or request.encoder.weights),
    }


def _absolute(path: str | None) -> str | None:
    return path if path is None or path in NAMED_WEIGHTS or not is_local(path) else str(Path(path).absolute())


def _check_source(request: FeatureRequest, source: FeatureSettings, records: DatasetInfo) -> None:
    """Refuse features that no encoder goes on from, or of other records, before TensorFlow starts."""
    if source.layers == [IMPORTED]:
        raise RecordError(
            f"--features {request.features}: made elsewhere, so no encoder goes on from them; every decoder trains "
            "from them as they are"
        )
    if source.records != records.fingerprint():
        raise RecordError(f"--features {request.features}: made from other records than --records; extract them again")


def _check_encoder(
    request: FeatureRequest, source: FeatureSettings, settings: FeatureSettings, encoder: "Encoder"
) -> None:
    """Refuse features of an earlier stage that another encoder made."""
    if source.layers != encoder.layers_of(source.stage):
        ours, theirs = (", ".join(layers) for layers in (encoder.layers_of(source.stage), source.layers))
        raise RecordError(f"--features {request.features}: made at {theirs}, not at {ours}; extract them again")
    if source.preprocessing != settings.preprocessing:
        raise RecordError(
            f"--features {request.features}: made from {source.preprocessing}, not {settings.preprocessing}"
        )
    if source.weights != encoder.fingerprint(source.stage):
        raise RecordError(
            f"--features {request.features}: made with another encoder or other weights than this command names; "
            "extract them again"
        )


def _left_right_tokens(request: FeatureRequest) -> list[int]:
    """The tokens that mirrored views swap; a single view is never mirrored."""
    return left_right_tokens(load_dataset(as_path(request.records)).vocabulary) if request.views > 1 else []


def add_steps(pipeline: beam.Pipeline, context: ExtractionContext, shared: Shared) -> None:
    """Add all steps of the job to an empty pipeline, for any runner.

    Args:
        pipeline: an empty pipeline.
        context: what every worker must know.
        shared: holds one FeatureExtractor in each worker process.
    """
    written = (
        pipeline
        | "Records" >> beam.Create([context.records])
        | "Shards" >> beam.FlatMap(feature_shards, context.settings)
        | "Spread" >> beam.Reshuffle()
        | "ExtractShard" >> beam.ParDo(ExtractShard(context, shared))
    )
    add_final_step(pipeline, _finish, pvalue.AsList(written), context=context)


def feature_shards(records: str, settings: FeatureSettings) -> Iterator[tuple[str, str, int]]:
    """(split, record shard, view) of all feature shards; a worker lists them, since a pipeline must stay small."""
    for split, described in load_dataset_info(as_path(records)).splits.items():
        views = range(settings.views_of(split))
        yield from ((split, shard.name, view) for shard in described.shards for view in views)


class ExtractShard(beam.DoFn):
    """(split, name of a record shard, view) -> its feature shard of each stage; yields (stage, split, view,
    ShardInfo)."""

    def __init__(self, context: ExtractionContext, shared: Shared) -> None:
        self._context, self._settings, self._shared = context, context.settings, shared

    def setup(self) -> None:
        """Take the one FeatureExtractor of this process."""
        start_worker(self._context.output)
        settings = self._settings
        self._extractor: FeatureExtractor = self._shared.acquire(
            lambda: open_extractor(
                encoder=self._context.encoder,
                run=self._context.run,
                image_size=self._context.image_size,
                stages=tuple(output.settings.stage for output in self._context.outputs),
                batch_size=settings.batch_size,
                precision=settings.precision,
                made_from=settings.made_from,
            )
        )
        if self._extractor.encoder.fingerprint(settings.stage) != settings.weights:
            raise JobFailed(
                f"{self._context.run or self._context.encoder.weights or self._context.encoder.encoders[0]}: not the "
                "same on every worker; name a file that all can read"
            )

    def process(self, element: tuple[str, str, int]) -> Iterator[tuple[Stage, str, int, ShardInfo]]:
        """Read, extract and write the shards of one view, or keep those that exist."""
        split, record_shard, view = element
        name = view_name(record_shard, view)
        source = record_shard if self._settings.made_from == "photo" else name
        progress = ProgressCounter(self._context.output, name)
        kept = [self._intact_shard(output, source, name, view) for output in self._context.outputs]
        missing = [index for index, shard in enumerate(kept) if shard is None]
        KEPT_SHARDS.inc(len(kept) - len(missing))
        written = iter(self._write_shards(missing, source, name, view, progress) if missing else ())
        shards = [shard or next(written) for shard in kept]
        if not missing:
            progress.add(shards[0].records)
        progress.close()
        for output, shard in zip(self._context.outputs, shards, strict=True):
            yield output.settings.stage, split, view, shard

    def _write_shards(
        self, missing: Sequence[int], source: str, name: str, view: int, progress: ProgressCounter
    ) -> list[ShardInfo]:
        """Write the shards of the outputs with these indices."""
        folders = [self._context.outputs[index].folder for index in missing]
        records = self._features(source, view, progress)
        return write_shards(folders, name, ([of_stages[index] for index in missing] for of_stages in records))

    def _intact_shard(self, output: StageOutput, source: str, name: str, view: int) -> ShardInfo | None:
        """The shard in an output folder; None unless it is intact and holds features of the source's photos."""
        if not FileSystems.exists(FileSystems.join(output.folder, name)):
            return None
        size = features_size(output.settings.shape)
        digest = ShardDigest()
        try:
            for record, serialized in zip(read_shard(output.folder, name), self._source_records(source), strict=True):
                features = features_of(record)
                if len(features) != size or record != feature_record(serialized, features, view):
                    return None
                digest.add(frame_record(record))
        except (RecordError, ValueError):
            return None
        return digest.info(name)

    def _source_records(self, name: str) -> Iterator[bytes]:
        try:
            yield from read_shard(self._context.source, name)
        except (RecordError, OSError) as error:
            raise JobFailed(str(error)) from error

    def _features(self, source: str, view: int, progress: ProgressCounter) -> Iterator[list[bytes]]:
        """The records of each stage's feature shard, photo by photo."""
        records = self._source_records(source)
        batches = iter(lambda: list(itertools.islice(records, self._settings.batch_size)), [])
        # A GPU computes one batch while the next one is decoded.
        for batch, inputs in one_ahead(batches, lambda batch: self._extractor.decode(self._photos(batch), view)):
            try:
                found = self._extractor(inputs.result())
            except Exception:
                self._raise_for_damaged_photo(source, self._photos(batch), view)
                raise
            for serialized, *features in zip(batch, *found, strict=True):
                yield [feature_record(serialized, of_stage.tobytes(), view) for of_stage in features]
            progress.add(len(batch))

    def _photos(self, batch: Iterable[bytes]) -> list[tuple[str, bytes]]:
        """The id of each photo, and its JPEG or features."""
        return [inputs_of(serialized, self._settings.made_from) for serialized in batch]

    def _raise_for_damaged_photo(self, name: str, photos: Iterable[tuple[str, bytes]], view: int) -> None:
        """Raise JobFailed for the first photo whose features cannot be computed."""
        for photo_id, payload in photos:
            try:
                self._extractor(self._extractor.decode([(photo_id, payload)], view))
            except Exception as error:
                problem = (
                    "the photo does not decode; build the records again"
                    if self._settings.made_from == "photo"
                    else f"its features are not of stage {self._settings.made_from}; extract them again"
                )
                raise JobFailed(f"{name}, {photo_id}: {problem}") from error


def _finish(_: None, shards: list[tuple[Stage, str, int, ShardInfo]], *, context: ExtractionContext) -> None:
    """Check that nothing was lost, and write the description of each stage's features last."""
    info = load_dataset_info(as_path(context.records))
    for output in context.outputs:
        of_stage = [written for stage, *written in shards if stage == output.settings.stage]
        description = _described_shards(output.settings, info, of_stage, context.described)
        complete_output(output.folder, FEATURES, description)


def _described_shards(
    settings: FeatureSettings, info: DatasetInfo, shards: Sequence[Any], encoder: dict[str, Any]
) -> FeaturesInfo:
    """The description of one stage's features, from (split, view, ShardInfo) of each shard and its encoder's fields.

    Raises:
        JobFailed: a shard or a photo was lost.
    """
    views: list[dict[str, list[ShardInfo]]] = []
    for view in range(settings.views):
        described = {name: split for name, split in info.splits.items() if view < settings.views_of(name)}
        detail = f", view {view}" if view else ""
        written = [(split, shard) for split, number, shard in shards if number == view]
        views.append(shards_by_split(described, written, detail=detail))
        for name, found in views[view].items():
            total = sum(shard.records for shard in found)
            check_conservation(f"photos of {name}{detail}", described[name].photos, written=total)
    return FeaturesInfo(
        settings=settings,
        splits=views[0],
        further_views=[of_view.get("train", []) for of_view in views[1:]],
        **encoder,
    )
