"""Batches streamed from shards: shuffled, grouped by caption length, parsed a batch at a time."""

import tensorflow as tf

from tfcaption.input_pipeline.options import BatchOptions
from tfcaption.input_pipeline.parsing import (
    CAPTION_FEATURES,
    CORES,
    Batch,
    decode_inputs,
    parse_photos,
    read_shards,
)
from tfcaption.input_pipeline.split import Split, batches_per_epoch
from tfcaption.preprocessing.augmented_views import swap_left_right, views_in_turn
from tfcaption.records.examples import (
    CAPTIONS_LENGTHS,
    PHOTO_ID,
)
from tfcaption.records.vocabulary import PAD

_LENGTHS = tf.io.VarLenFeature(tf.int64)


def streamed_batches(split: Split, options: BatchOptions, epochs: tf.data.Dataset, skipped: int) -> tf.data.Dataset:
    """Batches from shards, of some epochs, without the first `skipped`; see `make_batches`.

    Photos are grouped by length while still serialized, then parsed a batch at once.
    """
    batch_size, captions, shuffle_seed = options.batch_size_photos, options.captions, options.shuffle_seed
    lengths = tf.constant(split.lengths, tf.int64)
    per_epoch = batches_per_epoch(split, batch_size)

    def seed_of(number: tf.Tensor) -> tf.Tensor:
        return tf.constant(shuffle_seed or 0, tf.int64) * 1_000_003 + number

    def bucket(serialized: tf.Tensor, epoch_seed: tf.Tensor) -> tf.Tensor:
        features = tf.io.parse_single_example(
            serialized, {PHOTO_ID: CAPTION_FEATURES[PHOTO_ID], CAPTIONS_LENGTHS: _LENGTHS}
        )
        caption_lengths = features[CAPTIONS_LENGTHS].values
        if captions == "one":
            sampled = _sample_index(features[PHOTO_ID][None], tf.size(caption_lengths)[None], epoch_seed)
            caption_lengths = tf.gather(caption_lengths, sampled)
        return tf.cast(tf.searchsorted(lengths, tf.reduce_max(caption_lengths)[None])[0], tf.int64)

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        tf.random.set_seed(1)  # of this graph: the order depends on nothing but the seed below
        seed = seed_of(number)
        if shuffle_seed is None:
            serialized = read_shards(split, split.files, deterministic=options.deterministic)
        else:
            paths = _paths_of_views(split, number)
            serialized = read_shards(split, paths, seed=seed, deterministic=options.deterministic)
            serialized = serialized.shuffle(options.shuffle_buffer_photos, seed=seed)
        if len(split.lengths) == 1:
            windows = serialized.batch(batch_size).map(lambda batch: (tf.constant(0, tf.int64), batch))
        else:
            windows = serialized.group_by_window(
                key_func=lambda record: bucket(record, seed),
                reduce_func=lambda index, window: window.batch(batch_size).map(lambda batch: (index, batch)),
                window_size=batch_size,
            )
        padding = tf.data.Dataset.from_tensors((tf.constant(0, tf.int64), tf.constant([], tf.string))).repeat()
        return windows.concatenate(padding).take(per_epoch).map(lambda index, batch: (number, index, batch))

    def parse(number: tf.Tensor, index: tf.Tensor, serialized: tf.Tensor) -> Batch:
        seed = seed_of(number)
        return _parse(
            serialized,
            split,
            tf.gather(lengths, index),
            batch_size,
            caption_seed=seed if captions == "one" else None,
            augment_seed=options.augment_seed,
            epoch=number,
        )

    windows = epochs.flat_map(epoch).skip(skipped)
    return windows.map(parse, num_parallel_calls=CORES, deterministic=options.deterministic)


def _paths_of_views(split: Split, epoch: tf.Tensor) -> tf.Tensor:
    """The file that an epoch reads of each shard: (shards,) string."""
    shards = len(split.files)
    paths = tf.constant([split.files, *split.further_views], tf.string, (split.views, shards))
    views = views_in_turn(shards, epoch=epoch, views=split.views)
    return tf.gather_nd(paths, tf.stack([views, tf.range(shards, dtype=tf.int64)], 1))


def _sample_index(photo_ids: tf.Tensor, counts: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """An index below each count, from a hash of the seed and each id: (photos,) -> (photos,) int64."""
    salted = tf.strings.join([tf.strings.as_string(seed), photo_ids], separator="/")
    return tf.strings.to_hash_bucket_fast(salted, 1 << 30) % tf.cast(counts, tf.int64)


def _parse(
    serialized: tf.Tensor,
    split: Split,
    length: tf.Tensor,
    batch_size: int,
    *,
    caption_seed: tf.Tensor | None,
    augment_seed: int | None,
    epoch: tf.Tensor,
) -> Batch:
    """Parse a whole batch in one call: (photos,) string -> Batch of `batch_size` rows."""
    photo_ids, payloads, views, per_photo, tokens = parse_photos(serialized, split, length)
    if caption_seed is None:
        captions = split.captions_per_photo
        by_photo = tf.RaggedTensor.from_row_lengths(tokens, per_photo.row_lengths())
        dense = by_photo.to_tensor(PAD, shape=(None, captions, None))
    else:
        captions = 1
        sampled = _sample_index(photo_ids, per_photo.row_lengths(), caption_seed)
        dense = tf.gather(tokens, per_photo.row_starts() + sampled)[:, None]
    inputs, mirrored = decode_inputs(payloads, photo_ids, views, split, augment_seed=augment_seed, epoch=epoch)
    dense = swap_left_right(dense, mirrored, split.left_right)
    missing = batch_size - tf.shape(serialized)[0]

    def padded(rows: tf.Tensor, *shape: int | None) -> tf.Tensor:
        filled = tf.cond(missing > 0, lambda: tf.pad(rows, [[0, missing], *[[0, 0]] * len(shape)]), lambda: rows)
        return tf.ensure_shape(filled, (batch_size, *shape))

    return {
        "photo_id": padded(photo_ids),
        "inputs": padded(inputs, *split.shape),
        "tokens": padded(dense, captions, None),
    }
