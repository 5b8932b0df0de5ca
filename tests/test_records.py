"""The data contract, checked against TensorFlow's own reading of it."""

import hashlib
import io
import json
import struct

import pytest
import tensorflow as tf

from tfcaption.records import tfrecord
from tfcaption.records.dataset_info import DatasetInfo, load_dataset_info
from tfcaption.records.examples import PhotoRecord, decode_record, encode_record
from tfcaption.records.sharding import (
    automatic_shard_count,
    hash_share,
    is_shard_name,
    order_key,
    shard_index,
    shard_name,
)
from tfcaption.records.tfrecord import RecordError

RECORD = PhotoRecord(
    photo_id="é.jpg", jpeg=b"\xff\xd8 bytes \x00", captions=["A dog .", "Ein Hund"], token_ids=[[2, 4, 5, 3], [2, 1, 3]]
)


def test_records_are_the_bytes_of_a_tensorflow_example():
    data = encode_record(RECORD)
    example = tf.train.Example.FromString(data)
    assert example.SerializeToString(deterministic=True) == data
    feature = example.features.feature
    assert feature["photo/id"].bytes_list.value == ["é.jpg".encode()]
    assert feature["photo/jpeg"].bytes_list.value == [RECORD.jpeg]
    assert list(feature["captions/tokens"].int64_list.value) == [2, 4, 5, 3, 2, 1, 3]
    assert list(feature["captions/lengths"].int64_list.value) == [4, 3]
    assert feature["captions/text"].bytes_list.value == [b"A dog .", b"Ein Hund"]


def test_decode_is_the_inverse_of_encode():
    assert decode_record(encode_record(RECORD)) == RECORD


def test_lengths_that_do_not_add_up_are_an_error():
    example = tf.train.Example.FromString(encode_record(RECORD))
    example.features.feature["captions/lengths"].int64_list.value[0] = 5
    with pytest.raises(RecordError, match="7 tokens"):
        decode_record(example.SerializeToString())
    with pytest.raises(RecordError, match="keys missing"):
        decode_record(tf.train.Example().SerializeToString())


def test_tensorflow_reads_the_frames_and_we_read_tensorflow_s(tmp_path):
    payloads = [b"", b"one", b"x" * 100_000]
    ours = tmp_path / "ours"
    ours.write_bytes(b"".join(map(tfrecord.frame_record, payloads)))
    assert [data.numpy() for data in tf.data.TFRecordDataset(str(ours))] == payloads
    theirs = tmp_path / "theirs"
    with tf.io.TFRecordWriter(str(theirs)) as writer:
        for payload in payloads:
            writer.write(payload)
    assert theirs.read_bytes() == ours.read_bytes()
    assert list(tfrecord.read_frames(io.BytesIO(theirs.read_bytes()), "theirs")) == payloads


@pytest.mark.parametrize("position", range(0, 40, 3))
def test_every_flipped_bit_is_found(position):
    data = bytearray(tfrecord.frame_record(b"a" * 24))
    data[position] ^= 4
    with pytest.raises(RecordError, match="shard-7"):
        list(tfrecord.read_frames(io.BytesIO(bytes(data)), "shard-7"))


@pytest.mark.parametrize("kept", [5, 14, 30, 39])
def test_a_file_cut_short_is_found(kept):
    with pytest.raises(RecordError, match="shard-7"):
        list(tfrecord.read_frames(io.BytesIO(tfrecord.frame_record(b"a" * 24)[:kept]), "shard-7"))


@pytest.mark.parametrize("length", [2**31, 2**40, 2**63, 2**64 - 1])
def test_a_length_that_no_record_has_is_a_damaged_header_however_right_its_checksum(length):
    said = struct.pack("<Q", length)
    whole = tfrecord.frame_record(b"a whole record")
    content = said + tfrecord.frame_record(said)[-4:] + whole  # both checksums are made alike
    with pytest.raises(RecordError, match="shard: record 0 has a damaged header"):
        list(tfrecord.read_frames(io.BytesIO(content), "shard"))
    damaged, found = tfrecord.salvage_frames(content, "shard")
    assert isinstance(damaged, RecordError) and found == b"a whole record"


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


def test_missing_incomplete_and_foreign_descriptions_are_clear_errors(tmp_path):
    with pytest.raises(RecordError, match="no such folder"):
        load_dataset_info(tmp_path / "nowhere")
    with pytest.raises(RecordError, match="incomplete"):
        load_dataset_info(tmp_path)
    (tmp_path / "dataset.json").write_text('{"schema_version": 99}')
    with pytest.raises(RecordError, match="schema version 99"):
        load_dataset_info(tmp_path)
    (tmp_path / "dataset.json").write_text('{"schema_version": 1}')
    with pytest.raises(RecordError, match="dataset.json"):
        load_dataset_info(tmp_path)


def test_a_description_that_names_files_elsewhere_is_refused(sample_records, tmp_path):
    sound = (sample_records / "dataset.json").read_text()
    content = json.loads(sound)
    shard = content["splits"]["train"]["shards"][0]["name"]
    for hostile in (
        sound.replace(shard, f"../{shard}"),
        sound.replace(shard, f"/tmp/{shard}"),
        sound.replace(shard, f"{shard}\\n"),
        sound.replace('"train": {', '"../train": {'),
        '{"schema_version": ' + "[" * 100_000,
    ):
        assert hostile != sound
        (tmp_path / "dataset.json").write_text(hostile)
        with pytest.raises(RecordError, match="dataset.json"):
            load_dataset_info(tmp_path)


def test_a_description_without_duplicates_is_read_and_keeps_its_fingerprint(sample_records):
    content = json.loads((sample_records / "dataset.json").read_text())
    info = load_dataset_info(sample_records)
    before = {name: value for name, value in content.items() if name != "duplicates"}
    old = DatasetInfo.model_validate(before)
    text = json.dumps(before, separators=(",", ":"), ensure_ascii=False)
    assert old.fingerprint() == info.fingerprint() == hashlib.sha256(text.encode()).hexdigest()
