"""Shards are read one record at a time, salvaged, or read without their damaged records."""

import hashlib

import pytest

from tfcaption.records.reading import DamagedRecordSkipper, read_records, read_shard, salvage_shard
from tfcaption.records.tfrecord import RecordError, frame_record

NAME = "dev-00000-of-00001.tfrecord"


@pytest.fixture
def damaged(tmp_path):
    """A shard of three records, of which the second fails its checksum."""
    frames = [frame_record(data) for data in (b"one", b"two", b"three")]
    frames[1] = frames[1].replace(b"two", b"tow")
    (tmp_path / NAME).write_bytes(b"".join(frames))
    return tmp_path / NAME


def test_a_shard_is_read_up_to_its_first_damaged_record(damaged):
    records = read_shard(damaged)
    assert next(records) == b"one"
    with pytest.raises(RecordError, match=f"{damaged}: record 1 fails its checksum; rebuild this shard"):
        next(records)


def test_a_salvaged_shard_has_its_intact_records_its_faults_and_its_description(damaged):
    shard = salvage_shard(damaged)
    assert shard.records == [b"one", b"three"]
    assert shard.faults == [f"{NAME}: record 1 fails its checksum; rebuild this shard"]
    assert shard.info.model_dump() == {
        "name": NAME,
        "records": 2,
        "bytes": 16 * 3 + len(b"onetwothree"),
        "sha256": hashlib.sha256(damaged.read_bytes()).hexdigest(),
    }


def test_a_skipper_reports_each_damaged_record_once(damaged, capsys):
    skipper = DamagedRecordSkipper()
    for _ in range(2):
        assert list(read_records([str(damaged)], skipper)) == [b"one", b"three"]
    assert skipper.faults == [f"{damaged}: record 1 fails its checksum; rebuild this shard"]
    assert capsys.readouterr().err.splitlines() == [f"skipped: {skipper.faults[0]}"]
