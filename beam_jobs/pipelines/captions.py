"""The Beam pipeline of `caption_images`: photos -> shards of captions -> captions.json.

One worker finds the photos. Only their names go to the workers that read and caption them.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared
from pydantic import BaseModel, ConfigDict

from beam_jobs.errors import JobFailed
from beam_jobs.execution.finish import REJECTED, add_final_step, check_conservation, rejection
from beam_jobs.execution.output_folder import (
    CAPTIONS,
    check_writable,
    compare_settings,
    complete_output,
    is_complete,
    prepare_output,
    read_description,
    remove_file,
    remove_leftovers,
)
from beam_jobs.execution.progress import KEPT_SHARDS, ProgressCounter, announce_total
from beam_jobs.execution.reading import read_if_exists, read_photo
from beam_jobs.execution.rejection_files import RejectionFile, RejectionFiles, merge_rejections
from beam_jobs.execution.runner import run_pipeline
from beam_jobs.execution.shard_writer import ShardDigest, atomic_file, write_text
from beam_jobs.execution.worker import start_worker
from beam_jobs.sources.photo_walk import PhotoWalk
from tfcaption.decoding.options import CaptionOptions
from tfcaption.preprocessing.photos import PhotoError
from tfcaption.records.captions import PhotoCaptions
from tfcaption.records.dataset_info import ShardInfo
from tfcaption.records.sharding import automatic_shard_count, shard_index, shard_name
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.paths import is_local
from tfcaption.runtime.process import start_tensorflow
from tfcaption.serving.model_folder import find_model
from tfcaption.serving.photo_captioner import PhotoCaptioner, caption_photos


class CaptionSettings(BaseModel):
    """All that decides the bytes of captions, besides the photos."""

    model_config = ConfigDict(extra="forbid")
    model: str  # sha256 of the run's weights or of the export
    search: CaptionOptions
    batch_size: int  # photos per call, since the last bit of a float32 may depend on it
    shards: int | None  # None: not known before all photos are found


class CaptionsInfo(BaseModel):
    """`captions.json`: written last, so its presence means that the captions are complete."""

    model_config = ConfigDict(extra="forbid")
    settings: CaptionSettings
    photos_in: int  # captioned + rejected
    captioned: int
    rejected: dict[str, int]  # reason -> count
    shards: list[ShardInfo]


@dataclass(frozen=True)
class CaptionRequest:
    """The captions that a user asks for."""

    model: str  # run directory or export
    images: str  # folder or pattern of the photos
    search: dict[str, Any] = field(default_factory=dict)  # options of the search that are given
    batch_size: int = 32  # photos per call
    shards: int | None = None  # None: by the number of photos


@dataclass(frozen=True)
class CaptioningContext:
    """What every worker of the job must know."""

    settings: CaptionSettings
    model: str  # run directory or export, which every worker can read
    walk: PhotoWalk
    shards: int | None  # as the user says
    complete_shards: int | None  # of complete captions in the output folder, which this run may complete
    output: str


def run(
    request: CaptionRequest, options: PipelineOptions, *, output: str, overwrite: bool = False
) -> CaptionsInfo | None:
    """Caption photos; shards that an earlier run with the same settings wrote are kept if their photos are the same.

    Args:
        request: the captions to make.
        options: Beam's.
        output: folder for the captions, any path that Beam's filesystems know.
        overwrite: replace complete captions.

    Returns:
        The description of the captions, as written; None for a dry run or a template.

    Raises:
        UsageError: there is no photo, or the job must not write into `output`.
        UsageError, ExportError, RunError: there is no usable run or export, or not with these options.
        JobFailed: photos were lost.
    """
    walk = PhotoWalk.of(request.images)
    if is_local(request.images) and next(walk.ids(), None) is None:
        raise UsageError(walk.nothing_found)
    shared = Shared()
    captioner = shared.acquire(lambda: open_captioner(request.model, request.search, batch_size=request.batch_size))
    settings = CaptionSettings(
        model=captioner.fingerprint(), search=captioner.options, batch_size=request.batch_size, shards=None
    )
    complete = None if overwrite else read_description(output, CAPTIONS, CaptionsInfo)
    complete_shards = complete.settings.shards if complete else None
    compared = settings.model_copy(update={"shards": request.shards or complete_shards}) if complete else settings
    prepare_output(output, CAPTIONS, CaptionsInfo, compared, overwrite=overwrite)
    write_text(output, CAPTIONS.partial, settings.model_dump_json(indent=1) + "\n")  # shards of any number are kept
    pipeline = beam.Pipeline(options=options)
    context = CaptioningContext(settings, request.model, walk, request.shards, complete_shards, output)
    add_steps(pipeline, context, shared)
    finished = run_pipeline(pipeline, output, total=None, unit="photos", label="captioning")
    return load_captions_info(output) if finished else None


def open_captioner(model: str, search: Mapping[str, Any], *, batch_size: int) -> PhotoCaptioner:
    """The captioner of a run or export, which starts TensorFlow in this process.

    Args:
        model: run directory, export or hf://OWNER/NAME.
        search: options of the search that are given.
        batch_size: photos per call of the model.

    Raises:
        UsageError, ExportError, RunError: there is no such model; TensorFlow is not started where a look at the path
            shows it.
    """
    found = find_model(model)
    options = found.options(search).updated(search, all_shown=True)
    start_tensorflow()
    return found.open(options.as_json(), batch_size=batch_size, padded=True)


def load_captions_info(output: str) -> CaptionsInfo:
    """Read `captions.json`.

    Raises:
        UsageError: it is missing or not readable.
    """
    info = read_description(output, CAPTIONS, CaptionsInfo)
    if info is None:
        raise UsageError(
            f"{output}: {CAPTIONS.description} is missing, so the captions are incomplete; run the job again"
        )
    return info


def add_steps(pipeline: beam.Pipeline, context: CaptioningContext, shared: Shared) -> None:
    """Add all steps of the job to an empty pipeline, for any runner.

    Args:
        pipeline: an empty pipeline.
        context: what every worker must know.
        shared: holds one captioner in each worker process.
    """
    ids = pipeline | "Walk" >> beam.Create([None]) | "FindPhotos" >> beam.FlatMap(_find_photos, context.walk)
    counted = ids | "Count" >> beam.combiners.Count.Globally() | "Plan" >> beam.Map(_plan, context)
    plan = pvalue.AsSingleton(counted)
    photos = ids | "KeyByShard" >> beam.Map(_with_shard, plan)
    shards = pipeline | "Shards" >> beam.Create([None]) | "AllShards" >> beam.FlatMap(_all_shards, plan)
    written = (
        [photos, shards]
        | "PhotosAndShards" >> beam.Flatten()
        | "ToShards" >> beam.GroupByKey()
        | "CaptionShard" >> beam.ParDo(CaptionShard(context, shared)).with_outputs(REJECTED, main="shards")
    )
    rejected_files = written[REJECTED] | "RejectedFiles" >> RejectionFiles(context.output)
    add_final_step(
        pipeline, _finish, pvalue.AsList(written["shards"]), pvalue.AsList(rejected_files), plan, context=context
    )


def _find_photos(_: None, walk: PhotoWalk) -> Iterator[str]:
    try:
        yield from walk.ids()
    except UsageError as error:
        raise JobFailed(str(error)) from error


@dataclass(frozen=True)
class CaptionPlan:
    """What is known once all photos are found."""

    photos: int
    shards: int

    def shard_name(self, index: int) -> str:
        """The name of a shard."""
        return shard_name("captions", index, self.shards, suffix="jsonl")


def _plan(photos: int, context: CaptioningContext) -> CaptionPlan:
    """Decide the number of shards before the first is written; from here on, earlier captions are not complete."""
    output = context.output
    if not photos:
        raise JobFailed(context.walk.nothing_found)
    plan = CaptionPlan(photos, context.shards or automatic_shard_count(photos))
    if context.complete_shards not in (None, plan.shards):
        before, now = (
            context.settings.model_copy(update={"shards": shards}) for shards in (context.complete_shards, plan.shards)
        )
        remove_file(output, CAPTIONS.partial)
        try:
            check_writable(output, CAPTIONS, overwrite=False, compared=compare_settings(before, now))
        except UsageError as error:
            raise JobFailed(str(error)) from error
    remove_file(output, CAPTIONS.description)  # photos may have come or gone since
    announce_total(output, photos)
    return plan


def _with_shard(photo: str, plan: CaptionPlan) -> tuple[str, str | None]:
    return plan.shard_name(shard_index(photo, shards=plan.shards, seed=0)), photo


def _all_shards(_: None, plan: CaptionPlan) -> Iterator[tuple[str, str | None]]:
    """Each shard, since one without photos is written, too."""
    return ((plan.shard_name(index), None) for index in range(plan.shards))


class CaptionShard(beam.DoFn):
    """(shard name, ids of its photos) -> the shard's file; yields its ShardInfo, and the rejected photos."""

    def __init__(self, context: CaptioningContext, shared: Shared) -> None:
        self._context, self._settings, self._shared = context, context.settings, shared

    def setup(self) -> None:
        """Take the one captioner of this process."""
        start_worker(self._context.output)
        model = self._context.model
        self._captioner: PhotoCaptioner = self._shared.acquire(
            lambda: open_captioner(model, self._settings.search.as_json(), batch_size=self._settings.batch_size)
        )
        if self._captioner.fingerprint() != self._settings.model:
            raise JobFailed(f"--model {model}: not the same on every worker; name a path that all can read")

    def process(self, element: tuple[str, Iterable[str | None]]) -> Iterator[Any]:
        """Caption and write one shard, or keep the shard that exists."""
        name, group = element
        ids = sorted(photo for photo in group if photo is not None)
        progress = ProgressCounter(self._context.output, name)
        existing = self._existing_shard(name, ids)
        if existing:
            KEPT_SHARDS.inc()
            progress.add(len(ids))
        shard, rejected = existing or self._write_shard(name, ids, progress)
        progress.close()
        yield shard
        yield from rejected

    def _existing_shard(self, name: str, ids: Sequence[str]) -> tuple[ShardInfo, list[pvalue.TaggedOutput]] | None:
        """The shard in the output folder, and the rejected photos; None unless it holds all captions of its photos."""
        content = read_if_exists(self._context.output, name)
        if content is None:
            return None
        lines = content.splitlines(keepends=True)
        try:
            captioned = [json.loads(line)["id"] for line in lines]
            if captioned != sorted(set(captioned) & set(ids)):
                return None
        except (ValueError, KeyError, TypeError):
            return None
        rejected = []
        # Photos that are not in the shard were rejected; they may be readable now.
        for photo, result in self._captions(sorted(set(ids) - set(captioned))):
            if not isinstance(result, PhotoError):
                return None
            rejected.append(_rejection(photo, result))
        digest = ShardDigest()
        for line in lines:
            digest.add(line)
        return digest.info(name), rejected

    def _write_shard(
        self, name: str, ids: Sequence[str], progress: ProgressCounter
    ) -> tuple[ShardInfo, list[pvalue.TaggedOutput]]:
        digest, rejected = ShardDigest(), []
        with atomic_file(self._context.output, name) as stream:
            for photo, result in self._captions(ids):
                if isinstance(result, PhotoError):
                    rejected.append(_rejection(photo, result))
                else:
                    line = (
                        json.dumps(
                            {"id": photo, **result.as_json(self._settings.search.nbest)}, ensure_ascii=False
                        ).encode()
                        + b"\n"
                    )
                    stream.write(line)
                    digest.add(line)
                progress.add()
        return digest.info(name), rejected

    def _captions(self, ids: Sequence[str]) -> Iterator[tuple[str, PhotoCaptions | PhotoError]]:
        remaining = iter(ids)
        while batch := list(itertools.islice(remaining, self._settings.batch_size)):
            readers = [partial(read_photo, FileSystems.join(self._context.walk.root, photo)) for photo in batch]
            yield from zip(batch, caption_photos(self._captioner, readers), strict=True)


def _rejection(photo: str, error: PhotoError) -> pvalue.TaggedOutput:
    return rejection("photo", photo, error.reason, error.detail)


def _finish(
    _: None,
    shards: list[ShardInfo],
    rejected_files: list[RejectionFile],
    plan: CaptionPlan,
    *,
    context: CaptioningContext,
) -> None:
    """Check that nothing was lost, and write the description of the captions last."""
    if not is_complete(context.output, CAPTIONS):  # a runner may try this step again
        rejections = merge_rejections(rejected_files, context.output)
        info = CaptionsInfo(
            settings=context.settings.model_copy(update={"shards": plan.shards}),
            photos_in=plan.photos,
            captioned=sum(shard.records for shard in shards),
            rejected=rejections.reasons.get("photo", {}),
            shards=sorted(shards, key=lambda shard: shard.name),
        )
        check_conservation("shards", plan.shards, written=len(shards))
        check_conservation("photos", plan.photos, written=info.captioned, rejected=rejections.total)
        complete_output(context.output, CAPTIONS, info)
    remove_leftovers(context.output, CAPTIONS, (shard.name for shard in shards))
