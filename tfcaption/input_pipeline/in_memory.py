"""Batches from a split held in memory: photos still encoded, captions as one table, epochs as shuffled row numbers.

All views of the photos are held, and each epoch samples one for each photo.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcaption.input_pipeline.options import BatchOptions
from tfcaption.input_pipeline.parsing import CORES, Batch, decode_inputs, parse_photos, read_shards
from tfcaption.input_pipeline.split import Split, batches_per_epoch, rows_per_batch
from tfcaption.preprocessing.augmented_views import swap_left_right
from tfcaption.records.tfrecord import RecordError
from tfcaption.records.vocabulary import PAD

_READ_AT_ONCE = 512


class SplitTable(NamedTuple):
    """All photos and captions of a split."""

    photo_ids: tf.Tensor  # (photos,) string
    payloads: "Payloads"
    places: np.ndarray  # (photos, views) the number of the payload of each view of each photo; -1: it was damaged
    tokens: tf.Tensor  # (captions, longest) int32, padded
    lengths: np.ndarray  # (captions,) tokens of each
    first_caption: np.ndarray  # (photos + 1,) where each photo's captions begin


class Payloads:
    """Strings by their number: JPEG or float16 features.

    A table, which takes them part by part: to concatenate tensors would take twice the memory.
    """

    def __init__(self) -> None:
        self._table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.string, default_value="")
        self.count = 0

    def add(self, payloads: tf.Tensor) -> None:
        """Add strings (n,), with the numbers from `count` on."""
        first, self.count = self.count, self.count + len(payloads)
        self._table.insert(tf.range(first, self.count, dtype=tf.int64), payloads)

    def get(self, numbers: tf.Tensor) -> tf.Tensor:
        """The strings (n,) with some numbers (n,) int64."""
        return self._table.lookup(numbers)


def load_table(split: Split) -> SplitTable:
    """Read a split's shards once.

    Raises:
        RecordError: no record is intact, or the views are not of the same photos.
    """
    photo_ids, tokens, lengths, counts = [], [], [], []
    payloads = Payloads()
    for serialized in read_shards(split, split.files).batch(_READ_AT_ONCE):
        ids, encoded, _, per_photo, padded = parse_photos(serialized, split, split.lengths[-1])
        photo_ids.append(ids)
        payloads.add(encoded)
        tokens.append(padded)
        lengths.append(per_photo.flat_values.numpy())
        counts.append(per_photo.row_lengths().numpy())
    if not photo_ids:
        raise RecordError(f"no record of split {split.name} can be read; build the records again")
    names = tf.concat(photo_ids, 0)
    places = [np.arange(len(names))]
    for files in split.further_views:
        place_of = _read_view(split, files, payloads)
        places.append(np.array([place_of.get(photo, -1) for photo in names.numpy()]))
        if split.skipper is None and places[-1].min() < 0:
            raise RecordError(f"{files[0]}: not a view of the photos in {split.files[0]}; extract the features again")
    return SplitTable(
        names,
        payloads,
        np.stack(places, 1),
        tf.concat(tokens, 0),
        np.concatenate(lengths),
        np.concatenate([[0], np.cumsum(np.concatenate(counts))]),
    )


def _read_view(split: Split, files: Sequence[str], payloads: Payloads) -> dict[bytes, int]:
    """Add the payloads of one view; photo -> the number of its payload."""
    place_of: dict[bytes, int] = {}
    for serialized in read_shards(split, files).batch(_READ_AT_ONCE):
        parsed = parse_photos(serialized, split, split.lengths[-1])
        place_of |= {photo: place for place, photo in enumerate(parsed.ids.numpy(), payloads.count)}
        payloads.add(parsed.payloads)
    return place_of


def memory_batches(split: Split, options: BatchOptions, epochs: tf.data.Dataset, skipped: int) -> tf.data.Dataset:
    """Batches from memory, of some epochs, without the first `skipped`; see `make_batches`."""
    table = load_table(split)
    captions, shuffle_seed = options.captions, options.shuffle_seed
    per_epoch = batches_per_epoch(split, options.batch_size_photos)
    size = rows_per_batch(split, options.batch_size_photos, captions=captions)
    width = 1 if captions == "one" or split.by_caption else split.captions_per_photo

    def plan(epoch: np.ndarray) -> tuple[np.ndarray, ...]:
        shuffle = None if shuffle_seed is None else np.random.default_rng([shuffle_seed, int(epoch)])
        photos, rows = _rows(table, width, every_caption=captions == "all", shuffle=shuffle)
        planned = _cut(photos, rows, table, split.lengths, size=size, batches=per_epoch, shuffle=shuffle)
        shape = (per_epoch, size)
        views = np.zeros(shape, np.int64) if shuffle is None else shuffle.integers(0, split.views, shape)
        held = table.places[np.maximum(planned[0], 0), views] >= 0  # a padding row has the first photo
        return *planned, np.where(held, views, 0)  # a photo with a damaged view is shown as it is instead

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        planned = tf.numpy_function(plan, [epoch], (tf.int64,) * 4, stateful=False)
        shapes = ((per_epoch, size), (per_epoch, size, width), (per_epoch,), (per_epoch, size))
        parts = tuple(tf.ensure_shape(part, shape) for part, shape in zip(planned, shapes, strict=True))
        return tf.data.Dataset.from_tensor_slices((*parts, tf.fill((per_epoch,), epoch)))

    def fetch(photos: tf.Tensor, rows: tf.Tensor, length: tf.Tensor, views: tf.Tensor, epoch: tf.Tensor) -> Batch:
        tokens = tf.gather(table.tokens, tf.maximum(rows, 0))[..., :length]
        known = photos >= 0
        photos = tf.maximum(photos, 0)  # of a padding row, which has no token
        photo_ids = tf.gather(table.photo_ids, photos)
        payloads = table.payloads.get(tf.gather_nd(table.places, tf.stack([photos, views], 1)))
        inputs, mirrored = decode_inputs(
            payloads, photo_ids, views, split, augment_seed=options.augment_seed, epoch=epoch
        )
        tokens = swap_left_right(tokens, mirrored, split.left_right)
        return {
            "photo_id": tf.where(known, photo_ids, ""),
            "inputs": tf.ensure_shape(inputs, (size, *split.shape)),
            "tokens": tf.ensure_shape(tf.where(rows[..., None] >= 0, tokens, PAD), (size, width, None)),
        }

    return epochs.flat_map(epoch_batches).skip(skipped).map(fetch, num_parallel_calls=CORES)


def _rows(
    table: SplitTable, width: int, *, every_caption: bool, shuffle: np.random.Generator | None
) -> tuple[np.ndarray, np.ndarray]:
    """An epoch's rows before shuffling: the photo of each, and its captions (rows, width), -1 for none."""
    counts = np.diff(table.first_caption)
    if not every_caption:
        sampled = (shuffle or np.random.default_rng(0)).random(len(counts)) * counts
        return np.arange(len(counts)), (table.first_caption[:-1] + sampled.astype(np.int64))[:, None]
    if width == 1:
        return np.repeat(np.arange(len(counts)), counts), np.arange(table.first_caption[-1])[:, None]
    captions = table.first_caption[:-1, None] + np.arange(width)
    return np.arange(len(counts)), np.where(np.arange(width) < counts[:, None], captions, -1)


def _cut(
    photos: np.ndarray,
    rows: np.ndarray,
    table: SplitTable,
    lengths: list[int],
    *,
    size: int,
    batches: int,
    shuffle: np.random.Generator | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Batches of `size` rows of one bucket each: photos (batches, size), captions (batches, size, width), lengths."""
    longest = np.where(rows >= 0, table.lengths[rows], 0).max(1)
    bucket = np.searchsorted(lengths, longest)
    order = np.arange(len(photos)) if shuffle is None else shuffle.permutation(len(photos))
    groups = []
    for index, length in enumerate(lengths):
        members = order[bucket[order] == index]
        groups += [(members[start : start + size], length) for start in range(0, len(members), size)]
    if shuffle is not None:
        groups = [groups[index] for index in shuffle.permutation(len(groups))]
    planned_photos = np.full((batches, size), -1, np.int64)
    planned_rows = np.full((batches, size, rows.shape[1]), -1, np.int64)
    planned_lengths = np.full(batches, lengths[0], np.int64)
    for index, (members, length) in enumerate(groups):
        planned_photos[index, : len(members)] = photos[members]
        planned_rows[index, : len(members)] = rows[members]
        planned_lengths[index] = length
    return planned_photos, planned_rows, planned_lengths
