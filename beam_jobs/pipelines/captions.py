"""The Beam pipeline of `caption_images`: photos -> shards of captions -> captions.json. Nothing is shuffled."""

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.io.filesystem import FileSystem
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared
from pydantic import BaseModel, ConfigDict

from beam_jobs.errors import JobFailed
from beam_jobs.execution import paths
from beam_jobs.execution.finish import REJECTED, add_final_step, check_conservation, rejection
from beam_jobs.execution.output_folder import (
    CAPTIONS,
    complete_output,
    is_complete,
    prepare_output,
    read_description,
    remove_file,
    remove_leftovers,
)
from beam_jobs.execution.progress import KEPT_SHARDS, ProgressCounter
from beam_jobs.execution.reading import read_if_exists, read_photo
from beam_jobs.execution.rejection_files import RejectionFile, RejectionFiles, merge_rejections
from beam_jobs.execution.runner import run_pipeline
from beam_jobs.execution.shard_writer import ShardDigest, atomic_file
from tfcaption.decoding.options import CaptionOptions
from tfcaption.preprocessing.photos import PhotoError, photos_below
from tfcaption.records.captions import PhotoCaptions
from tfcaption.records.dataset_info import ShardInfo
from tfcaption.records.sharding import automatic_shard_count, shard_index, shard_name
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.folder_lock import end_with_holder
from tfcaption.runtime.paths import as_path
from tfcaption.runtime.process import start_tensorflow
from tfcaption.serving.model_folder import find_model
from tfcaption.serving.photo_captioner import PhotoCaptioner, caption_photos

_WILDCARD = re.compile(r"[*?[]")


class CaptionSettings(BaseModel):
    """All that decides the bytes of captions, besides the photos."""

    model_config = ConfigDict(extra="forbid")
    model: str  # sha256 of the run's weights or of the export
    search: CaptionOptions
    batch_size: int  # photos per call, since the last bit of a float32 may depend on it
    shards: int


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
    root: str  # folder that the photos are below
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
    root, ids = list_photos(request.images)
    shared = Shared()
    captioner = shared.acquire(lambda: open_captioner(request.model, request.search, batch_size=request.batch_size))
    settings = CaptionSettings(
        model=captioner.fingerprint(),
        search=captioner.options,
        batch_size=request.batch_size,
        shards=request.shards or automatic_shard_count(len(ids)),
    )
    prepare_output(output, CAPTIONS, CaptionsInfo, settings, overwrite=overwrite)
    remove_file(output, CAPTIONS.description)  # photos may have come or gone since
    pipeline = beam.Pipeline(options=options)
    add_steps(pipeline, ids, CaptioningContext(settings, request.model, root, output), shared)
    finished = run_pipeline(pipeline, output, total=len(ids), unit="photos", label="captioning")
    return load_captions_info(output) if finished else None


def list_photos(images: str) -> tuple[str, list[str]]:
    """Find the photos of a folder or pattern.

    Args:
        images: a folder, with all folders below it, a file, or a pattern below a folder; any path that Beam's
            filesystems know. What exists is not a pattern, such as a folder `photos [1]`.

    Returns:
        The folder above all photos, and their sorted ids: the paths below that folder, with `/`.

    Raises:
        UsageError: there is no photo, or the name of one is not printable.
    """
    if paths.as_path(images).is_file():
        folder, pattern = paths.as_path(images).parent, ""
        ids = [paths.as_path(images).name]
    else:
        folder, pattern = _folder_and_pattern(images)
        photos = photos_below(folder) if _WILDCARD.search(pattern.partition("/")[0]) or not pattern else []
        matches = re.compile(FileSystem.translate_pattern(pattern or "**")).match
        ids = [photo for photo in (path.relative_to(folder).as_posix() for path in photos) if matches(photo)]
    if not ids:
        raise UsageError(f"--images {images}: no photo found; name a folder or a pattern such as 'photos/*.jpg'")
    for photo in ids:
        if not photo.isprintable():  # nor could a line of JSON hold it, where its bytes are not UTF-8
            raise UsageError(f"--images {images}: {photo!r} is not a printable name; rename it")
    return str(folder), sorted(ids)


def _folder_and_pattern(images: str) -> tuple[Path, str]:
    """The longest leading part of a pattern that is a folder, whatever its name, and the pattern below it."""
    parts = images.split("/")
    for count in range(len(parts), 0, -1):
        folder = paths.as_path("/".join(parts[:count]) or "/")
        if folder.is_dir():
            return folder, "/".join(parts[count:])
    return Path(), images


def open_captioner(model: str, search: Mapping[str, Any], *, batch_size: int) -> PhotoCaptioner:
    """The captioner of a run or export, which starts TensorFlow in this process.

    Args:
        model: run directory or export.
        search: options of the search that are given.
        batch_size: photos per call of the model.

    Raises:
        UsageError, ExportError, RunError: there is no such model; TensorFlow is not started where a look at the path
            shows it.
    """
    found = find_model(as_path(model))
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


def add_steps(pipeline: beam.Pipeline, ids: Sequence[str], context: CaptioningContext, shared: Shared) -> None:
    """Add all steps of the job to an empty pipeline, for any runner.

    Args:
        pipeline: an empty pipeline.
        ids: of the photos, sorted.
        context: what every worker must know.
        shared: holds one captioner in each worker process.
    """
    count = context.settings.shards
    ids_by_shard: dict[int, list[str]] = defaultdict(list)
    for photo in ids:
        ids_by_shard[shard_index(photo, shards=count, seed=0)].append(photo)
    shards = [(shard_name("captions", index, count, suffix="jsonl"), ids_by_shard[index]) for index in range(count)]
    written = (
        pipeline
        | "Shards" >> beam.Create(shards, reshuffle=True)
        | "CaptionShard" >> beam.ParDo(CaptionShard(context, shared)).with_outputs(REJECTED, main="shards")
    )
    rejected_files = written[REJECTED] | "RejectedFiles" >> RejectionFiles(context.output)
    add_final_step(
        pipeline,
        _finish,
        pvalue.AsList(written["shards"]),
        pvalue.AsList(rejected_files),
        photos_in=len(ids),
        context=context,
    )


class CaptionShard(beam.DoFn):
    """(shard name, ids of its photos) -> the shard's file; yields its ShardInfo, and the rejected photos."""

    def __init__(self, context: CaptioningContext, shared: Shared) -> None:
        self._context, self._settings, self._shared = context, context.settings, shared

    def setup(self) -> None:
        """Take the one captioner of this process."""
        end_with_holder(self._context.output)
        model = self._context.model
        self._captioner: PhotoCaptioner = self._shared.acquire(
            lambda: open_captioner(model, self._settings.search.as_json(), batch_size=self._settings.batch_size)
        )
        if self._captioner.fingerprint() != self._settings.model:
            raise JobFailed(f"--model {model}: not the same on every worker; name a path that all can read")

    def process(self, element: tuple[str, list[str]]) -> Iterator[Any]:
        """Caption and write one shard, or keep the shard that exists."""
        name, ids = element
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
            readers = [partial(read_photo, FileSystems.join(self._context.root, photo)) for photo in batch]
            yield from zip(batch, caption_photos(self._captioner, readers), strict=True)


def _rejection(photo: str, error: PhotoError) -> pvalue.TaggedOutput:
    return rejection("photo", photo, error.reason, error.detail)


def _finish(
    _: None,
    shards: list[ShardInfo],
    rejected_files: list[RejectionFile],
    *,
    photos_in: int,
    context: CaptioningContext,
) -> None:
    """Check that nothing was lost, and write the description of the captions last."""
    if not is_complete(context.output, CAPTIONS):  # a runner may try this step again
        rejections = merge_rejections(rejected_files, context.output)
        info = CaptionsInfo(
            settings=context.settings,
            photos_in=photos_in,
            captioned=sum(shard.records for shard in shards),
            rejected=rejections.reasons.get("photo", {}),
            shards=sorted(shards, key=lambda shard: shard.name),
        )
        check_conservation("shards", context.settings.shards, written=len(shards))
        check_conservation("photos", photos_in, written=info.captioned, rejected=rejections.total)
        complete_output(context.output, CAPTIONS, info)
    remove_leftovers(context.output, CAPTIONS, (shard.name for shard in shards))
