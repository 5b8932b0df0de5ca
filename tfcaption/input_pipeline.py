"""Shards -> batches for a whole training: length buckets, one short list of shapes, any position to go on from.

A batch holds a fixed number of rows, padded to the bucket of its longest caption. Every photo of the split comes
exactly once an epoch. Each epoch takes the same number of batches: those that are not needed come last and hold no
token. What fits is kept in memory (`in_memory.py`), the rest streams from its shards (here).
"""

import os
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from tfcaption.damaged import LeftOut
from tfcaption.preprocessing.augmented_views import swap_left_right
from tfcaption.records.dataset_info import DATASET_FILE, FEATURES_FILE, DatasetInfo, FeaturesInfo
from tfcaption.records.examples import (
    CAPTIONS_LENGTHS,
    CAPTIONS_TOKENS,
    FEATURES,
    PHOTO_ID,
    PHOTO_JPEG,
    Stage,
    features_size,
)
from tfcaption.records.tfrecord import RecordError
from tfcaption.records.vocabulary import PAD
from tfcaption.runtime.paths import as_path

Batch = dict[str, tf.Tensor]
"""`photo_id` (rows,) string, empty for a row that only fills up; `inputs` (rows, ...) uint8 pixels or float16
features; `tokens` (rows, captions, time) int32, padded with <pad>."""

CORES = os.cpu_count() or 1


@dataclass(frozen=True)
class Split:
    """One host's share of a split: where it is and what it holds."""

    name: str
    files: list[str]
    stage: Stage
    shape: tuple[int, ...]  # of one photo's inputs
    bytes: int  # of this host's shards
    photos: int  # of this host
    most_photos: int  # of any host
    captions_per_photo: int
    lengths: list[int]  # padded caption lengths in tokens, the last one holds every caption
    in_memory: bool  # held in memory, still encoded; otherwise read again each epoch
    by_caption: bool  # a row is one caption, which pads least; otherwise a photo with all its captions, encoded once
    views: int = 1  # that a record holds of its photo; a shuffled epoch shows one of them, any other the first
    sides: tuple[int, ...] = ()  # tokens that change places in the captions of a mirrored view
    left_out: LeftOut | None = None  # leaves out damaged records; None: they are errors

    @property
    def payload(self) -> str:
        """The key of a photo's inputs in its record."""
        return PHOTO_JPEG if self.stage == "photo" else FEATURES


def open_split(
    name: str,
    info: DatasetInfo,
    folder: str | Path,
    features: FeaturesInfo | None = None,
    *,
    buckets: int,
    cache: bool | str = "auto",
    cache_limit_mb: int = 2048,
    by_photo: bool = False,
    left_out: LeftOut | None = None,
    host: int = 0,
    hosts: int = 1,
) -> Split:
    """Find a split's shards.

    Args:
        name: train, dev or test.
        info: `dataset.json` of the records.
        folder: the records, or the features made of them.
        features: their `features.json`, where `folder` holds features.
        buckets: how many padded lengths; 1 where the step leaves out the padding itself.
        cache: hold the split in memory, or not; auto: where this host's share of it is within the limit.
        cache_limit_mb: that limit, in units of 1,000,000 bytes.
        by_photo: a row is a photo even where a caption would be the better one.
        left_out: leaves out damaged records, so that a shard may have another size.
        host: which share of the shards, of `hosts`.
        hosts: how many share the split.

    Raises:
        RecordError: there is no such split, too few training shards for the hosts, or a shard is missing or has
            another size than the description says.
    """
    split = info.split(name)
    shards = features.splits[name] if features else split.shards
    shares = [shards[index::hosts] for index in range(hosts)]
    photos = [sum(shard.records for shard in share) for share in shares]
    if name == "train" and not all(photos):
        raise RecordError(
            f"{folder}: split {name} has too few shards for {hosts} hosts; "
            f"build the records again with --shards {hosts * 8}"
        )
    described, command = (FEATURES_FILE, "extract_features") if features else (DATASET_FILE, "build_records")
    for shard in shares[host]:
        path = as_path(folder) / shard.name
        if not path.is_file():
            raise RecordError(f"{path}: no such file, though {described} lists it; run {command} again")
        if left_out is None and path.stat().st_size != shard.bytes:
            raise RecordError(
                f"{path}: {path.stat().st_size:,} bytes, {described} says {shard.bytes:,}; run {command} again"
            )
    size = info.settings.image_size
    here = sum(shard.bytes for shard in shares[host])
    in_memory = photos[host] > 0 and (here <= cache_limit_mb * 1_000_000 if cache == "auto" else bool(cache))
    stage: Stage = features.settings.stage if features else "photo"
    by_caption = stage == "pooled" and in_memory and not by_photo
    histogram = split.caption_lengths if by_caption else split.longest_caption_lengths
    return Split(
        name=name,
        files=[str(as_path(folder) / shard.name) for shard in shares[host] if shard.records],
        stage=stage,
        shape=tuple(features.settings.shape) if features else (size, size, 3),
        bytes=here,
        photos=photos[host],
        most_photos=max(photos),
        captions_per_photo=info.captions_per_photo,
        lengths=bucket_lengths(histogram, buckets, info.max_length),
        in_memory=in_memory,
        by_caption=by_caption,
        views=features.settings.views_of(name) if features else 1,
        sides=tuple(features.settings.sides) if features else (),
        left_out=left_out,
    )


def bucket_lengths(histogram: dict[int, int], buckets: int, longest: int) -> list[int]:
    """The padded lengths that waste the fewest positions, by dynamic programming over the lengths there are.

    Args:
        histogram: length in tokens -> how many have it.
        buckets: how many padded lengths at most.
        longest: the last one, so that every caption of any split fits.
    """
    lengths = sorted({length for length, count in histogram.items() if count} | {longest})
    counts = [histogram.get(length, 0) for length in lengths]
    # best[i]: (positions of the first i lengths, the padded lengths chosen for them), with one more bucket each round
    best: list[tuple[int, list[int]]] = [(0, [])]
    best += [(lengths[i] * sum(counts[: i + 1]), [lengths[i]]) for i in range(len(lengths))]

    def one_more(start: int, end: int) -> tuple[int, list[int]]:
        positions, chosen = best[start]
        return positions + lengths[end - 1] * sum(counts[start:end]), [*chosen, lengths[end - 1]]

    for _ in range(buckets - 1):
        best = [best[0]] + [
            min(best[end], *(one_more(start, end) for start in range(end))) for end in range(1, len(lengths) + 1)
        ]
    return best[-1][1]


def rows_per_batch(split: Split, batch_size_photos: int, *, captions: str = "all") -> int:
    """Rows of a batch that holds the captions of `batch_size_photos` photos."""
    return batch_size_photos * (split.captions_per_photo if split.by_caption and captions == "all" else 1)


def batches_per_epoch(split: Split, batch_size_photos: int) -> int:
    """Batches of every epoch, the same on every host: full ones, and one that is not for each bucket."""
    return split.most_photos // batch_size_photos + len(split.lengths)


def batches(
    split: Split,
    *,
    batch_size_photos: int,
    captions: str = "all",
    shuffle_seed: int | None = None,
    shuffle_buffer_photos: int = 2048,
    deterministic: bool = True,
    epochs: int = 1,
    position: int = 0,
) -> tf.data.Dataset:
    """All batches of a training, epoch after epoch.

    Args:
        split: as `open_split` gives it.
        batch_size_photos: photos in every batch of this host (or as many captions as they have, see `by_caption`).
        captions: `all`, or `one` of each photo, drawn anew each epoch.
        shuffle_seed: order of photos, another one each epoch; None keeps the order of the shards.
        shuffle_buffer_photos: encoded photos held to shuffle among when streaming; in memory all are.
        deterministic: the same seed gives the same batches; otherwise what is read first comes first, when streaming.
        epochs: how many.
        position: batches to leave out at the beginning, over all epochs.

    Returns:
        Dataset of `Batch`, `epochs * batches_per_epoch(...) - position` elements.
    """
    if split.in_memory:
        from tfcaption.in_memory import memory_batches

        dataset = memory_batches(
            split,
            batch_size_photos=batch_size_photos,
            captions=captions,
            shuffle_seed=shuffle_seed,
            epochs=epochs,
            position=position,
        )
    else:
        dataset = _streamed(
            split, batch_size_photos, captions, shuffle_seed, shuffle_buffer_photos, deterministic, epochs, position
        )
    options = tf.data.Options()
    options.deterministic = deterministic
    # Autotuning re-plans after 10, 20, 40 ... ms, and an iterator cannot close before the next turn. The work is the
    # same for every batch, so there is little to tune.
    options.autotune.enabled = False
    # Each host has its own shards already.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options).prefetch(2)


def decode_jpeg(jpeg: tf.Tensor) -> tf.Tensor:
    """Pixels of one prepared photo: scalar string -> (size, size, 3) uint8.

    The accurate inverse transform, because TensorFlow's default depends on the platform.
    """
    return tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE")


def decode_payloads(payloads: tf.Tensor, stage: Stage, shape: tuple[int, ...]) -> tf.Tensor:
    """Inputs of photos from what their records hold: (rows,) string -> (rows, *shape) uint8 or float16."""
    if stage != "photo":
        return tf.reshape(tf.io.decode_raw(payloads, tf.float16), (-1, *shape))
    spec = tf.TensorSpec(shape, tf.uint8)
    return tf.map_fn(lambda jpeg: tf.ensure_shape(decode_jpeg(jpeg), shape), payloads, fn_output_signature=spec)


def payloads_of_views(payloads: tf.Tensor, views: tf.Tensor, split: Split) -> tf.Tensor:
    """What records hold of one view each: (rows,) string, (rows,) int -> (rows,) string."""
    if split.views == 1:
        return payloads
    size = features_size(split.shape)
    return tf.strings.substr(payloads, tf.cast(views, tf.int32) * size, tf.fill(tf.shape(views), size))


def read_shards(split: Split, *, seed: tf.Tensor | None = None, deterministic: bool = True) -> tf.data.Dataset:
    """Serialised records of a split, from eight shards in turn; a seed shuffles the shards."""
    files = tf.data.Dataset.from_tensor_slices(tf.constant(split.files, tf.string, (len(split.files),)))
    if seed is not None:
        files = files.shuffle(max(len(split.files), 1), seed=seed)
    # Eight buffers that stay in the cache: 8 MiB each took a quarter longer for large records.
    read = split.left_out.dataset if split.left_out else lambda path: tf.data.TFRecordDataset(path, buffer_size=1 << 20)
    found = files.interleave(
        read, cycle_length=8, block_length=16, num_parallel_calls=CORES, deterministic=deterministic
    )
    if split.left_out:
        return found
    # TensorFlow checks each record, but takes a shard that ends early between two records for whole.
    return found.apply(tf.data.experimental.assert_cardinality(split.photos))


_CAPTION_FEATURES = {
    PHOTO_ID: tf.io.FixedLenFeature((), tf.string),
    CAPTIONS_TOKENS: tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64),
    CAPTIONS_LENGTHS: tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64),
}


def parse_photos(
    serialized: tf.Tensor, split: Split, length: tf.Tensor | int
) -> tuple[tf.Tensor, tf.Tensor, tf.RaggedTensor, tf.Tensor]:
    """Parse (photos,) serialised records in one call.

    Returns:
        Photo ids (photos,), encoded inputs (photos,), the captions' lengths (photos, captions) ragged, and the
        tokens of all captions (captions of all photos, length) int32, padded.
    """
    features = tf.io.parse_example(
        serialized, {**_CAPTION_FEATURES, split.payload: tf.io.FixedLenFeature((), tf.string)}
    )
    per_photo = features[CAPTIONS_LENGTHS]
    flat = tf.RaggedTensor.from_row_lengths(features[CAPTIONS_TOKENS].flat_values, per_photo.flat_values)
    tokens = tf.cast(flat.to_tensor(PAD, shape=tf.stack([-1, length])), tf.int32)
    return features[PHOTO_ID], features[split.payload], per_photo, tokens


def _streamed(
    split: Split,
    batch_size: int,
    captions: str,
    shuffle_seed: int | None,
    shuffle_buffer: int,
    deterministic: bool,
    epochs: int,
    position: int,
) -> tf.data.Dataset:
    """Batches by photo: windows of serialised photos of one bucket, parsed and decoded after they are grouped."""
    lengths = tf.constant(split.lengths, tf.int64)
    per_epoch = batches_per_epoch(split, batch_size)

    def bucket(serialized: tf.Tensor, epoch_seed: tf.Tensor) -> tf.Tensor:
        features = tf.io.parse_single_example(
            serialized, {PHOTO_ID: _CAPTION_FEATURES[PHOTO_ID], CAPTIONS_LENGTHS: _LENGTHS}
        )
        caption_lengths = features[CAPTIONS_LENGTHS].values
        if captions == "one":
            drawn = _draw(features[PHOTO_ID][None], tf.size(caption_lengths)[None], epoch_seed)
            caption_lengths = tf.gather(caption_lengths, drawn)
        return tf.cast(tf.searchsorted(lengths, tf.reduce_max(caption_lengths)[None])[0], tf.int64)

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        tf.random.set_seed(1)  # of this graph: the order depends on nothing but the seed below
        seed = tf.constant(shuffle_seed or 0, tf.int64) * 1_000_003 + number
        serialized = read_shards(split, seed=None if shuffle_seed is None else seed, deterministic=deterministic)
        if shuffle_seed is not None:
            serialized = serialized.shuffle(shuffle_buffer, seed=seed)
        if len(split.lengths) == 1:
            windows = serialized.batch(batch_size).map(lambda batch: (tf.constant(0, tf.int64), batch))
        else:
            windows = serialized.group_by_window(
                key_func=lambda record: bucket(record, seed),
                reduce_func=lambda index, window: window.batch(batch_size).map(lambda batch: (index, batch)),
                window_size=batch_size,
            )
        nothing = tf.data.Dataset.from_tensors((tf.constant(0, tf.int64), tf.constant([], tf.string))).repeat()
        return windows.concatenate(nothing).take(per_epoch).map(lambda index, batch: (seed, index, batch))

    def parse(seed: tf.Tensor, index: tf.Tensor, serialized: tf.Tensor) -> Batch:
        return _parse(
            serialized,
            split,
            tf.gather(lengths, index),
            batch_size,
            draw_seed=seed if captions == "one" else None,
            view_seed=None if shuffle_seed is None else seed,
        )

    first, skipped = divmod(position, per_epoch)
    windows = tf.data.Dataset.range(first, epochs).flat_map(epoch).skip(skipped)
    return windows.map(parse, num_parallel_calls=CORES, deterministic=deterministic)


_LENGTHS = tf.io.VarLenFeature(tf.int64)


def _draw(photo_ids: tf.Tensor, counts: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """An index below each count, from a hash of the seed and each id: (photos,) -> (photos,) int64."""
    salted = tf.strings.join([tf.strings.as_string(seed), photo_ids], separator="/")
    return tf.strings.to_hash_bucket_fast(salted, 1 << 30) % tf.cast(counts, tf.int64)


def _parse(
    serialized: tf.Tensor,
    split: Split,
    length: tf.Tensor,
    batch_size: int,
    *,
    draw_seed: tf.Tensor | None,
    view_seed: tf.Tensor | None,
) -> Batch:
    """Parse a whole batch in one call: (photos,) string -> Batch of `batch_size` rows."""
    photo_ids, payloads, per_photo, tokens = parse_photos(serialized, split, length)
    if draw_seed is None:
        captions = split.captions_per_photo
        by_photo = tf.RaggedTensor.from_row_lengths(tokens, per_photo.row_lengths())
        dense = by_photo.to_tensor(PAD, shape=(None, captions, None))
    else:
        captions = 1
        drawn = _draw(photo_ids, per_photo.row_lengths(), draw_seed)
        dense = tf.gather(tokens, per_photo.row_starts() + drawn)[:, None]
    views = tf.zeros_like(photo_ids, tf.int64)
    if split.views > 1 and view_seed is not None:
        views = _draw(tf.strings.join(["view/", photo_ids]), tf.fill(tf.shape(photo_ids), split.views), view_seed)
        dense = swap_left_right(dense, views, split.sides)
    payloads = payloads_of_views(payloads, views, split)
    missing = batch_size - tf.shape(serialized)[0]

    def filled_up(rows: tf.Tensor, *shape: int | None) -> tf.Tensor:
        padded = tf.cond(missing > 0, lambda: tf.pad(rows, [[0, missing], *[[0, 0]] * len(shape)]), lambda: rows)
        return tf.ensure_shape(padded, (batch_size, *shape))

    return {
        "photo_id": filled_up(photo_ids),
        "inputs": filled_up(decode_payloads(payloads, split.stage, split.shape), *split.shape),
        "tokens": filled_up(dense, captions, None),
    }
