"""Batches of a split for a whole training run, from memory or streamed from shards."""

import tensorflow as tf

from tfcaption.input_pipeline.in_memory import memory_batches
from tfcaption.input_pipeline.split import Split
from tfcaption.input_pipeline.streaming import streamed_batches


def make_batches(
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
        dataset = memory_batches(
            split,
            batch_size_photos=batch_size_photos,
            captions=captions,
            shuffle_seed=shuffle_seed,
            epochs=epochs,
            position=position,
        )
    else:
        dataset = streamed_batches(
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
