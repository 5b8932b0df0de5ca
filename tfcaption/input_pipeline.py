"""Shards -> batches: interleaved reads, shuffling by photo, length buckets, vectorised parsing, full batches.

A batch holds a fixed number of photos with all their captions (or one each), padded to the bucket of the longest.
Every photo of the split comes exactly once an epoch; the last batch of each bucket is filled up with empty rows that
have no token, so that they weigh nothing and every batch of a bucket has one shape.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from tfcaption import records
from tfcaption.records import DatasetInfo, RecordError

Batch = dict[str, tf.Tensor]
"""`photo_id` (photos,) string, empty for a filled-up row; `jpeg` (photos,) string or `image` (photos, size, size, 3)
uint8; `tokens` (photos, captions, time) int32, padded with <pad>."""

_CORES = os.cpu_count() or 1

_CAPTION_FEATURES = {
    records.CAPTIONS_TOKENS: tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64),
    records.CAPTIONS_LENGTHS: tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64),
}
_PHOTO_FEATURES = {
    records.PHOTO_ID: tf.io.FixedLenFeature((), tf.string),
    records.PHOTO_JPEG: tf.io.FixedLenFeature((), tf.string),
}
_BUCKET_FEATURES = {
    records.PHOTO_ID: _PHOTO_FEATURES[records.PHOTO_ID],
    records.CAPTIONS_LENGTHS: tf.io.VarLenFeature(tf.int64),
}


def decode_jpeg(jpeg: tf.Tensor) -> tf.Tensor:
    """Pixels of one prepared photo: scalar string -> (size, size, 3) uint8.

    The accurate inverse transform, because TensorFlow's default depends on the platform.
    """
    return tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE")


def bucket_lengths(info: DatasetInfo, length_buckets: Sequence[int]) -> list[int]:
    """The padded lengths: those given that are shorter than the longest caption, and the longest caption's."""
    return [*sorted(length for length in set(length_buckets) if length < info.max_length), info.max_length]


def shard_files(folder: str | Path, info: DatasetInfo, split: str) -> list[str]:
    """Paths of a split's shards that hold any record.

    Raises:
        RecordError: there is no such split, or a shard is missing or has another size than `dataset.json` says.
    """
    paths = []
    for shard in info.split(split).shards:
        path = Path(folder) / shard.name
        if not path.is_file():
            raise RecordError(f"{path}: no such file, though {records.DATASET_FILE} lists it; build the records again")
        if path.stat().st_size != shard.bytes:
            raise RecordError(
                f"{path}: {path.stat().st_size:,} bytes, {records.DATASET_FILE} says {shard.bytes:,}; "
                "build the records again"
            )
        if shard.records:
            paths.append(str(path))
    return paths


def batches(
    folder: str | Path,
    info: DatasetInfo,
    split: str,
    *,
    batch_size_photos: int,
    length_buckets: Sequence[int],
    captions: str = "all",
    shuffle_seed: int | None = None,
    shuffle_buffer_photos: int = 2048,
    deterministic: bool = True,
    decode: bool = True,
) -> tf.data.Dataset:
    """One epoch of a split.

    Args:
        folder: the records.
        info: their `dataset.json`.
        split: train, dev or test.
        batch_size_photos: photos in every batch.
        length_buckets: padded lengths in tokens, as `bucket_lengths` gives them.
        captions: `all`, or `one` of each photo, drawn by `shuffle_seed` and the photo's id.
        shuffle_seed: order of shards and photos, a different one for each epoch; None keeps the order of the shards.
        shuffle_buffer_photos: encoded photos held to shuffle among.
        deterministic: the same seed gives the same batches; otherwise whatever is read first comes first.
        decode: give `image` instead of `jpeg`.

    Returns:
        Dataset of `Batch`.
    """
    files = tf.data.Dataset.from_tensor_slices(shard_files(folder, info, split))
    if shuffle_seed is not None:
        files = files.shuffle(len(files), seed=shuffle_seed)
    serialized = files.interleave(
        # An 8 MiB buffer a shard: few, long reads also from network storage.
        lambda path: tf.data.TFRecordDataset(path, buffer_size=8 << 20),
        cycle_length=8,
        block_length=16,
        num_parallel_calls=_CORES,
        deterministic=deterministic,
    )
    if shuffle_seed is not None:
        serialized = serialized.shuffle(shuffle_buffer_photos, seed=shuffle_seed)
    lengths = tf.constant(sorted(length_buckets), tf.int64)
    one_seed = None if captions == "all" else int(shuffle_seed or 0)

    def bucket(serialized: tf.Tensor) -> tf.Tensor:
        features = tf.io.parse_single_example(serialized, _BUCKET_FEATURES)
        caption_lengths = features[records.CAPTIONS_LENGTHS].values
        if one_seed is not None:
            drawn = _draw(features[records.PHOTO_ID][None], tf.size(caption_lengths)[None], one_seed)
            caption_lengths = tf.gather(caption_lengths, drawn)
        return tf.cast(tf.searchsorted(lengths, tf.reduce_max(caption_lengths)[None])[0], tf.int64)

    def parse(index: tf.Tensor, serialized: tf.Tensor) -> Batch:
        return _parse(
            serialized,
            length=tf.gather(lengths, index),
            captions_per_photo=info.captions_per_photo,
            batch_size=batch_size_photos,
            one_seed=one_seed,
        )

    dataset = serialized.group_by_window(
        key_func=bucket,
        reduce_func=lambda index, window: window.batch(batch_size_photos).map(lambda batch: (index, batch)),
        window_size=batch_size_photos,
    ).map(parse, num_parallel_calls=_CORES, deterministic=deterministic)
    if decode:
        dataset = dataset.map(
            lambda batch: _decode(batch, info.settings.image_size),
            num_parallel_calls=_CORES,
            deterministic=deterministic,
        )
    options = tf.data.Options()
    options.deterministic = deterministic
    # Autotuning re-plans after 10, 20, 40 ... ms, and an iterator cannot close before the next turn: an epoch of 11 s
    # took 21 s. The work is the same for every batch, so there is little to tune.
    options.autotune.enabled = False
    # Each replica's host reads the same files; the strategy splits the batch.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options).prefetch(2)


def _draw(photo_ids: tf.Tensor, counts: tf.Tensor, seed: int) -> tf.Tensor:
    """One caption's index for each photo, from a hash of the seed and its id: (photos,) -> (photos,) int64."""
    salted = tf.strings.join([tf.strings.as_string(seed), photo_ids], separator="/")
    return tf.strings.to_hash_bucket_fast(salted, 1 << 30) % tf.cast(counts, tf.int64)


def _parse(
    serialized: tf.Tensor,
    *,
    length: tf.Tensor,
    captions_per_photo: int,
    batch_size: int,
    one_seed: int | None,
) -> Batch:
    """Parse a whole batch in one call: (photos,) string -> Batch of `batch_size` rows."""
    features = tf.io.parse_example(serialized, {**_CAPTION_FEATURES, **_PHOTO_FEATURES})
    per_photo = features[records.CAPTIONS_LENGTHS]  # (photos, captions)
    flat = tf.RaggedTensor.from_row_lengths(features[records.CAPTIONS_TOKENS].flat_values, per_photo.flat_values)
    tokens = tf.cast(flat.to_tensor(records.PAD, shape=tf.stack([-1, length])), tf.int32)
    if one_seed is None:
        by_photo = tf.RaggedTensor.from_row_lengths(tokens, per_photo.row_lengths())
        dense = by_photo.to_tensor(records.PAD, shape=(None, captions_per_photo, None))
    else:
        drawn = _draw(features[records.PHOTO_ID], per_photo.row_lengths(), one_seed)
        dense = tf.gather(tokens, per_photo.row_starts() + drawn)[:, None]
    missing = batch_size - tf.shape(serialized)[0]
    return {
        "photo_id": tf.ensure_shape(tf.pad(features[records.PHOTO_ID], [[0, missing]]), (batch_size,)),
        "jpeg": tf.ensure_shape(tf.pad(features[records.PHOTO_JPEG], [[0, missing]]), (batch_size,)),
        "tokens": tf.ensure_shape(
            tf.pad(dense, [[0, missing], [0, 0], [0, 0]]),
            (batch_size, captions_per_photo if one_seed is None else 1, None),
        ),
    }


def _decode(batch: Batch, size: int) -> Batch:
    def pixels(jpeg: tf.Tensor) -> tf.Tensor:
        empty = tf.zeros((size, size, 3), tf.uint8)
        return tf.ensure_shape(tf.cond(jpeg == "", lambda: empty, lambda: decode_jpeg(jpeg)), (size, size, 3))

    image = tf.map_fn(pixels, batch["jpeg"], fn_output_signature=tf.TensorSpec((size, size, 3), tf.uint8))
    return {"photo_id": batch["photo_id"], "image": image, "tokens": batch["tokens"]}
