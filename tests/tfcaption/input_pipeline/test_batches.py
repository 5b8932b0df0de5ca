"""Batches hold exactly what the records hold, in every shape and order."""

import gc
import io
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.support.features import all_features, enlarged
from tests.support.records import read_all
from tests.support.splits import WAYS, batches_of, captions_of, opened
from tfcaption.input_pipeline import in_memory
from tfcaption.input_pipeline.split import batches_per_epoch, bucket_lengths
from tfcaption.records.dataset_info import load_features_info
from tfcaption.records.tfrecord import RecordError
from tfcaption.records.vocabulary import END, PAD, START


def batches(folder, info, split="train", features=None, *, cache=False, buckets=3, **options):
    """All batches that hold a photo."""
    subject = opened(folder, info, split, features, buckets, cache)
    found = batches_of(subject, **({"batch_size_photos": 8} | options)).as_numpy_iterator()
    return [batch for batch in found if any(batch["photo_id"])]


@WAYS
@pytest.mark.parametrize("shuffle_seed", [None, 5])
def test_an_epoch_gives_every_photo_once_with_all_its_captions_and_pixels(sample_records, info, shuffle_seed, cache):
    _, found = read_all(sample_records)
    seen = {}
    for batch in batches(sample_records, info, shuffle_seed=shuffle_seed, cache=cache):
        for row, photo in enumerate(batch["photo_id"]):
            if photo:
                assert photo.decode() not in seen
                seen[photo.decode()] = captions_of(batch, row)
                pixels = np.asarray(Image.open(io.BytesIO(found[photo.decode()][1].jpeg)))
                assert np.array_equal(batch["inputs"][row], pixels)
    assert seen == {name: record.token_ids for name, (split, record) in found.items() if split == "train"}


@WAYS
def test_batches_are_full_and_padded_to_few_lengths(sample_records, info, cache):
    found = batches(sample_records, info, cache=cache)
    shapes = {batch["tokens"].shape for batch in found}
    lengths = opened(sample_records, info).lengths
    assert shapes <= {(8, 5, length) for length in lengths} and 1 < len(shapes) <= 3
    for batch in found:
        real = batch["tokens"] != PAD
        assert batch["inputs"].shape == (8, 32, 32, 3) and batch["inputs"].dtype == np.uint8
        assert (real[..., 1:] <= real[..., :-1]).all()  # padding comes last
        assert not batch["tokens"][batch["photo_id"] == b""].any()
        longest = real.sum(-1).max()
        assert longest <= batch["tokens"].shape[-1]
        assert longest > max([b for b in (0, *lengths) if b < batch["tokens"].shape[-1]])  # the shortest that fits


def memory(what):
    """VmRSS, or VmHWM, its peak, of this process, in bytes."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs the peak of a process from Linux")
def test_a_split_in_memory_takes_hardly_more_than_its_bytes(info, pooled, tmp_path, monkeypatch):
    features = enlarged(pooled, tmp_path / "large", copies=60, numbers=40_000)
    monkeypatch.setattr(in_memory, "_READ_AT_ONCE", 64)
    split = opened(features, info, features=load_features_info(features), cache=True)
    assert split.in_memory and split.bytes > 100_000_000
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS")
    table = in_memory.load_table(split)
    assert memory("VmHWM") - before < 1.5 * split.bytes
    assert table.payloads.count == split.photos


def test_a_split_may_be_opened_for_several_replicas(sample_records, info):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        inside = batches_of(opened(sample_records, info, cache=True), batch_size_photos=8)
    gc.collect()
    outside = batches_of(opened(sample_records, info, cache=True), batch_size_photos=8)
    for found, expected in itertools.zip_longest(strategy.experimental_distribute_dataset(inside), outside):
        assert np.array_equal(found["inputs"], expected["inputs"])


def test_targets_are_the_inputs_shifted_by_one(sample_records, info):
    for batch in batches(sample_records, info):
        inputs, targets = batch["tokens"][..., :-1], batch["tokens"][..., 1:]
        assert np.array_equal(inputs[..., 1:], targets[..., :-1])
        assert not (targets == START).any()
        real = batch["tokens"].any(-1)
        assert (inputs[..., 0][real] == START).all() and ((targets == END).sum(-1) == real).all()


def order(found):
    return [photo for batch in found for photo in batch["photo_id"] if photo]


@WAYS
def test_the_same_seed_gives_the_same_batches_and_another_seed_another_order(sample_records, info, cache):
    first, again = (batches(sample_records, info, shuffle_seed=1, cache=cache) for _ in range(2))
    assert all(np.array_equal(a[key], b[key]) for a, b in zip(first, again, strict=True) for key in a)
    other = batches(sample_records, info, shuffle_seed=2, cache=cache)
    assert order(other) != order(first) and sorted(order(other)) == sorted(order(first))


@WAYS
def test_epochs_differ_and_any_position_goes_on_as_if_nothing_had_happened(sample_records, info, cache):
    subject = opened(sample_records, info, cache=cache)
    options = {"batch_size_photos": 8, "shuffle_seed": 3, "epochs": 3}
    whole = list(batches_of(subject, **options).as_numpy_iterator())
    per_epoch = batches_per_epoch(subject, 8)
    assert len(whole) == 3 * per_epoch
    epochs = [whole[start : start + per_epoch] for start in range(0, len(whole), per_epoch)]
    assert order(epochs[0]) != order(epochs[1]) and sorted(order(epochs[0])) == sorted(order(epochs[1]))
    for position in (1, per_epoch - 1, per_epoch, 2 * per_epoch + 3):
        rest = list(batches_of(subject, **options, position=position).as_numpy_iterator())
        assert len(rest) == len(whole) - position
        assert all(np.array_equal(a[k], b[k]) for a, b in zip(rest, whole[position:], strict=True) for k in a)


@WAYS
def test_hosts_share_a_split_without_a_photo_lost_or_twice_and_take_equally_many_batches(sample_records, info, cache):
    shares = [opened(sample_records, info, cache=cache, host=host, hosts=2) for host in range(2)]
    assert shares[0].photos > shares[1].photos  # three shards
    found = [list(batches_of(share, batch_size_photos=4).as_numpy_iterator()) for share in shares]
    assert len(found[0]) == len(found[1])
    assert sorted(order(found[0]) + order(found[1])) == sorted(order(batches(sample_records, info)))
    with pytest.raises(RecordError, match="too few shards for 9 hosts"):
        opened(sample_records, info, hosts=9)


@WAYS
def test_one_caption_is_drawn_anew_each_epoch_and_is_one_of_the_photo_s(sample_records, info, cache):
    _, found = read_all(sample_records)
    drawn = []
    for seed in (1, 2):
        epoch = {}
        for batch in batches(sample_records, info, captions="one", shuffle_seed=seed, cache=cache):
            assert batch["tokens"].shape[1] == 1
            for row, photo in enumerate(batch["photo_id"]):
                if photo:
                    (epoch[photo.decode()],) = captions_of(batch, row)
        assert all(caption in found[name][1].token_ids for name, caption in epoch.items())
        drawn.append(epoch)
    assert drawn[0].keys() == drawn[1].keys() and drawn[0] != drawn[1]


@WAYS
def test_features_come_with_the_captions_of_their_photo(sample_records, info, pooled, cache):
    _, found = read_all(sample_records)
    stored = {name: np.frombuffer(data, np.float16) for name, data in all_features(pooled).items()}
    features = load_features_info(pooled)
    seen = {}
    for batch in batches(pooled, info, features=features, cache=cache, shuffle_seed=1, buckets=4):
        assert batch["inputs"].dtype == np.float16
        assert batch["tokens"].shape[:2] == ((40, 1) if cache else (8, 5))
        for row, photo in enumerate(batch["photo_id"]):
            if photo:
                assert np.array_equal(batch["inputs"][row], stored[photo.decode()])
                seen.setdefault(photo.decode(), []).extend(captions_of(batch, row))
    expected = {name: sorted(record.token_ids) for name, (split, record) in found.items() if split == "train"}
    assert {name: sorted(captions) for name, captions in seen.items()} == expected


def test_auto_keeps_in_memory_what_is_within_the_limit(sample_records, info):
    size = sum(shard.bytes for shard in info.splits["train"].shards)
    assert opened(sample_records, info, cache="auto", limit_mb=size // 1_000_000 + 1).in_memory
    assert not opened(sample_records, info, cache="auto", limit_mb=0).in_memory


def test_shuffling_buffers_serialized_records_never_decoded_photos(sample_records, info, monkeypatch):
    shuffled = []
    monkeypatch.setattr(
        tf.data.Dataset,
        "shuffle",
        lambda self, *args, original=tf.data.Dataset.shuffle, **options: (
            shuffled.append(self.element_spec) or original(self, *args, **options)
        ),
    )
    batches(sample_records, info, shuffle_seed=1)
    assert len(shuffled) == 2 and all(spec == tf.TensorSpec((), tf.string) for spec in shuffled)


def test_a_missing_or_changed_shard_and_an_unknown_split_are_clear_errors(sample_records, info, tmp_path):
    copy = shutil.copytree(sample_records, tmp_path / "copy")
    shard = copy / info.splits["dev"].shards[0].name
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(RecordError, match=rf"{shard.name}: .* bytes, dataset.json says"):
        opened(copy, info, "dev")
    shard.unlink()
    with pytest.raises(RecordError, match="no such file"):
        opened(copy, info, "dev")
    with pytest.raises(RecordError, match="no split 'val'.*train, dev, test"):
        opened(copy, info, "val")


def test_bucket_lengths_waste_the_least_of_all_choices():
    generator = np.random.default_rng(0)
    for _ in range(20):
        histogram = {int(length): int(generator.integers(1, 50)) for length in generator.choice(range(3, 20), 7, False)}
        longest = max(histogram) + int(generator.integers(0, 3))

        def positions(chosen, histogram=histogram):
            return sum(count * min(c for c in chosen if c >= length) for length, count in histogram.items())

        choices = [
            (*rest, longest) for n in range(3) for rest in itertools.combinations(sorted(set(histogram) - {longest}), n)
        ]
        best = bucket_lengths(histogram, 3, longest)
        assert best[-1] == longest and len(best) <= 3 and best == sorted(best)
        assert positions(best) == min(map(positions, choices))
    assert bucket_lengths({5: 9, 6: 1}, 8, 6) == [5, 6]
