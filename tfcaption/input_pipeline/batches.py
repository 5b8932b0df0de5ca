"""Batches of a split for a whole training run, from memory or streamed from shards.

A batch holds a fixed number of rows, padded to the bucket of its longest caption. Every photo of the split comes
exactly once an epoch. Every epoch has equally many batches: those that are not needed come last and hold no token.
"""

import tensorflow as tf

from tfcaption.input_pipeline.in_memory import memory_batches
from tfcaption.input_pipeline.options import BatchOptions
from tfcaption.input_pipeline.split import Split, batches_per_epoch
from tfcaption.input_pipeline.streaming import streamed_batches


def make_batches(
    split: Split, options: BatchOptions, *, position: int = 0, epochs: tf.data.Dataset | None = None
) -> tf.data.Dataset:
    """All batches of a training run, epoch after epoch.

    Args:
        split: as `open_split` returns it.
        options: size, order and number of the batches.
        position: batches to skip at the beginning, counted over all epochs.
        epochs: () int64 elements, the numbers of the epochs, each of which has an order of its own; None: those that
            `options` and `position` name.

    Returns:
        Dataset of `Batch`, `epochs * batches_per_epoch(...) - position` elements.
    """
    make = memory_batches if split.in_memory else streamed_batches
    settings = tf.data.Options()
    settings.deterministic = options.deterministic
    # Autotuning re-plans after 10, 20, 40 ... ms, and an iterator cannot close before the next turn. The work is equal
    # for every batch, so there is little to tune.
    settings.autotune.enabled = False
    # Each host has its own shards already.
    settings.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    first, skipped = divmod(position, batches_per_epoch(split, options.batch_size_photos))
    if epochs is None:
        epochs = tf.data.Dataset.range(first, options.epochs)
    return make(split, options, epochs, skipped).with_options(settings).prefetch(2)
