"""Opened splits for tests."""

import pytest

from tfcaption.input_pipeline.split import open_split
from tfcaption.records.vocabulary import PAD


def opened(folder, info, split="train", features=None, buckets=3, cache=False, **options):
    return open_split(split, info, folder, features, buckets=buckets, cache=cache, **options)


def captions_of(batch, row):
    return [[int(t) for t in caption if t != PAD] for caption in batch["tokens"][row] if caption.any()]


WAYS = pytest.mark.parametrize("cache", [False, True], ids=["streamed", "in_memory"])
