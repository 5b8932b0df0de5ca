"""inspect --repair restores what intact shards contain, and lists what they do not."""

import json
import shutil

import pytest

from beam_jobs import build_records, extract_features
from tests.conftest import IN_MEMORY, tree_bytes
from tests.support.records import build, damage
from tests.support.sources import SmallDataset
from tfcaption.inspect import main
from tfcaption.records.dataset_info import load_dataset_info
from tfcaption.records.vocabulary import load_vocabulary

# Settings that the shards of `sample_records` do not contain.
GIVEN = ["source=flickr8k", "min_count=1"]


@pytest.fixture
def copy(sample_records, tmp_path):
    return shutil.copytree(sample_records, tmp_path / "copy")


def test_a_lost_description_and_vocabulary_come_back_byte_for_byte(copy, sample_records, capsys):
    (copy / "dataset.json").unlink()
    (copy / "vocabulary.txt").unlink()
    assert main([str(copy), "--repair", "--set", *GIVEN]) == 0
    assert tree_bytes(copy) == tree_bytes(sample_records)
    printed = capsys.readouterr().out
    assert f"rewritten: {copy / 'dataset.json'}" in printed and "no faults" in printed
    assert (
        "assumed, since the shards do not contain it: resize=squash, tokenizer=words, max_words=37, shares=" in printed
    )


def test_cut_captions_and_rejections_come_back_too(tmp_path, capsys):
    source = SmallDataset(tmp_path)
    damage(source)
    assert build(source, tmp_path / "out", "--max_words=3", "--max_rejected=0.5") == 0
    before = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert before["splits"]["train"]["truncated_captions"] and before["rejected_photos"]
    (tmp_path / "out" / "dataset.json").unlink()
    given = ["source=flickr8k", "min_count=2", "max_words=3"]
    assert main([str(tmp_path / "out"), "--repair", "--set", *given]) == 0
    after = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert {key for key in before if before[key] != after[key]} <= {"word_counts", "duplicates"}
    printed = capsys.readouterr().out
    for lost in ("word_counts", "duplicates"):
        assert f"lost unless the records are rebuilt: {lost}" in printed


def test_entries_that_disagree_with_intact_shards_are_rewritten(copy, sample_records, capsys):
    described = json.loads((copy / "dataset.json").read_text())
    described["splits"]["dev"]["shards"][0]["sha256"] = "0" * 64
    described["splits"]["train"]["captions"] += 1
    (copy / "dataset.json").write_text(json.dumps(described))
    assert main([str(copy)]) == 1
    assert "--repair" in capsys.readouterr().err
    assert main([str(copy), "--repair"]) == 0
    assert tree_bytes(copy) == tree_bytes(sample_records)
    assert main([str(copy), "--repair"]) == 0  # intact: nothing to do
    assert "rewritten" not in capsys.readouterr().out.split("no faults")[-2]


def test_missing_damaged_foreign_and_shortened_shards_are_listed_with_the_command_that_works(
    copy, sample, sample_records, capsys
):
    first, second, third = sorted(copy.glob("train-*"))
    first.unlink()
    content = bytearray(second.read_bytes())
    content[len(content) // 2] ^= 8
    second.write_bytes(content)
    shutil.copy(sorted(copy.glob("dev-*"))[0], third)
    (copy / "dataset.json").unlink()
    before = tree_bytes(copy)
    assert main([str(copy), "--repair", "--set", *GIVEN]) == 1
    error = capsys.readouterr().err
    assert f"to rebuild: {first.name}: no such file" in error
    assert f"to rebuild: {second.name}: record" in error and "fails its checksum" in error
    assert f"to rebuild: {third.name}: contains photos of another build" in error
    assert tree_bytes(copy) == before
    command = error.splitlines()[-1].replace("PHOTOS", str(sample[0])).replace("CAPTIONS", str(sample[1]))
    assert build_records.main([*command.split()[3:], *IN_MEMORY]) == 0
    assert tree_bytes(copy) == tree_bytes(sample_records)


def test_a_shard_that_lost_its_last_photos_is_never_declared_intact(copy, capsys):
    shard = sorted(copy.glob("train-*"))[0]
    found = load_dataset_info(copy).splits["train"].shards[0]
    first = next(read_frames(shard))
    shard.write_bytes(first)
    assert main([str(copy), "--repair"]) == 1
    assert f"to rebuild: {shard.name}: 1 photos, but {found.records} were written" in capsys.readouterr().err
    assert load_dataset_info(copy).splits["train"].shards[0] == found


def read_frames(path):
    from tfcaption.records import tfrecord

    with path.open("rb") as stream:
        for data in tfrecord.read_frames(stream, path.name):
            yield tfrecord.frame_record(data)


def test_a_vocabulary_of_other_records_is_replaced(copy, sample_records):
    words = load_vocabulary(copy).words
    (copy / "vocabulary.txt").write_text("\n".join([*words[:4], *reversed(words[4:]), ""]))
    assert main([str(copy), "--repair"]) == 0
    assert tree_bytes(copy) == tree_bytes(sample_records)


@pytest.mark.parametrize(
    ("prepare", "given", "message"),
    [
        (lambda copy: None, ["resize=crop"], "contains the settings"),
        (lambda copy: (copy / "dataset.json").unlink(), ["colour=red"], "colour"),
        (lambda copy: (copy / "dataset.json").unlink(), ["tokenizer=chinese"], "RecordSettings\ntokenizer\n"),
        (lambda copy: (copy / "dataset.json").unlink(), ["tokenizer=5"], "RecordSettings\ntokenizer\n"),
        (
            lambda copy: [path.unlink() for path in copy.iterdir() if path.name != "vocabulary.txt"],
            GIVEN,
            "no shards; make records with",
        ),
    ],
)
def test_what_cannot_be_repaired_is_a_clear_error(prepare, given, message, copy, capsys):
    prepare(copy)
    assert main([str(copy), "--repair", "--set", *given]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error


def test_features_list_the_shards_that_a_rerun_rebuilds(sample_records, pooled, tmp_path, capsys):
    features = shutil.copytree(pooled, tmp_path / "features")
    assert main([str(features)]) == 0
    missing, damaged, *_ = sorted(features.glob("train-*"))
    missing.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-5])
    assert main([str(features)]) == 1
    error = capsys.readouterr().err
    assert f"fault: {missing.name}: no such file" in error and f"fault: {damaged.name}: record" in error
    (features / "features.json").rename(features / "elsewhere")
    (features / "features.incomplete.json").touch()
    assert main([str(features)]) == 1
    assert "so these features are incomplete; run extract_features again" in capsys.readouterr().err
    (features / "elsewhere").rename(features / "features.json")
    (features / "features.incomplete.json").unlink()
    command = error.splitlines()[-1].replace("RECORDS", str(sample_records)).replace("WEIGHTS", "random")
    assert extract_features.main(command.split()[3:]) == 0
    assert tree_bytes(features) == tree_bytes(pooled)
