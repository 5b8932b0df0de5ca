"""References and the constant caption; damaged records are refused by name, and TensorFlow is never imported."""

import itertools
import shutil
import subprocess
import sys

import pytest

from tfcaption.evaluation.references import choose_constant_caption, load_references
from tfcaption.metrics.tokens import score_tokens
from tfcaption.records.dataset_info import load_dataset_info
from tfcaption.records.reading import read_references
from tfcaption.records.tfrecord import RecordError


def test_the_constant_caption_is_the_best_of_the_training_captions():
    references = [["A dog runs in the grass .", f"Word{i} never seen again ."] for i in range(30)]
    assert choose_constant_caption(references, score_tokens) == "A dog runs in the grass ."


def test_references_are_those_of_the_shards_in_their_order(sample_records):
    info = load_dataset_info(sample_records)

    def files(split):
        return [str(sample_records / shard.name) for shard in info.split(split).shards if shard.records]

    references = load_references(sample_records, "dev")
    assert list(references.by_photo.items()) == list(read_references(files("dev")).items())
    training = [caption for captions in read_references(files("train")).values() for caption in captions]
    assert references.training_captions == set(map(score_tokens, training))
    assert references.constant_caption in training
    first = references.first(2)
    assert (
        first.by_photo == dict(itertools.islice(references.by_photo.items(), 2))
        and references.first(None) == references
    )
    assert first.training_captions == references.training_captions


@pytest.mark.parametrize("split", ["dev", "train"])
def test_a_shard_that_is_missing_cut_short_or_damaged_is_named_with_the_fix(sample_records, tmp_path, split):
    records = shutil.copytree(sample_records, tmp_path / "records")
    shard = next(shard for shard in load_dataset_info(records).split(split).shards if shard.records)
    file = records / shard.name
    content = file.read_bytes()
    file.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
    with pytest.raises(RecordError, match=f"{shard.name}"):
        load_references(records, "dev")
    file.write_bytes(content[:-1])
    sizes = f"{len(content) - 1:,} bytes, dataset.json says {len(content):,}; run build_records again"
    with pytest.raises(RecordError, match=f"{shard.name}: {sizes}"):
        load_references(records, "dev")
    file.unlink()
    with pytest.raises(
        RecordError, match=f"{shard.name}: no such file, though dataset.json lists it; run build_records"
    ):
        load_references(records, "dev")
    with pytest.raises(RecordError, match=r"/\S+: no split 'x'"):
        load_references(records, "x")


def test_references_are_read_and_scored_without_tensorflow(sample_records):
    code = f"""if True:
        import sys
        from pathlib import Path
        from tfcaption.evaluation.references import load_references
        from tfcaption.evaluation.scores import score_captions
        references = load_references(Path({str(sample_records)!r}), "dev")
        score_captions(dict.fromkeys(references.by_photo, "a"), references, None)
        print("tensorflow" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
