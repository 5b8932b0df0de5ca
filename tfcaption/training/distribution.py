"""Replicas and hosts: the strategy, and batches for its replicas."""

import os
from functools import cache

import tensorflow as tf

from tfcaption.config import Config, ConfigError
from tfcaption.input_pipeline.split import Split
from tfcaption.runtime.hosts import Host
from tfcaption.runtime.processor import cpu_model
from tfcaption.training.step import Batches


def make_strategy(config: Config, host: Host) -> tf.distribute.Strategy:
    """The strategy over the devices of all hosts.

    Raises:
        ConfigError: the global batch cannot be split over the replicas.
    """
    strategy = _hosts_strategy(host.addresses) if host.count > 1 else _devices_strategy(_devices())
    replicas, photos = strategy.num_replicas_in_sync, config.data.batch_size_photos
    if photos % replicas:
        raise ConfigError(
            f"data.batch_size_photos={photos} cannot be split evenly over {replicas} replicas; set a multiple of "
            f"{replicas}"
        )
    return strategy


# All runs of a process share a strategy: a second one of the same devices would repeat the keys of the first one's
# collective operations, and TensorFlow connects hosts only once.
@cache
def _devices_strategy(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(devices)


@cache
def _hosts_strategy(addresses: tuple[str, ...]) -> tf.distribute.Strategy:
    return tf.distribute.MultiWorkerMirroredStrategy()


def _devices() -> tuple[str, ...]:
    """All of this machine, stated, since `MirroredStrategy` would take those of a lone host that TF_CONFIG names."""
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tuple(device.name for device in found)


def host_batch_size(split: Split, config: Config, strategy: tf.distribute.Strategy, host: Host) -> int:
    """Photos of a host in each batch of a split: its share of the global batch, and no more photos than it has.

    Rows beyond the split's photos would be empty; a batch of 100,000 rows fills 22 GB.
    """
    share, replicas = config.data.batch_size_photos // host.count, strategy.num_replicas_in_sync // host.count
    largest = max(split.most_photos_of_a_host, 1)
    return min(share, -(-largest // replicas) * replicas)


def distributed_batches(dataset: tf.data.Dataset, strategy: tf.distribute.Strategy, host: Host) -> Batches:
    """An iterator over this host's share of all global batches, split over its replicas."""
    dataset = dataset.map(lambda batch: {key: batch[key] for key in ("inputs", "tokens")})  # a GPU holds no strings
    if strategy.num_replicas_in_sync == 1 and not tf.config.list_physical_devices("GPU"):
        # Nothing to split or to copy. A distributed iterator autotunes, and closing it may wait ten seconds.
        return iter(dataset)
    if host.count == 1:
        return iter(strategy.experimental_distribute_dataset(dataset))
    # The dataset holds this host's share of each global batch; only its own replicas split it further.
    replicas = strategy.num_replicas_in_sync // host.count
    if replicas > 1:
        dataset = dataset.flat_map(
            lambda batch: tf.data.Dataset.from_tensor_slices(
                {key: tf.stack(tf.split(value, replicas)) for key, value in batch.items()}
            )
        )
    options = tf.distribute.InputOptions(experimental_replication_mode=tf.distribute.InputReplicationMode.PER_WORKER)
    return iter(strategy.distribute_datasets_from_function(lambda context: dataset, options))


def device_name() -> str:
    """The devices of this host that train, in words: `2 x NVIDIA H200`, `CPU with 2 threads (AMD EPYC 7B13)`."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
        return f"{len(gpus)} x {name}"
    model = cpu_model()
    return f"CPU with {len(os.sched_getaffinity(0))} threads{f' ({model})' if model else ''}"
