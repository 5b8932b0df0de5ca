"""Opened splits and their batches for tests."""

from pathlib import Path

import pytest

from tfcaption.input_pipeline.batches import make_batches
from tfcaption.input_pipeline.options import BatchOptions, CachePolicy
from tfcaption.input_pipeline.split import open_split
from tfcaption.records.dataset import Dataset
from tfcaption.records.vocabulary import PAD, Vocabulary
from tfcaption.runtime.hosts import Host


def opened(
    folder, info, split="train", features=None, buckets=3, cache=False, limit_mb=2048, host=0, hosts=1, **options
):
    """A split as training opens it."""
    dataset = Dataset(info, Vocabulary([]), Path(folder), Path(folder) if features else None, features)
    options = {"further_views": True} | options
    return open_split(
        split, dataset, buckets=buckets, cache=CachePolicy(cache, limit_mb), host=Host(host, hosts), **options
    )


def batches_of(split, position=0, **options):
    return make_batches(split, BatchOptions(**options), position=position)


def captions_of(batch, row):
    return [[int(t) for t in caption if t != PAD] for caption in batch["tokens"][row] if caption.any()]


WAYS = pytest.mark.parametrize("cache", [False, True], ids=["streamed", "in_memory"])
