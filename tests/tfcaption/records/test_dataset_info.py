"""Descriptions of records and features, and which are refused."""

import hashlib
import json

import pytest

from tfcaption.records.dataset_info import DatasetInfo, load_dataset_info
from tfcaption.records.tfrecord import RecordError


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


def test_an_older_description_without_duplicates_and_unused_files_is_read_and_keeps_its_fingerprint(sample_records):
    content = json.loads((sample_records / "dataset.json").read_text())
    info = load_dataset_info(sample_records)
    before = {name: value for name, value in content.items() if name not in ("duplicates", "unused_files")}
    old = DatasetInfo.model_validate(before)
    text = json.dumps(before, separators=(",", ":"), ensure_ascii=False)
    assert old.fingerprint() == info.fingerprint() == hashlib.sha256(text.encode()).hexdigest()
