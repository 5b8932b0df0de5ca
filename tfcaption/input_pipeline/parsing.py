"""Serialized records -> tensors."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcaption.input_pipeline.split import Split
from tfcaption.preprocessing.augmented_views import RandomViews, crop_image, is_mirrored, random_views
from tfcaption.preprocessing.photos_in_graph import decode_jpeg
from tfcaption.records.examples import (
    CAPTIONS_LENGTHS,
    CAPTIONS_TOKENS,
    PHOTO_ID,
    PHOTO_VIEW,
    Stage,
    features_size,
)
from tfcaption.records.reading import DamagedRecordSkipper, read_records
from tfcaption.records.vocabulary import PAD
from tfcaption.runtime.paths import is_local

Batch = dict[str, tf.Tensor]
"""`photo_id` (rows,) string, empty for a padding row; `inputs` (rows, ...) uint8 pixels or float16
features; `tokens` (rows, captions, time) int32, padded with <pad>."""

CORES = os.cpu_count() or 1


def decode_payloads(payloads: tf.Tensor, stage: Stage, shape: tuple[int, ...], *, varying: bool = False) -> tf.Tensor:
    """Inputs of photos from the payloads of their records: (rows,) string -> (rows, *shape) uint8 or float16.

    With `varying`, photos with fewer regions than `shape` says are padded with zeros.
    """
    if varying:
        size, held = features_size(shape), tf.strings.length(payloads)
        fits = (held > 0) & (held <= size) & (held % features_size(shape[-1:]) == 0)
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(fits), [held])]):
            padded = tf.io.decode_raw(payloads, tf.int16, fixed_length=size)  # which has no kernel for float16
            return tf.reshape(tf.bitcast(padded, tf.float16), (-1, *shape))
    if stage != "photo":
        return tf.reshape(tf.io.decode_raw(payloads, tf.float16), (-1, *shape))
    spec = tf.TensorSpec(shape, tf.uint8)
    return tf.map_fn(lambda jpeg: tf.ensure_shape(decode_jpeg(jpeg), shape), payloads, fn_output_signature=spec)


def decode_inputs(
    payloads: tf.Tensor,
    photo_ids: tf.Tensor,
    views: tf.Tensor,
    split: Split,
    *,
    augment_seed: int | None,
    epoch: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Inputs of photos, as stored or in random views.

    Args:
        payloads: (rows,) string, of the stored view of each photo.
        photo_ids: (rows,) string.
        views: (rows,) int64, the stored view of each photo.
        split: which the photos are of.
        augment_seed: as in `BatchOptions`.
        epoch: () int64.

    Returns:
        (rows, ...) uint8 or float16, and whether each photo is mirrored, (rows,) bool.
    """
    if augment_seed is None:
        inputs = decode_payloads(payloads, split.stage, split.shape, varying=split.varying)
        return inputs, is_mirrored(views)
    chosen = random_views(photo_ids, seed=augment_seed, epoch=epoch, size=(split.shape[0], split.shape[1]))
    return _decode_random_views(payloads, chosen, split.shape), chosen.mirrored


def _decode_random_views(jpegs: tf.Tensor, views: RandomViews, shape: tuple[int, ...]) -> tf.Tensor:
    """Photos in random views: (rows,) string and a view for each -> (rows, *shape) uint8."""

    def decode(jpeg: tf.Tensor, window: tf.Tensor, mirrored: tf.Tensor) -> tf.Tensor:
        return crop_image(tf.ensure_shape(decode_jpeg(jpeg), shape), window, mirrored)

    spec = tf.TensorSpec(shape, tf.uint8)
    return tf.map_fn(lambda photo: decode(*photo), (jpegs, *views), fn_output_signature=spec)


def read_shards(
    split: Split, paths: Sequence[str] | tf.Tensor, *, seed: tf.Tensor | None = None, deterministic: bool = True
) -> tf.data.Dataset:
    """Serialized records of a split, interleaved from eight shards.

    Args:
        split: which the records are of.
        paths: (shards,) string, a file for each of `split.files`, of any view.
        seed: () int64, shuffles the shards.
        deterministic: as in `BatchOptions`.
    """
    paths = tf.ensure_shape(tf.convert_to_tensor(paths, tf.string), (len(split.files),))
    files = tf.data.Dataset.from_tensor_slices(paths)
    if seed is not None:
        files = files.shuffle(max(len(split.files), 1), seed=seed)
    skipper = split.skipper

    def read(path: tf.Tensor) -> tf.data.Dataset:
        if skipper or not all(map(is_local, split.files)):
            return whole_shard(path, skipper)
        # Eight buffers of 1 MiB stay in the processor's cache; 8 MiB each took a quarter longer for large records.
        return tf.data.TFRecordDataset(path, buffer_size=1 << 20)

    records = files.interleave(
        read, cycle_length=8, block_length=16, num_parallel_calls=CORES, deterministic=deterministic
    )
    if skipper:
        return records
    # TensorFlow checks each record, but takes a shard that ends early between two records for complete.
    return records.apply(tf.data.experimental.assert_cardinality(split.photos))


def whole_shard(path: tf.Tensor, skipper: DamagedRecordSkipper | None) -> tf.data.Dataset:
    """The records of one shard as scalar strings, read by Python and held in memory.

    For damaged records, which TensorFlow does not skip, and for object stores, which it does not all know.
    """

    def read(path: bytes) -> np.ndarray:
        return np.array(list(read_records([path.decode()], skipper)), object)

    serialized = tf.numpy_function(read, [path], tf.string)
    return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(serialized, (None,)))


CAPTION_FEATURES = {
    PHOTO_ID: tf.io.FixedLenFeature((), tf.string),
    CAPTIONS_TOKENS: tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64),
    CAPTIONS_LENGTHS: tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64),
}


class ParsedPhotos(NamedTuple):
    """Some photos with their captions, still encoded."""

    ids: tf.Tensor  # (photos,) string
    payloads: tf.Tensor  # (photos,) string: JPEG or float16 features
    views: tf.Tensor  # (photos,) int64: which view the payload shows
    lengths: tf.RaggedTensor  # (photos, captions) int64: tokens of each caption
    tokens: tf.Tensor  # (captions of all photos, length) int32, padded


def parse_photos(serialized: tf.Tensor, split: Split, length: tf.Tensor | int) -> ParsedPhotos:
    """Parse (photos,) serialized records in one call; pads captions to `length`."""
    keys = {**CAPTION_FEATURES, split.payload: tf.io.FixedLenFeature((), tf.string)}
    if split.views > 1:
        keys[PHOTO_VIEW] = tf.io.FixedLenFeature((), tf.int64, default_value=0)
    features = tf.io.parse_example(serialized, keys)
    per_photo = features[CAPTIONS_LENGTHS]
    flat = tf.RaggedTensor.from_row_lengths(features[CAPTIONS_TOKENS].flat_values, per_photo.flat_values)
    tokens = tf.cast(flat.to_tensor(PAD, shape=tf.stack([-1, length])), tf.int32)
    photo_ids = features[PHOTO_ID]
    views = features[PHOTO_VIEW] if split.views > 1 else tf.zeros_like(photo_ids, tf.int64)
    return ParsedPhotos(photo_ids, features[split.payload], views, per_photo, tokens)
