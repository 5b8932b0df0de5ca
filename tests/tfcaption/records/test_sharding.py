"""Hashes and shard names never change."""

from fnmatch import fnmatch

from tfcaption.records.sharding import (
    automatic_shard_count,
    hash_share,
    is_shard_name,
    order_key,
    shard_index,
    shard_name,
    view_name,
)


def test_hashes_never_change_since_stored_shards_depend_on_them():
    assert [shard_index(f"{i}.jpg", shards=16, seed=0) for i in range(6)] == [7, 0, 6, 3, 0, 9]
    assert order_key("1.jpg", seed=0) != order_key("1.jpg", seed=1)
    shares = [hash_share(f"{i}.jpg", seed=0) for i in range(2000)]
    assert min(shares) >= 0 and max(shares) < 1 and abs(sum(shares) / 2000 - 0.5) < 0.03


def test_automatic_shards_hold_512_photos_or_fewer():
    assert [automatic_shard_count(n) for n in (1, 512, 513, 6000, 10**9)] == [1, 1, 2, 16, 65_536]


def test_shard_names_are_recognised():
    assert shard_name("train", 3, 8) == "train-00003-of-00008.tfrecord"
    assert is_shard_name("train-00003-of-00008.tfrecord") and not is_shard_name("holiday.tfrecord")


def test_a_view_has_shards_that_no_pattern_of_the_photos_finds():
    shard = shard_name("train", 3, 8)
    assert view_name(shard, 0) == shard and view_name(shard, 12) == "train.view12-00003-of-00008.tfrecord"
    assert is_shard_name(view_name(shard, 12)) and not is_shard_name("train.view0-00003-of-00008.tfrecord")
    assert not fnmatch(view_name(shard, 1), "train-*.tfrecord")
