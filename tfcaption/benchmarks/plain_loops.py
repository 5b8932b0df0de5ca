"""Baselines of the Beam jobs, without Beam, each run in a process of its own as a user's script would be:

python -m tfcaption.benchmarks.plain_loops records PHOTOS OUTPUT PROCESSES IMAGE_SIZE
python -m tfcaption.benchmarks.plain_loops features RECORDS OUTPUT IMAGE_SIZE BATCH_SIZE ENCODER [WEIGHTS]
"""

import multiprocessing
import sys
from collections.abc import Sequence
from pathlib import Path

from tfcaption.backbones.settings import EncoderSettings
from tfcaption.preprocessing import photos
from tfcaption.records import tfrecord
from tfcaption.records.examples import PHOTO_JPEG, PhotoRecord, encode_record
from tfcaption.records.sharding import is_shard_name
from tfcaption.records.vocabulary import END, START
from tfcaption.runtime.process import start_tensorflow

Shard = tuple[Sequence[str], str, int]  # paths of photos, path of the shard, image size


def plain_records_loop(paths: Sequence[str], *, output: str, processes: int, image_size: int) -> None:
    """Prepare photos as `build_records` does: a pool of processes, each writes one shard at a time."""
    shards = shards_of(paths, output=output, processes=processes, image_size=image_size)
    if processes == 1:
        for shard in shards:
            write_shard(shard)
    else:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            pool.map(write_shard, shards, chunksize=1)


def shards_of(paths: Sequence[str], *, output: str, processes: int, image_size: int) -> list[Shard]:
    """Four shards of photos for each process, as `write_shard` takes them."""
    size = -(-len(paths) // (processes * 4))
    return [(paths[start : start + size], f"{output}/{start:06d}", image_size) for start in range(0, len(paths), size)]


def write_shard(shard: Shard) -> None:
    """Write one shard: read, resize and encode its photos."""
    paths, output, image_size = shard
    with Path(output).open("wb") as stream:
        for path in paths:
            jpeg = photos.prepare_photo(Path(path).read_bytes(), image_size=image_size, resize="squash")
            record = PhotoRecord(photo_id=path, jpeg=jpeg, captions=["a photo"] * 5, token_ids=[[START, 4, 5, END]] * 5)
            stream.write(tfrecord.frame_record(encode_record(record)))


def plain_features_loop(
    files: Sequence[str], *, output: str, image_size: int, encoder: EncoderSettings, batch_size: int
) -> None:
    """Extract features as `extract_features` does: one tf.data loop over all shards, features into one file."""
    start_tensorflow()  # here, since the records loop and its workers import this module and must not pay for it
    import tensorflow as tf

    from tfcaption.input_pipeline.parsing import decode_jpeg
    from tfcaption.models.encoder import open_encoder

    opened = open_encoder(encoder, image_size=image_size)
    key = {PHOTO_JPEG: tf.io.FixedLenFeature((), tf.string)}
    dataset = (
        tf.data.TFRecordDataset(list(files))
        .map(lambda record: decode_jpeg(tf.io.parse_single_example(record, key)[PHOTO_JPEG]), tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )
    shape = (None, image_size, image_size, 3)
    extract = tf.function(
        lambda images: tf.cast(opened(images), tf.float16),
        autograph=False,
        input_signature=[tf.TensorSpec(shape, tf.uint8)],
    )
    with Path(output).open("wb") as stream:
        for images in dataset:
            stream.write(extract(images).numpy().tobytes())


def main(loop: str, source: str, output: str, *options: str) -> None:
    """The commands above."""
    files = sorted(Path(source).iterdir())
    if loop == "records":
        processes, size = options
        paths = [str(path) for path in files]
        plain_records_loop(paths, output=output, processes=int(processes), image_size=int(size))
    else:
        size, batch, encoder, *weights = options
        shards = [str(path) for path in files if is_shard_name(path.name)]
        settings = EncoderSettings((encoder,), weights[0] if weights else None)
        plain_features_loop(shards, output=output, image_size=int(size), encoder=settings, batch_size=int(batch))


if __name__ == "__main__":
    main(*sys.argv[1:])
