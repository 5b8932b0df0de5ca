"""TFRecord framing, compared with TensorFlow's."""

import io
import struct

import pytest
import tensorflow as tf

from tfcaption.records import tfrecord
from tfcaption.records.tfrecord import RecordError


def test_tensorflow_reads_our_frames_and_we_read_its_frames(tmp_path):
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
def test_an_impossible_length_is_a_damaged_header_even_with_a_valid_checksum(length):
    header = struct.pack("<Q", length)
    intact = tfrecord.frame_record(b"an intact record")
    content = header + tfrecord.frame_record(header)[-4:] + intact  # a header's checksum is made as a record's
    with pytest.raises(RecordError, match="shard: record 0 has a damaged header"):
        list(tfrecord.read_frames(io.BytesIO(content), "shard"))
    damaged, found = tfrecord.salvage_frames(content, "shard")
    assert isinstance(damaged, RecordError) and found == b"an intact record"
