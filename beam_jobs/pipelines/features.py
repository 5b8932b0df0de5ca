"""The Beam pipeline of `extract_features`: record shards, or shards of features of an earlier stage, -> feature shards
-> features.json. Nothing is shuffled."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
import numpy as np
from apache_beam import pvalue
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.utils.shared import Shared

from beam_jobs.errors import JobFailed
from beam_jobs.execution.progress import ProgressCounter
from beam_jobs.execution.shard_writer import ShardDigest, write_shard, write_text
from beam_jobs.pipelines.feature_extractor import FeatureExtractor
from tfcaption.records.dataset_info import (
    FEATURES_FILE,
    PARTIAL_FEATURES_FILE,
    DatasetInfo,
    FeatureSettings,
    FeaturesInfo,
    ShardInfo,
)
from tfcaption.records.examples import Stage, feature_record, features_of, features_size, inputs_of
from tfcaption.records.tfrecord import RecordError, frame_record, read_frames
from tfcaption.runtime.folder_lock import end_with_holder


def settings_of(
    extractor: FeatureExtractor,
    info: DatasetInfo,
    *,
    stage: Stage,
    batch_size: int,
    made_from: Stage,
    views: int,
    sides: list[int],
) -> FeatureSettings:
    """What decides the bytes of the features that `extractor` makes of the records `info`."""
    from tfcaption.models.encoder import PREPROCESSING

    return FeatureSettings(
        stage=stage,
        shape=list(extractor.encoder.feature_shape(stage)),
        weights=extractor.encoder.fingerprint(stage),
        preprocessing=PREPROCESSING,
        records=info.fingerprint(),
        batch_size=batch_size,
        made_from=made_from,
        views=views,
        sides=sides,
    )


def check_source(folder: str, source: FeatureSettings, extractor: FeatureExtractor, settings: FeatureSettings) -> None:
    """Refuse to go on from features that do not fit.

    Args:
        folder: where they are, for the message.
        source: their settings.
        extractor: that is to go on from them.
        settings: of what is to be made.

    Raises:
        RecordError: they were made of other records, or with other weights.
    """
    if source.records != settings.records:
        raise RecordError(f"--features {folder}: made of other records than --records; extract them again")
    if source.weights != extractor.encoder.fingerprint(source.stage):
        raise RecordError(f"--features {folder}: made with other weights than --weights; extract them again")


def settings_there(output: str) -> FeatureSettings | None:
    """The settings of the features, complete or not, that are in `output` already; None where there are none."""
    for name, kind in ((FEATURES_FILE, FeaturesInfo), (PARTIAL_FEATURES_FILE, FeatureSettings)):
        path = FileSystems.join(output, name)
        if FileSystems.exists(path):
            with FileSystems.open(path) as stream:
                content = stream.read()
            try:
                found = kind.model_validate_json(content)
            except ValueError as error:
                raise RecordError(f"{path}: not a description of features ({error}); remove it") from error
            return found.settings if isinstance(found, FeaturesInfo) else found
    return None


def add_steps(
    pipeline: beam.Pipeline,
    info: DatasetInfo,
    settings: FeatureSettings,
    *,
    source: str,
    weights: str,
    shared: Shared,
    output: str,
) -> None:
    """Put the whole job into `pipeline`.

    Args:
        pipeline: an empty pipeline, for any runner.
        info: `dataset.json` of the records.
        settings: all that decides the bytes.
        source: the records, or the features to go on from, any path that Beam's filesystems know.
        weights: as `Encoder` takes them.
        shared: holds one Extractor in each worker process.
        output: folder for the features.
    """
    names = [(split, shard) for split, described in info.splits.items() for shard in described.shards]
    written = (
        pipeline
        | "Shards" >> beam.Create(names, reshuffle=True)
        | "ExtractShard"
        >> beam.ParDo(ExtractShard(settings, info.settings.image_size, weights, shared, source, output))
    )
    _ = (
        pipeline
        | "Once" >> beam.Create([None])
        | "Finish" >> beam.Map(_finish, pvalue.AsList(written), info=info, settings=settings, output=output)
    )


class ExtractShard(beam.DoFn):
    """(split, record shard) -> its feature shard; yields (split, ShardInfo)."""

    def __init__(
        self,
        settings: FeatureSettings,
        image_size: int,
        weights: str,
        shared: Shared,
        source: str,
        output: str,
    ) -> None:
        self._settings, self._image_size, self._weights = settings, image_size, weights
        self._shared, self._source, self._output = shared, source, output

    def setup(self) -> None:
        """Take this process' one Extractor."""
        end_with_holder(self._output)
        settings = self._settings
        self._extractor = self._shared.acquire(
            lambda: FeatureExtractor(
                image_size=self._image_size,
                weights=self._weights,
                stage=settings.stage,
                batch_size=settings.batch_size,
                made_from=settings.made_from,
            )
        )
        found = self._extractor.encoder.fingerprint(settings.stage)
        if found != settings.weights:
            raise JobFailed(f"--weights {self._weights}: not the same on every worker; name a file that all can read")

    def process(self, element: tuple[str, ShardInfo]) -> Iterator[tuple[str, ShardInfo]]:
        """Read, extract and write one shard, or check the one that is there."""
        split, shard = element
        progress = ProgressCounter(self._output, shard.name)
        done = _complete(self._output, shard.name, _read_shard(self._source, shard.name), self._settings, split)
        if done is not None:
            progress.add(done.records)
        else:
            source = _read_shard(self._source, shard.name)
            done = write_shard(self._output, shard.name, self._features(split, shard.name, source, progress))
        progress.close()
        yield split, done

    def _features(self, split: str, name: str, source: Iterable[bytes], progress: ProgressCounter) -> Iterator[bytes]:
        remaining = iter(source)
        while batch := list(itertools.islice(remaining, self._settings.batch_size)):
            photos = [inputs_of(serialized, self._settings.made_from) for serialized in batch]
            try:
                views = [self._view(photos, view) for view in range(self._settings.views_of(split))]
            except Exception as error:
                self._name_damaged(split, name, photos)
                raise error
            for serialized, features in zip(batch, zip(*views, strict=True), strict=True):
                yield feature_record(serialized, b"".join(shown.tobytes() for shown in features))
            progress.add(len(batch))

    def _view(self, photos: Sequence[tuple[str, bytes]], view: int) -> np.ndarray:
        """The features of one view of photos."""
        from tfcaption.preprocessing.augmented_views import view_box

        payloads = [payload for _, payload in photos]
        if self._settings.made_from != "photo":
            size = features_size(self._extractor.encoder.feature_shape(self._settings.made_from))
            return self._extractor([payload[view * size : (view + 1) * size] for payload in payloads])
        return self._extractor(payloads, [view_box(photo_id, view) for photo_id, _ in photos] if view else None)

    def _name_damaged(self, split: str, name: str, photos: Iterable[tuple[str, bytes]]) -> None:
        for photo_id, payload in photos:
            try:
                for view in range(self._settings.views_of(split)):
                    self._view([(photo_id, payload)], view)
            except Exception as error:
                wrong = (
                    "the photo does not decode; build the records again"
                    if self._settings.made_from == "photo"
                    else f"its features are not of stage {self._settings.made_from}; extract them again"
                )
                raise JobFailed(f"{name}, {photo_id}: {wrong}") from error


def _read_shard(folder: str, name: str) -> Iterator[bytes]:
    """The records of a shard, one after the other, since nobody promises that a shard is small."""
    path = FileSystems.join(folder, name)
    try:
        with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            yield from read_frames(stream, path)
    except (RecordError, OSError) as error:
        raise JobFailed(str(error)) from error


def _complete(
    output: str, name: str, source: Iterable[bytes], settings: FeatureSettings, split: str
) -> ShardInfo | None:
    """The shard as it stands in `output`, if it is whole and holds the photos of `source`; else None."""
    path = FileSystems.join(output, name)
    if not FileSystems.exists(path):
        return None
    size = settings.views_of(split) * features_size(settings.shape)
    described = ShardDigest()
    try:
        with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            for ours, theirs in zip(read_frames(stream, path), source, strict=True):
                if ours != feature_record(theirs, features_of(ours)):
                    return None
                if len(features_of(ours)) != size:
                    return None
                described.add(frame_record(ours))
    except (RecordError, ValueError):
        return None
    return described.shard(name)


def _finish(
    _: None,
    shards: list[tuple[str, ShardInfo]],
    *,
    info: DatasetInfo,
    settings: FeatureSettings,
    output: str,
) -> None:
    """Check that nothing was lost, and write the description of the features last."""
    splits = {
        split: sorted((shard for of, shard in shards if of == split), key=lambda shard: shard.name)
        for split in info.splits
    }
    for split, described in info.splits.items():
        written = sum(shard.records for shard in splits[split])
        if written != described.photos or len(splits[split]) != len(described.shards):
            raise JobFailed(
                f"conservation check: {split} has {described.photos:,} photos in {len(described.shards):,} shards, but "
                f"{written:,} in {len(splits[split]):,} were written; the runner lost records, do not use this output"
            )
    written_info = FeaturesInfo(settings=settings, splits=splits)
    write_text(output, FEATURES_FILE, written_info.model_dump_json(indent=1) + "\n")
    partial = FileSystems.join(output, PARTIAL_FEATURES_FILE)
    if FileSystems.exists(partial):
        FileSystems.delete([partial])
