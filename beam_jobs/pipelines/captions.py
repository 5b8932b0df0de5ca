"""The Beam pipeline of `caption_images`: photos -> shards of captions -> captions.json. Nothing is shuffled."""

import hashlib
import itertools
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.io.filesystems import FileSystems
from apache_beam.utils.shared import Shared
from pydantic import BaseModel, ConfigDict

from beam_jobs.errors import JobFailed
from beam_jobs.execution import output_folder
from beam_jobs.execution.progress import ProgressCounter
from beam_jobs.execution.shard_writer import atomic_file, write_text
from tfcaption.preprocessing.photos import PhotoError, is_photo_name, photos_below
from tfcaption.records.captions import PhotoCaptions
from tfcaption.records.dataset_info import CAPTIONS_FILE, REJECTED_FILE, Rejection, ShardInfo, rejected_lines
from tfcaption.records.sharding import shard_index, shard_name
from tfcaption.runtime.errors import UsageError
from tfcaption.runtime.folder_lock import end_with_holder
from tfcaption.runtime.paths import is_local
from tfcaption.runtime.process import start_tensorflow
from tfcaption.serving.export_folder import check_export

if TYPE_CHECKING:
    from tfcaption.serving.exported_captioner import ExportedCaptioner
from tfcaption.serving.photo_captioner import caption_photos

_REJECTED = "rejected"


class CaptionSettings(BaseModel):
    """What decides the bytes of captions, beside the photos."""

    model_config = ConfigDict(extra="forbid")
    model: str  # sha256 of the export
    beam: int  # captions of a photo
    batch_size: int  # photos a call, since the last bit of a float32 may depend on it
    shards: int


class CaptionsInfo(BaseModel):
    """`captions.json`: written last, so its presence means that the captions are complete."""

    model_config = ConfigDict(extra="forbid")
    settings: CaptionSettings
    photos_in: int  # captioned + rejected
    captioned: int
    rejected: dict[str, int]  # reason -> count
    shards: list[ShardInfo]


def list_photos(images: str) -> tuple[str, list[str]]:
    """Find the photos of a folder or pattern.

    Args:
        images: a folder, with all below it, or a pattern, any path that Beam's filesystems know.

    Returns:
        The folder above all photos, and their sorted ids: the paths below that folder, with `/`.

    Raises:
        ValueError: there is no photo, or one whose name is no text.
    """
    if is_local(images) and Path(images).is_dir():
        root, paths = images, [path.as_posix() for path in photos_below(images)]
        ids = [Path(path).relative_to(root).as_posix() for path in paths]
    else:
        pattern = images if re.search(r"[*?[]", images) else FileSystems.join(images, "**")
        root = re.split(r"[*?[]", pattern)[0].rpartition("/")[0]
        found = FileSystems.match([pattern])[0].metadata_list
        ids = sorted(item.path.removeprefix(root).lstrip("/") for item in found if is_photo_name(item.path))
    if not ids:
        raise UsageError(f"--images {images}: no photo there; name a folder or a pattern such as 'photos/*.jpg'")
    for photo in ids:
        if not photo.isprintable():  # nor can it stand in a line of JSON, where its bytes are no UTF-8
            raise UsageError(f"--images {images}: {photo!r} is not a printable name; rename it")
    return root, ids


def settings_there(output: str) -> CaptionSettings | None:
    """The settings of the captions, complete or not, that are in `output` already; None where there are none."""
    info = _load(output, CAPTIONS_FILE, CaptionsInfo)
    return info.settings if info else _load(output, output_folder.PARTIAL_CAPTIONS_FILE, CaptionSettings)


def load_captions_info(output: str) -> CaptionsInfo:
    """Read `captions.json`.

    Raises:
        ValueError: it is missing or not readable.
    """
    info = _load(output, CAPTIONS_FILE, CaptionsInfo)
    if info is None:
        raise UsageError(f"{output}: no {CAPTIONS_FILE}, so these captions are incomplete; run the job again")
    return info


def _load(output: str, name: str, kind: Any) -> Any:
    path = FileSystems.join(output, name)
    if not FileSystems.exists(path):
        return None
    with FileSystems.open(path) as stream:
        content = stream.read()
    try:
        return kind.model_validate_json(content)
    except ValueError as error:
        raise UsageError(f"{path}: not a description of captions ({error}); remove it") from error


def add_steps(
    pipeline: beam.Pipeline,
    ids: Sequence[str],
    settings: CaptionSettings,
    *,
    root: str,
    model: str,
    shared: Shared,
    output: str,
) -> None:
    """Put the whole job into `pipeline`.

    Args:
        pipeline: an empty pipeline, for any runner.
        ids: of the photos, sorted.
        settings: all that decides the bytes.
        root: the folder that the ids are below.
        model: the export, a path that every worker can read.
        shared: holds one captioner in each worker process.
        output: folder for the captions, any path that Beam's filesystems know.
    """
    groups: dict[int, list[str]] = defaultdict(list)
    for photo in ids:
        groups[shard_index(photo, shards=settings.shards, seed=0)].append(photo)
    shards = [
        (shard_name("captions", index, settings.shards, suffix="jsonl"), groups[index])
        for index in range(settings.shards)
    ]
    written = (
        pipeline
        | "Shards" >> beam.Create(shards, reshuffle=True)
        | "CaptionShard"
        >> beam.ParDo(CaptionShard(settings, root, model, shared, output)).with_outputs(_REJECTED, main="shards")
    )
    _ = (
        pipeline
        | "Once" >> beam.Create([None])
        | "Finish"
        >> beam.Map(
            _finish,
            pvalue.AsList(written["shards"]),
            pvalue.AsList(written[_REJECTED]),
            photos_in=len(ids),
            settings=settings,
            output=output,
        )
    )


def open_captioner(model: str, *, batch_size: int) -> "ExportedCaptioner":
    """The exported captioner, with TensorFlow started in the process that captions, and in no other.

    Raises:
        ExportError: there is no export; a local path says so before TensorFlow starts.
    """
    check_export(model)
    start_tensorflow()
    from tfcaption.serving.exported_captioner import ExportedCaptioner  # imports TensorFlow

    return ExportedCaptioner(model, batch_size=batch_size)


class CaptionShard(beam.DoFn):
    """(shard name, ids of its photos) -> the shard's file; yields its ShardInfo, and the photos rejected."""

    def __init__(self, settings: CaptionSettings, root: str, model: str, shared: Shared, output: str) -> None:
        self._settings, self._root, self._model = settings, root, model
        self._shared, self._output = shared, output

    def setup(self) -> None:
        """Take this process' one captioner."""
        end_with_holder(self._output)
        self._captioner = self._shared.acquire(
            lambda: open_captioner(self._model, batch_size=self._settings.batch_size)
        )
        if self._captioner.fingerprint() != self._settings.model:
            raise JobFailed(f"--model {self._model}: not the same on every worker; name a path that all can read")

    def process(self, element: tuple[str, list[str]]) -> Iterator[Any]:
        """Caption and write one shard, or check the one that is there."""
        name, ids = element
        progress = ProgressCounter(self._output, name)
        there = self._there(name, ids)
        if there is not None:
            # Photos that the shard leaves out were rejected, or can be read by now.
            missing = sorted(set(ids) - set(there))
            results = list(self._captions(missing))
            if all(isinstance(result, PhotoError) for _, result in results):
                progress.add(len(ids))
                progress.close()
                yield _describe(self._output, name)
                yield from (_rejection(photo, result) for photo, result in results)
                return
        rejected = []
        with atomic_file(self._output, name) as stream:
            for photo, result in self._captions(ids):
                if isinstance(result, PhotoError):
                    rejected.append(_rejection(photo, result))
                else:
                    line = json.dumps({"id": photo, **result.as_json()}, ensure_ascii=False)
                    stream.write(line.encode() + b"\n")
                progress.add()
        progress.close()
        yield _describe(self._output, name)
        yield from rejected

    def _captions(self, ids: Sequence[str]) -> Iterator[tuple[str, PhotoCaptions | PhotoError]]:
        remaining = iter(ids)
        while batch := list(itertools.islice(remaining, self._settings.batch_size)):
            read = [_read(FileSystems.join(self._root, photo)) for photo in batch]
            yield from zip(batch, caption_photos(self._captioner, read), strict=True)

    def _there(self, name: str, ids: Sequence[str]) -> list[str] | None:
        """Ids of the photos that the shard in `output` holds; None where it must be made (again)."""
        path = FileSystems.join(self._output, name)
        if not FileSystems.exists(path):
            return None
        try:
            with FileSystems.open(path, compression_type="uncompressed") as stream:
                found = [json.loads(line)["id"] for line in stream.read().splitlines()]
        except (ValueError, KeyError, TypeError):
            return None
        return found if found == sorted(set(found) & set(ids)) else None


def _rejection(photo: str, error: Any) -> pvalue.TaggedOutput:
    return pvalue.TaggedOutput(_REJECTED, Rejection(kind="photo", id=photo, reason=error.reason, detail=error.detail))


def _read(path: str) -> bytes | PhotoError:
    try:
        with FileSystems.open(path, compression_type="uncompressed") as stream:
            return stream.read()
    except Exception as error:  # Beam's filesystems raise their own kinds
        return PhotoError("unreadable", str(error))


def _describe(output: str, name: str) -> ShardInfo:
    with FileSystems.open(FileSystems.join(output, name), compression_type="uncompressed") as stream:
        content = stream.read()
    digest = hashlib.sha256(content).hexdigest()
    return ShardInfo(name=name, records=content.count(b"\n"), bytes=len(content), sha256=digest)


def _finish(
    _: None,
    shards: list[ShardInfo],
    rejected: list[Rejection],
    *,
    photos_in: int,
    settings: CaptionSettings,
    output: str,
) -> None:
    """Check that nothing was lost, and write the description of the captions last."""
    info = CaptionsInfo(
        settings=settings,
        photos_in=photos_in,
        captioned=sum(shard.records for shard in shards),
        rejected=dict(sorted(Counter(rejection.reason for rejection in rejected).items())),
        shards=sorted(shards, key=lambda shard: shard.name),
    )
    if info.captioned + len(rejected) != photos_in or len(shards) != settings.shards:
        raise JobFailed(
            f"conservation check: {photos_in:,} photos in {settings.shards:,} shards, but {info.captioned:,} captioned "
            f"in {len(shards):,} and {len(rejected):,} rejected; the runner lost some, do not use this output"
        )
    write_text(output, REJECTED_FILE, rejected_lines(rejected))
    write_text(output, CAPTIONS_FILE, info.model_dump_json(indent=1) + "\n")
    output_folder.remove_file(output, output_folder.PARTIAL_CAPTIONS_FILE)
