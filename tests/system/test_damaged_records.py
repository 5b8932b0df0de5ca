"""A damaged record loses only itself, and is reported with its shard and the fix."""

import bisect
import io
import itertools
import json
import random
import re
import shutil

import pytest
import tensorflow as tf

from tests.support.splits import batches_of
from tests.support.splits import opened as support_opened
from tfcaption import train
from tfcaption.input_pipeline.read_errors import explain_read_errors
from tfcaption.records import tfrecord
from tfcaption.records.dataset_info import load_features_info
from tfcaption.records.examples import FEATURES
from tfcaption.records.reading import DamagedRecordSkipper
from tfcaption.records.tfrecord import RecordError


def flipped(content, position, bit):
    changed = bytearray(content)
    changed[position] ^= 1 << bit
    return bytes(changed)


def salvaged(content):
    """The intact records, and the faults."""
    found = list(tfrecord.salvage_frames(content, "shard"))
    intact = [data for data in found if isinstance(data, bytes)]
    return intact, [str(error) for error in found if isinstance(error, RecordError)]


@pytest.fixture(scope="module")
def shard(sample_records):
    """A shard of the training split: its path, its content, its records and the position of each."""
    path = sorted(sample_records.glob("train-*"))[0]
    content = path.read_bytes()
    records = [data.numpy() for data in tf.data.TFRecordDataset(str(path))]
    return path, content, records, [0, *itertools.accumulate(len(data) + 16 for data in records)]


def test_a_flipped_bit_anywhere_damages_its_record_and_no_other(shard):
    _, content, records, starts = shard
    generator = random.Random(0)
    begin = generator.choice(starts[1:-1])
    positions = [*range(begin - 4, begin + 16), *(generator.randrange(len(content)) for _ in range(300))]
    for position in positions:
        damaged = flipped(content, position, generator.randrange(8))
        hit = bisect.bisect_right(starts, position) - 1
        intact, faults = salvaged(damaged)
        assert intact == [data for index, data in enumerate(records) if index != hit]
        assert len(faults) == 1 and faults[0].startswith(f"shard: record {hit} ")
        with pytest.raises(RecordError, match=rf"shard: record {hit} .*; rebuild this shard"):
            list(tfrecord.read_frames(io.BytesIO(damaged), "shard"))


def test_a_shard_cut_anywhere_keeps_the_records_before_the_cut(shard):
    _, content, records, starts = shard
    generator = random.Random(1)
    for length in [*starts, *(generator.randrange(len(content)) for _ in range(100))]:
        intact, faults = salvaged(content[:length])
        kept = bisect.bisect_right(starts, length) - 1
        assert intact == records[:kept]
        assert len(faults) == (length not in starts)
        assert all(fault.startswith(f"shard: record {kept} ") for fault in faults)


@pytest.fixture
def damaged_features(small_pooled, tmp_path):
    """A copy of features, and a function that damages the first shard of a split and returns the shard's path."""
    copy = shutil.copytree(small_pooled, tmp_path / "features")

    def damage(split, change):
        path = sorted(copy.glob(f"{split}-*"))[0]
        path.write_bytes(change(path.read_bytes()))
        return path

    return copy, damage


def opened(info, features, **options):
    return support_opened(features, info, "train", load_features_info(features), buckets=1, **options)


def photos_of(split):
    """Ids of an epoch's photos, and the number of its batches."""
    found = list(batches_of(split, batch_size_photos=8, shuffle_seed=1).as_numpy_iterator())
    return {photo.decode() for batch in found for photo in batch["photo_id"] if photo}, len(found)


WAYS = pytest.mark.parametrize("cache", [False, True], ids=["streamed", "in_memory"])
CHANGES = {
    "bit": (lambda content: flipped(content, len(content) // 2, 3), "fails its checksum"),
    "header": (lambda content: flipped(content, 3, 3), "record 0 has a damaged header"),
    "tail": (lambda content: content[:-1], "is cut short"),
}


@WAYS
@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_record_is_reported_or_skipped_and_the_number_of_batches_stays(
    change, cache, info, damaged_features, capsys
):
    features, damage = damaged_features
    photos, batches = photos_of(opened(info, features, cache=cache))
    split = opened(info, features, cache=cache)
    shard = damage("train", CHANGES[change][0])
    with pytest.raises(RecordError, match=rf"{shard}: record \d+ .*; rebuild"), explain_read_errors(split):
        photos_of(split)
    skipper = DamagedRecordSkipper()
    for _ in range(2):
        kept, kept_batches = photos_of(opened(info, features, cache=cache, skipper=skipper))
        assert kept < photos and len(photos - kept) == 1 and kept_batches == batches
    (fault,) = skipper.faults
    assert fault.startswith(str(shard)) and CHANGES[change][1] in fault
    assert capsys.readouterr().err.splitlines() == [f"skipped: {fault}"]


@WAYS
def test_a_shard_that_lacks_its_last_records_is_reported(cache, info, damaged_features):
    features, damage = damaged_features
    split = opened(info, features, cache=cache)
    size = len(tfrecord.frame_record(next(tf.data.TFRecordDataset(split.files[0]).as_numpy_iterator())))
    damage("train", lambda content: content[:size])
    train = info.splits["train"]
    left = train.photos - train.shards[0].records + 1
    message = f"{left} records in the shards of train, not {train.photos}"
    with pytest.raises(RecordError, match=message), explain_read_errors(split):
        photos_of(split)


@WAYS
@pytest.mark.parametrize("times", [0.5, 2])
def test_features_of_another_size_than_in_features_json_are_reported(times, cache, info, damaged_features):
    features, damage = damaged_features
    split = opened(info, features, cache=cache)

    def resized(content):
        records = list(tfrecord.read_frames(io.BytesIO(content), "shard"))
        example = tf.train.Example.FromString(records[1])
        values = example.features.feature[FEATURES].bytes_list.value
        values[0] = (values[0] * 2)[: int(48 * times)]
        records[1] = example.SerializeToString()
        return b"".join(map(tfrecord.frame_record, records))

    shard = damage("train", resized)
    message = rf"{shard}: record 1 holds {48 * times:,.0f} bytes of features, not the 48 that features.json says"
    with pytest.raises(RecordError, match=message), explain_read_errors(split):
        photos_of(split)


def test_a_training_run_stops_at_a_damaged_record_or_skips_it(small_run, damaged_features, info, tmp_path, capsys):
    features, damage = damaged_features
    size = ["model.embedding_units=8", "model.gru_units=8", "model.dense_units=8", "train.epochs=2"]
    size.append("model.weights=null")  # those of the features
    arguments = ["--config", str(small_run), "--set", f"data.features={features}", *size, "data.batch_size_photos=12"]
    shard = damage("train", CHANGES["bit"][0])
    assert train.main(arguments) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(rf"error: {shard}: record \d+ fails its checksum; rebuild this shard.*", error)
    assert train.main([*arguments, "data.damaged=skip"]) == 0
    metrics = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [line["left_out_records"] for line in metrics] == [1, 1]
    assert metrics[0]["left_out"] == metrics[1]["left_out"] and str(shard) in metrics[0]["left_out"][0]
    assert f"skipped: {metrics[0]['left_out'][0]}" in capsys.readouterr().err
