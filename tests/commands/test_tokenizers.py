"""Records of each tokenizer: from captions to token ids, and from a copy of the files back to captions."""

import hashlib
import json

import pytest
import tensorflow as tf

from tests.conftest import IN_MEMORY, tree_bytes
from tests.support.records import build, read_all
from tests.support.sentencepiece import model_of
from tests.support.sources import SmallDataset
from tfcaption import inspect
from tfcaption.api.dataset import dataset
from tfcaption.inspection.verification import inspect_records
from tfcaption.preprocessing.tokenizer import Tokenizer
from tfcaption.records.dataset import load_dataset
from tfcaption.records.tfrecord import RecordError
from tfcaption.records.vocabulary import OOV, load_vocabulary

CAPTIONS = ["一只狗在草地上奔跑。", "A dog's playing, a 🐶!", "كلب بُنّي يركض", "กำลังวิ่งเล่น", "played plays playing dogs"]


@pytest.fixture
def source(tmp_path):
    """Ten photos in three splits, all with the same captions of several scripts."""
    source = SmallDataset(tmp_path)
    source.lines = [f"{name}.jpg#{k}\t{text}".encode() for name in "abcdefghij" for k, text in enumerate(CAPTIONS)]
    return source


@pytest.mark.parametrize("tokenizer", ["unicode", "wordpiece:200"])
def test_records_say_how_their_captions_became_tokens(source, tmp_path, capsys, tokenizer):
    output = tmp_path / "out"
    assert build(source, output, f"--tokenizer={tokenizer}") == 0
    assert json.loads((output / "dataset.json").read_text())["settings"]["tokenizer"] == tokenizer
    info, found = read_all(output)
    opened = Tokenizer(load_dataset(output).vocabulary)
    info_of_users = dataset(output, batch_size=2).info
    expected = ["一只狗在草地上奔跑", "a dog's playing a 🐶", "كلب بُنّي يركض", "กําลังวิ่งเล่น", "played plays playing dogs"]
    for _, record in found.values():
        assert record.captions == CAPTIONS
        assert record.token_ids == opened.encode(CAPTIONS, max_words=80) == info_of_users.encode(CAPTIONS)
        assert info_of_users.decode(tf.ragged.constant(record.token_ids).to_tensor()) == expected
        assert not any(OOV in tokens for tokens in record.token_ids)
    assert (info.splits["train"].oov_rate, info.splits["dev"].oov_rate, info.word_counts[OOV]) == (0, 0, 0)
    assert inspect_records(output).faults == []
    assert f" tokens of --tokenizer {tokenizer}, " in capsys.readouterr().out


def test_a_model_of_the_user_goes_with_the_records(source, tmp_path, capsys):
    pieces = ["▁", "▁a", "▁pl", "ay", "ing", "ed", "▁dog", *"abcdefghijklmnopqrstuvwxyzA'D!🐶,"]
    content = model_of(pieces)
    (tmp_path / "own.model").write_bytes(content)
    flags = [f"--tokenizer=sentencepiece:{tmp_path / 'own.model'}"]
    output = tmp_path / "out"
    assert build(source, output, *flags, "--image_size=32") == 0
    (tmp_path / "own.model").unlink()
    assert (output / "tokenizer.model").read_bytes() == content and inspect_records(output).faults == []
    dataset_info = dataset(output, batch_size=2).info
    assert dataset_info.tokenizer == f"sentencepiece:{hashlib.sha256(content).hexdigest()[:16]}"
    _, found = read_all(output)
    for _, record in found.values():
        assert record.token_ids == dataset_info.encode(CAPTIONS)
        said = dataset_info.decode(tf.ragged.constant(record.token_ids).to_tensor())
        assert [said[1], said[4]] == ["A dog's playing, a 🐶!", "played plays playing dogs"]
        assert said[0] == "<oov>" and not any(OOV in record.token_ids[index] for index in (1, 4))
    capsys.readouterr()
    assert build(source, output, f"--tokenizer=sentencepiece:{output / 'tokenizer.model'}", "--overwrite") == 1
    assert "name a copy of it" in capsys.readouterr().err
    (output / "tokenizer.model").write_bytes(content + b"\0")
    with pytest.raises(RecordError, match=r"tokenizer.model: another model than the one that made the tokens"):
        load_dataset(output)
    (output / "tokenizer.model").unlink()
    assert f"{output / 'tokenizer.model'}: no such file" in inspect_records(output).faults


def test_a_file_that_is_no_model_of_sentencepiece_is_refused(source, tmp_path, capsys):
    assert build(source, tmp_path / "out", f"--tokenizer=sentencepiece:{tmp_path / 'none'}") == 1
    (tmp_path / "own.model").write_text("no model")
    assert build(source, tmp_path / "out", f"--tokenizer=sentencepiece:{tmp_path / 'own.model'}") == 1
    printed = capsys.readouterr().err
    assert f"{tmp_path / 'none'}: no such file" in printed and "the file is no SentencePiece model" in printed


@pytest.mark.slow
def test_pieces_have_the_same_bytes_with_several_workers(source, tmp_path):
    flags = ["--tokenizer=wordpiece:200", "--shards=2"]
    for output, beam in (("one", IN_MEMORY), ("two", ["--direct_num_workers=2"])):
        assert build(source, tmp_path / output, *flags, beam=beam) == 0
    assert tree_bytes(tmp_path / "one") == tree_bytes(tmp_path / "two")


def test_records_of_words_are_described_as_before_there_were_tokenizers(sample_records):
    settings = json.loads((sample_records / "dataset.json").read_text())["settings"]
    assert list(settings) == [
        *("source", "image_size", "resize", "min_count", "max_words", "seed", "shards", "shares", "pillow_version")
    ]
    vocabulary = load_vocabulary(sample_records)
    assert vocabulary.tokenizer == "words" and vocabulary.identity == vocabulary.words


def test_a_tokenizer_of_another_version_is_an_error_that_names_the_file(sample_records, tmp_path):
    described = json.loads((sample_records / "dataset.json").read_text())
    described["settings"]["tokenizer"] = "syllables"
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    with pytest.raises(RecordError, match=r"dataset\.json: .*\n*settings\.tokenizer"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("tokenizer", ["word", "words:9", "wordpiece", "wordpiece:99", "wordpiece:1e4"])
def test_a_tokenizer_that_does_not_exist_is_refused(source, tmp_path, capsys, tokenizer):
    assert build(source, tmp_path / "out", f"--tokenizer={tokenizer}") == 1
    assert f"--tokenizer {tokenizer}: must be words, unicode" in capsys.readouterr().err


@pytest.mark.parametrize("tokenizer", ["unicode", "wordpiece:200"])
def test_a_lost_description_comes_back_and_lost_pieces_are_told(source, tmp_path, capsys, tokenizer):
    output = tmp_path / "out"
    assert build(source, output, f"--tokenizer={tokenizer}", "--max_words=40") == 0
    before = tree_bytes(output)
    (output / "dataset.json").unlink()
    given = [f"tokenizer={tokenizer}", "source=flickr8k", "min_count=2", "max_words=40"]
    assert inspect.main([str(output), "--repair", "--set", *given]) == 0
    after = json.loads((output / "dataset.json").read_text())
    assert {**after, "duplicates": []} == {**json.loads(before["dataset.json"]), "duplicates": []}
    (output / "vocabulary.txt").unlink()
    pieces = tokenizer != "unicode"
    assert inspect.main([str(output), "--repair"]) == pieces
    assert ("how words are split into pieces, so build the records again" in capsys.readouterr().err) == pieces


def test_captions_without_spaces_are_told_with_the_option_that_cures_it_before_any_photo_is_read(
    source, tmp_path, capsys
):
    assert build(source, tmp_path / "out") == 0
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if "--tokenizer" in line]
    assert warning == (
        "WARNING: 6 of 30 training captions have no spaces between their words, so each is read as one word: add "
        "--tokenizer unicode; one is 一只狗在草地上奔跑。"
    )
    assert build(source, tmp_path / "cured", "--tokenizer=unicode") == 0
    assert "WARNING: 6 of 30" not in capsys.readouterr().out
