"""The Beam pipeline of `extract_features`: record shards -> feature shards -> features.json. Nothing is shuffled."""

import hashlib
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
import numpy as np
from apache_beam import pvalue
from apache_beam.io.filesystems import FileSystems
from apache_beam.utils.shared import Shared

from beam_jobs.options import JobFailed, ProgressCounter
from beam_jobs.shards import write_shard, write_text
from tfcaption import records
from tfcaption.folder_lock import end_with_holder
from tfcaption.records import DatasetInfo, FeatureSettings, FeaturesInfo, ShardInfo, Stage
from tfcaption.tfrecord import RecordError, read_frames


class Extractor:
    """ResNet50 up to a stage, as one graph for one batch shape.

    Args:
        image_size: side of the photos in pixels.
        weights: as `Encoder` takes them.
        stage: where to stop.
        batch_size: photos a call.

    Raises:
        EncoderError: the weights cannot be loaded.
    """

    def __init__(self, *, image_size: int, weights: str, stage: Stage, batch_size: int) -> None:
        from tfcaption import terminal

        terminal.start_tensorflow()
        import tensorflow as tf

        from tfcaption.encoder import Encoder
        from tfcaption.input_pipeline import decode_jpeg

        self.encoder = Encoder(image_size=image_size, weights=weights, finetuned=False)
        self._batch_size = batch_size
        empty = tf.zeros((image_size, image_size, 3), tf.uint8)
        gpu = bool(tf.config.list_physical_devices("GPU"))

        # On a CPU XLA's convolutions are slower than oneDNN's.
        @tf.function(jit_compile=gpu, autograph=False)
        def features(images: tf.Tensor) -> tf.Tensor:
            return tf.cast(self.encoder(images, end=stage), tf.float16)

        @tf.function(input_signature=[tf.TensorSpec((batch_size,), tf.string)], autograph=False)
        def extract(jpegs: tf.Tensor) -> tf.Tensor:
            images = tf.map_fn(
                lambda jpeg: tf.ensure_shape(
                    tf.cond(jpeg == "", lambda: empty, lambda: decode_jpeg(jpeg)), empty.shape
                ),
                jpegs,
                fn_output_signature=tf.TensorSpec(empty.shape, tf.uint8),
            )
            return features(images)

        self._extract = extract

    def __call__(self, jpegs: Sequence[bytes]) -> np.ndarray:
        """Features of up to a batch of prepared photos: (photos, *shape) float16; the missing ones are filled up."""
        missing = self._batch_size - len(jpegs)
        return self._extract([*jpegs, *[b""] * missing]).numpy()[: len(jpegs)]


def settings_of(extractor: Extractor, info: DatasetInfo, *, stage: Stage, batch_size: int) -> FeatureSettings:
    """What decides the bytes of the features that `extractor` makes of the records `info`."""
    from tfcaption.encoder import PREPROCESSING

    return FeatureSettings(
        stage=stage,
        shape=list(extractor.encoder.feature_shape(stage)),
        weights=extractor.encoder.fingerprint(stage),
        preprocessing=PREPROCESSING,
        records=info.fingerprint(),
        batch_size=batch_size,
    )


def settings_there(output: str) -> FeatureSettings | None:
    """The settings of the features, complete or not, that are in `output` already; None where there are none."""
    for name, kind in ((records.FEATURES_FILE, FeaturesInfo), (records.PARTIAL_FEATURES_FILE, FeatureSettings)):
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
    records_folder: str,
    weights: str,
    shared: Shared,
    output: str,
) -> None:
    """Put the whole job into `pipeline`.

    Args:
        pipeline: an empty pipeline, for any runner.
        info: `dataset.json` of the records.
        settings: all that decides the bytes.
        records_folder: the records, any path that Beam's filesystems know.
        weights: as `Encoder` takes them.
        shared: holds one Extractor in each worker process.
        output: folder for the features.
    """
    names = [(split, shard) for split, described in info.splits.items() for shard in described.shards]
    written = (
        pipeline
        | "Shards" >> beam.Create(names, reshuffle=True)
        | "ExtractShard"
        >> beam.ParDo(ExtractShard(settings, info.settings.image_size, weights, shared, records_folder, output))
    )
    _ = (
        pipeline
        | "Once" >> beam.Create([None])
        | "Finish" >> beam.Map(_finish, pvalue.AsList(written), info=info, settings=settings, output=output)
    )


class ExtractShard(beam.DoFn):
    """(split, record shard) -> its feature shard; yields (split, ShardInfo)."""

    def __init__(
        self, settings: FeatureSettings, image_size: int, weights: str, shared: Shared, source: str, output: str
    ) -> None:
        self._settings, self._image_size, self._weights = settings, image_size, weights
        self._shared, self._source, self._output = shared, source, output

    def setup(self) -> None:
        """Take this process' one Extractor."""
        end_with_holder(self._output)
        settings = self._settings
        self._extractor = self._shared.acquire(
            lambda: Extractor(
                image_size=self._image_size,
                weights=self._weights,
                stage=settings.stage,
                batch_size=settings.batch_size,
            )
        )
        found = self._extractor.encoder.fingerprint(settings.stage)
        if found != settings.weights:
            raise JobFailed(f"--weights {self._weights}: not the same on every worker; name a file that all can read")

    def process(self, element: tuple[str, ShardInfo]) -> Iterator[tuple[str, ShardInfo]]:
        """Read, extract and write one shard, or check the one that is there."""
        split, shard = element
        source = _read_shard(self._source, shard.name)
        progress = ProgressCounter(self._output, shard.name)
        done = _complete(self._output, shard.name, source, self._settings)
        if done is not None:
            progress.add(len(source))
        else:
            done = write_shard(self._output, shard.name, self._features(shard.name, source, progress))
        progress.close()
        yield split, done

    def _features(self, name: str, source: Iterable[bytes], progress: ProgressCounter) -> Iterator[bytes]:
        remaining = iter(source)
        while batch := list(itertools.islice(remaining, self._settings.batch_size)):
            photos = [records.photo_of(serialized) for serialized in batch]
            try:
                features = self._extractor([jpeg for _, jpeg in photos])
            except Exception as error:
                self._name_damaged(name, photos)
                raise error
            for serialized, feature in zip(batch, features, strict=True):
                yield records.feature_record(serialized, feature.tobytes())
            progress.add(len(batch))

    def _name_damaged(self, name: str, photos: Iterable[tuple[str, bytes]]) -> None:
        for photo_id, jpeg in photos:
            try:
                self._extractor([jpeg])
            except Exception as error:
                raise JobFailed(f"{name}, {photo_id}: the photo does not decode; build the records again") from error


def _read_shard(folder: str, name: str) -> list[bytes]:
    """All records of a shard: a shard holds hundreds of photos, some 10 MB."""
    path = FileSystems.join(folder, name)
    try:
        with FileSystems.open(path, compression_type="uncompressed") as stream:
            return list(read_frames(io.BytesIO(stream.read()), path))
    except (RecordError, OSError) as error:
        raise JobFailed(str(error)) from error


def _complete(output: str, name: str, source: Sequence[bytes], settings: FeatureSettings) -> ShardInfo | None:
    """The shard as it stands in `output`, if it is whole and holds the photos of `source`; else None."""
    path = FileSystems.join(output, name)
    if not FileSystems.exists(path):
        return None
    with FileSystems.open(path, compression_type="uncompressed") as stream:
        content = stream.read()
    size = 2 * int(np.prod(settings.shape))
    try:
        for ours, theirs in zip(read_frames(io.BytesIO(content), path), source, strict=True):
            if ours != records.feature_record(theirs, records.features_of(ours)):
                return None
            if len(records.features_of(ours)) != size:
                return None
    except (RecordError, ValueError):
        return None
    return ShardInfo(name=name, records=len(source), bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


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
    write_text(output, records.FEATURES_FILE, written_info.model_dump_json(indent=1) + "\n")
    partial = FileSystems.join(output, records.PARTIAL_FEATURES_FILE)
    if FileSystems.exists(partial):
        FileSystems.delete([partial])
