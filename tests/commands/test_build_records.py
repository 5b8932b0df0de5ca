"""The whole job through its command: what it writes, rejects and refuses."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from beam_jobs.build_records import main, summary
from beam_jobs.execution.rejections import rejections_allowed
from beam_jobs.pipelines import buckets, captioned_photos, record_shards, records
from beam_jobs.pipelines.packed import packed, unpacked
from tests.conftest import IN_MEMORY, tree_bytes
from tests.support.photos import encoded, heif, picture
from tests.support.records import build, damage, read_all
from tests.support.sources import SmallDataset
from tfcaption import inspect
from tfcaption.inspection.verification import inspect_records
from tfcaption.preprocessing.tokenizer import Tokenizer
from tfcaption.records.dataset_info import load_dataset_info
from tfcaption.records.vocabulary import END, SPECIAL_TOKENS, load_vocabulary


@pytest.fixture
def source(tmp_path):
    return SmallDataset(tmp_path)


def test_every_photo_is_written_once_with_its_captions_and_tokens(source, tmp_path):
    assert build(source, tmp_path / "out", "--shards=4") == 0
    info, found = read_all(tmp_path / "out")
    assert set(found) == {f"{name}.jpg" for name in "abcdefghij"}
    tokenizer = Tokenizer(load_vocabulary(tmp_path / "out"))
    for split, record in found.values():
        assert record.captions == [f"A photo of {record.photo_id[0]} ."] * 2
        assert tokenizer.encode(record.captions, max_words=37) == record.token_ids
        assert split == {"g": "dev", "h": "dev", "i": "test", "j": "test"}.get(record.photo_id[0], "train")
    assert info.captions_in == 20 and info.photos_in == 10 and info.captions_per_photo == 2
    assert len(info.splits["train"].shards) == 4
    assert inspect_records(tmp_path / "out").faults == []


def test_the_vocabulary_counts_the_training_split_only(source, tmp_path):
    source.lines += [f"g.jpg#{k}\tzebra zebra zebra".encode() for k in range(5, 9)]
    assert build(source, tmp_path / "out") == 0
    info, _ = read_all(tmp_path / "out")
    words = load_vocabulary(tmp_path / "out").words
    assert words == [*SPECIAL_TOKENS, "a", "of", "photo", "b", "c", "d", "e", "f"]
    assert dict(zip(words, info.word_counts, strict=True)) == {
        **{"<pad>": 0, "<oov>": 0, "<start>": 0, "<end>": 0, "a": 14, "of": 12, "photo": 12},
        **dict.fromkeys("bcdef", 2),
    }
    # dev: 4 x "a photo of ?" with ? unknown, and 12 zebras
    assert info.splits["dev"].oov_rate == pytest.approx(16 / 28)


def test_words_of_another_vocabulary_keep_their_ids_and_own_words_follow(source, sample_records, tmp_path, capsys):
    given = [*SPECIAL_TOKENS, "zebra", "photo"]
    (tmp_path / "vocabulary.txt").write_text("".join(f"{word}\n" for word in given))
    assert build(source, tmp_path / "out", "--vocabulary", str(tmp_path / "vocabulary.txt")) == 0
    info, found = read_all(tmp_path / "out")
    words = load_vocabulary(tmp_path / "out").words
    assert words == [*given, "a", "of", "b", "c", "d", "e", "f"]  # by falling count, then by spelling
    counts = dict(zip(words, info.word_counts, strict=True))
    assert counts["zebra"] == 0 and counts["photo"] == counts["of"] == 12
    ids = {word: index for index, word in enumerate(words)}
    for _, record in found.values():
        for caption, tokens in zip(record.captions, record.token_ids, strict=True):
            assert tokens[1:-1] == [ids.get(word, 1) for word in caption.lower().removesuffix(" .").split()]
    assert inspect_records(tmp_path / "out").faults == []
    (tmp_path / "out" / "vocabulary.txt").unlink()
    assert inspect.main([str(tmp_path / "out"), "--repair"]) == 1
    assert "vocabulary.txt: words that occur in no caption" in capsys.readouterr().out

    capsys.readouterr()
    assert build(source, tmp_path / "out", "--vocabulary", str(sample_records)) == 1
    assert f"with other settings: vocabulary was {info.settings.vocabulary}, is " in capsys.readouterr().err
    assert build(source, tmp_path / "out", "--vocabulary", str(sample_records), "--overwrite") == 0
    before = load_vocabulary(sample_records).words
    assert load_vocabulary(tmp_path / "out").words[: len(before)] == before
    for tokenizer, message in (
        ("unicode", "is of --tokenizer words, not unicode"),
        ("wordpiece:100", "no word can be"),
    ):
        for given in (sample_records, sample_records / "vocabulary.txt"):
            flags = ["--vocabulary", str(given), "--tokenizer", tokenizer]
            assert build(source, tmp_path / "other", *flags) == 1 and message in capsys.readouterr().err
    assert build(source, tmp_path / "new", "--vocabulary", str(tmp_path)) == 0  # a folder with a vocabulary.txt
    (tmp_path / "binary").write_bytes(b"\x89PNG")
    for wrong in (source.texts, source.texts / "Flickr_8k.trainImages.txt", tmp_path / "binary"):
        assert build(source, tmp_path / "other", "--vocabulary", str(wrong)) == 1
        assert f"error: --vocabulary {wrong}" in (error := capsys.readouterr().err) and "name a run dir" in error
    assert not (tmp_path / "other").exists()


def test_long_captions_are_cut_counted_and_told(source, tmp_path, capsys):
    assert build(source, tmp_path / "out", "--max_words=3") == 0
    info, found = read_all(tmp_path / "out")
    assert all(len(ids) == 5 and ids[-1] == END for _, record in found.values() for ids in record.token_ids)
    train = info.splits["train"]
    assert train.truncated_captions == 12 and info.max_length == 5
    assert "WARNING: most training captions are cut to 3 words; a higher --max_words keeps" in capsys.readouterr().out
    train.truncated_captions, train.caption_lengths = 0, {3: 12}
    assert "WARNING: every training caption is a single word" in summary(info, 1.0)
    train.caption_lengths = {3: 11, 4: 1}
    assert "single word" not in summary(info, 1.0)


def test_another_seed_gives_another_order(sample, sample_records, tmp_path):
    images, texts = sample
    arguments = ["--images", str(images), "--captions", str(texts), "--image_size=32", "--min_count=1", "--shards=3"]
    assert main([*arguments, "--output", str(tmp_path / "out"), "--seed=1", *IN_MEMORY]) == 0
    assert tree_bytes(tmp_path / "out").keys() == tree_bytes(sample_records).keys()
    assert tree_bytes(tmp_path / "out") != tree_bytes(sample_records)


def test_bad_photos_and_captions_are_named_and_the_good_ones_written(source, tmp_path):
    expected = damage(source) | {"phone.heic": "unreadable"}
    (source.images / "phone.heic").write_bytes(heif(b"heic", b"mif1", b"heic"))
    source.lines.append(b"phone.heic#0\tA photo of a phone .")
    with (source.texts / "Flickr_8k.trainImages.txt").open("a") as stream:
        stream.write("phone.heic\n")
    assert build(source, tmp_path / "out", "--max_rejected=0.5") == 0
    info, found = read_all(tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert {line["id"]: line["reason"] for line in lines if line["kind"] == "photo"} == expected
    (heic,) = [line["detail"] for line in lines if line["id"] == "phone.heic"]
    assert "a HEIC photo, which is not read; convert it to JPEG" in heic
    reasons = [line["reason"] for line in lines if line["kind"] == "caption"]
    assert sorted(reasons) == ["empty caption", "malformed line", "not UTF-8", "unsafe name"]
    assert len(found) == 10 and info.photos_in == 16 and info.captions_in == 30
    assert sum(info.rejected_photos.values()) == 6
    assert inspect_records(tmp_path / "out").faults == []


def test_file_and_folder_names_that_are_not_utf8_do_no_harm(source, tmp_path):
    folder = source.images / os.fsdecode(b"\xe9t\xe9")
    folder.mkdir()
    (source.images / "a.jpg").rename(folder / "a.jpg")
    Image.new("RGB", (8, 8)).save(folder / os.fsdecode(b"caf\xe9.jpg"))
    assert build(source, tmp_path / "out", "--max_rejected=0.5") == 0
    (line,) = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["id"] == "caf\udce9.jpg" and json.loads(line)["reason"] == "no captions"
    assert len(read_all(tmp_path / "out")[1]) == 10


def test_identical_photos_in_several_splits_are_listed(source, tmp_path, capsys):
    for index, name in enumerate("abcdefghij"):  # a and b, c and g, d and e and h are the same
        colour = {"b": 0, "g": 2, "e": 3, "h": 3}.get(name, index)
        Image.new("RGB", (8, 8), (20 * colour, 0, 0)).save(source.images / f"{name}.jpg", "PNG")
    expected = [{"c.jpg": "train", "g.jpg": "dev"}, {"d.jpg": "train", "e.jpg": "train", "h.jpg": "dev"}]
    for output, flags in {"one": ["--shards=1"], "three": ["--shards=3"]}.items():
        assert build(source, tmp_path / output, *flags) == 0
        assert load_dataset_info(tmp_path / output).duplicates == expected
        summary = capsys.readouterr().out
        assert (
            "photos in several splits: 2 (c.jpg in train; g.jpg in dev, d.jpg in train; h.jpg in dev; 1 more)"
            in summary
        )
    (source.images / "c.jpg").write_bytes((source.images / "c.jpg").read_bytes() + b"another byte")
    assert build(source, tmp_path / "other") == 0
    assert load_dataset_info(tmp_path / "other").duplicates == expected[1:]


def test_too_many_rejections_fail_with_their_reasons_and_leave_no_dataset_json(source, tmp_path, capsys):
    damage(source)
    source.lines = source.lines[:-4]  # with these the captions alone would fail
    assert build(source, tmp_path / "out") == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: 5 of 15 photos were rejected") and "1 truncated (cut.jpg)" in error
    assert "rejected.jsonl" in error and "--max_rejected" in error
    assert not (tmp_path / "out" / "dataset.json").exists()
    assert len((tmp_path / "out" / "rejected.jsonl").read_text().splitlines()) == 5


def test_complete_records_are_kept_unless_overwritten_and_incomplete_ones_removed(source, tmp_path, capsys):
    output = tmp_path / "out"
    assert build(source, output) == 0
    first = tree_bytes(output)
    capsys.readouterr()
    for flags, compared in (
        (["--seed=5", "--shards=3"], "with other settings: seed was 0, is 5, shards was None, is 3"),
        ([], "with the same settings"),
    ):
        assert build(source, output, *flags) == 1
        assert capsys.readouterr().err.strip() == (
            f"error: --output {output}: is complete (dataset.json exists), {compared}; add --overwrite to replace it, "
            "or name another folder"
        )
    assert tree_bytes(output) == first
    (output / "dataset.json").unlink()
    (output / "train-00007-of-00099.tfrecord").write_bytes(b"old")
    (output / "train-00000-of-00001.tfrecord.incomplete-ab12").write_bytes(b"half")
    (output / "notes.txt").write_text("mine")
    assert build(source, output) == 0
    assert tree_bytes(output) == {**first, "notes.txt": b"mine"}
    assert build(source, output, "--overwrite", "--seed=5") == 0
    assert tree_bytes(output)["dataset.json"] != first["dataset.json"]


def test_a_folder_of_other_files_is_refused(source, tmp_path, capsys):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.doc").write_text("precious")
    assert build(source, tmp_path / "home") == 1
    assert "thesis.doc" in capsys.readouterr().err
    assert build(source, tmp_path / "home" / "thesis.doc") == 1
    assert "is a file" in capsys.readouterr().err


def test_no_training_photo_is_an_error_that_says_where_the_photos_went(source, tmp_path, capsys):
    for file in source.images.glob("[a-f].jpg"):
        file.unlink()
    assert build(source, tmp_path / "out", "--max_rejected=1") == 1
    error = capsys.readouterr().err
    assert "no photo is left for the training split: 2 in dev, 2 in test" in error
    assert "6 missing photo (a.jpg, b.jpg, c.jpg, ...); add photos, or divide them anew by --shares" in error
    assert len((tmp_path / "out" / "rejected.jsonl").read_text().splitlines()) == 6
    for name in "abcdef":
        (source.images / f"{name}.jpg").write_bytes(b"<html>404</html>")
    assert build(source, tmp_path / "out", "--max_rejected=1") == 1
    assert (
        "no photo is left for the training split: 6 not an image (a.jpg, b.jpg, c.jpg, ...)" in capsys.readouterr().err
    )
    assert not (tmp_path / "out" / "dataset.json").exists()


@pytest.fixture
def no_photo_read(monkeypatch):
    """A photo that is read fails the test."""
    monkeypatch.setattr(record_shards, "read_photo", lambda *_: pytest.fail("a photo was read"))


def test_rejections_known_from_the_captions_fail_before_any_photo_is_read(source, tmp_path, capsys, no_photo_read):
    for file in source.images.glob("[ab].jpg"):
        file.unlink()
    output = tmp_path / "out"
    assert build(source, output) == 1
    shown = capsys.readouterr()
    told = "2 missing photo (a.jpg, b.jpg)"
    assert f"photos rejected before any photo is read: {told}" in shown.out
    assert shown.err.strip() == (
        f"error: 2 of 10 photos were rejected ({told}), and --max_rejected allows 1; {output / 'rejected.jsonl'} names "
        "each. Fix them, or raise --max_rejected."
    )
    lines = [json.loads(line) for line in (output / "rejected.jsonl").read_text().splitlines()]
    assert [(line["id"], line["reason"]) for line in lines] == [(f"{name}.jpg", "missing photo") for name in "ab"]


def test_captions_that_do_not_fit_their_photos_leave_the_records_that_overwrite_would_replace(
    source, sample_records, tmp_path, capsys, no_photo_read
):
    output = shutil.copytree(sample_records, tmp_path / "out")
    for file in source.images.glob("[ab].jpg"):
        file.unlink()
    assert build(source, output, "--overwrite") == 1
    assert "2 of 10 photos were rejected" in (error := capsys.readouterr().err) and "names each" not in error
    assert tree_bytes(output) == tree_bytes(sample_records)


def test_a_vocabulary_without_words_is_refused_with_the_cure(source, tmp_path, capsys):
    assert build(source, tmp_path / "out", "--min_count=15") == 1
    assert "no word of the training captions occurs 15 times (the most frequent one 14)" in (
        error := capsys.readouterr().err
    )
    assert "name a lower --min_count" in error and not (tmp_path / "out" / "dataset.json").exists()
    assert build(source, tmp_path / "out", "--min_count=14") == 0  # the word `a`, 14 of 48
    assert "WARNING: 71% of the words in training captions are outside the vocabulary; a lower --min_count than 14" in (
        capsys.readouterr().out
    )
    assert build(source, tmp_path / "two", "--min_count=2") == 0
    assert "outside the vocabulary; a lower" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("total", "share", "allowed"),
    [
        *(
            (10_000, None, 100),
            (600, None, 6),
            (500, None, 5),
            (60, None, 5),
            (49, None, 4),
            (9, None, 0),
            (0, None, 0),
        ),
        *((60, 0.01, 0), (100, 0.01, 1), (60, 0.5, 30), (60, 0, 0), (10_000, 0, 0)),
    ],
)
def test_a_given_share_is_exact_and_the_usual_one_allows_a_few_of_a_small_data_set(total, share, allowed):
    assert rejections_allowed(total, share) == allowed


def test_the_summary_explains_its_columns_and_names_the_next_command(source, tmp_path, capsys):
    output = tmp_path / "my records"
    assert build(source, output, "--max_words=3") == 0
    shown = capsys.readouterr()
    assert "oov words: share of words outside the vocabulary, read as <oov>; cut: captions longer than 3" in shown.out
    assert "WARNING: dev has 2 photos: its scores say little" in shown.out
    *_, records_line, next_line = shown.out.splitlines()
    assert records_line == f"records: {output}"
    assert next_line.startswith(f"next: python -m beam_jobs.extract_features --records '{output}' --output ")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--direct_running_mode=multi_threading"], "loses records"),
        (["--direct_num_worker=2"], "did you mean --direct_num_workers"),
        (["--bogus"], "unknown option --bogus"),
    ],
)
def test_lossy_runners_and_unknown_options_are_refused(source, tmp_path, capsys, flags, message):
    assert build(source, tmp_path / "out", beam=flags) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_shard_too_large_to_sort_in_memory_is_refused(source, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(records, "MOST_PHOTOS_PER_SHARD", 3)
    assert build(source, tmp_path / "out", "--shards=1") == 1
    assert "--shards 1: more than 3 photos in a shard; name 2 or more, or auto" in capsys.readouterr().err
    assert build(source, tmp_path / "out", "--shards=2") == 0
    assert sum(split.photos for split in load_dataset_info(tmp_path / "out").splits.values()) == 10


def test_batches_of_any_size_give_the_same_bytes(sample, sample_records, tmp_path, monkeypatch):
    monkeypatch.setattr(buckets, "ITEMS_PER_BATCH", 3)
    monkeypatch.setattr(buckets, "BUFFERED_ITEMS", 20)
    monkeypatch.setattr(captioned_photos, "PHOTOS_PER_CHUNK", 7)
    monkeypatch.setattr(records, "PHOTOS_PER_CHUNK", 2)
    monkeypatch.setattr(records, "_BUFFERED_CAPTIONS", 50)
    monkeypatch.setattr(record_shards, "_PHOTOS_PER_COMPARISON", 5)
    images, captions = map(str, sample)
    arguments = ["--images", images, "--captions", captions, "--output", str(tmp_path / "out"), "--shards=3"]
    assert main([*arguments, "--image_size=32", "--min_count=1", *IN_MEMORY]) == 0
    assert tree_bytes(tmp_path / "out") == tree_bytes(sample_records)


def test_conservation_check_fails_a_run_that_lost_a_record(source, tmp_path, capsys, monkeypatch):
    class Lossy(record_shards.WriteShard):
        def process(self, element, vocabulary, totals):
            name, batches = element
            photos = [photo for batch in batches for photo in unpacked(batch)]
            yield from super().process((name, [packed(photos[1:])]), vocabulary, totals)

    monkeypatch.setattr(record_shards, "WriteShard", Lossy)
    assert build(source, tmp_path / "out") == 1
    assert "conservation check" in capsys.readouterr().err
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_a_worker_that_does_not_tokenize_never_imports_tensorflow(tmp_path):
    code = (
        "import sys, beam_jobs.pipelines.record_shards as p; from beam_jobs.sources import base as sources\n"
        "from beam_jobs.pipelines.packed import packed\n"
        "from tfcaption.records.dataset_info import RecordSettings\n"
        "from tfcaption.records.statistics import Totals, VocabularyCounts\n"
        "from tfcaption.records.vocabulary import SPECIAL_TOKENS\n"
        "s = RecordSettings(source='flickr8k', image_size=32, resize='squash', min_count=1, max_words=9,\n"
        "    seed=0, shards=None, shares={}, pillow_version='')\n"
        "location = sources.Location(sys.argv[1])\n"
        "photo = p.TokenizedPhoto(sources.CaptionedPhoto('a', location, ('a',), 'train'), (('a',),))\n"
        "vocabulary = VocabularyCounts([*SPECIAL_TOKENS, 'a'], [])\n"
        "element = ('train-00000-of-00001.tfrecord', [packed([photo])])\n"
        "(_, result), _digest = p.WriteShard(s, sys.argv[2]).process(element, vocabulary, Totals(1, 1))\n"
        "print(result.shards[0].records, 'tensorflow' in sys.modules)"
    )
    photo = tmp_path / "a.png"
    photo.write_bytes(encoded(picture()))
    command = [sys.executable, "-c", code, str(photo), str(tmp_path)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() == ["1", "False"]


@pytest.mark.slow
def test_real_flickr8k_gives_7000_photos_and_35000_captions(shared_data, tmp_path):
    folder = shared_data / "data" / "flickr8k"
    arguments = ["--images", str(folder), "--captions", str(folder / "Flickr8k_text")]
    for workers in (1, 2):
        assert main([*arguments, "--output", str(tmp_path / str(workers)), f"--direct_num_workers={workers}"]) == 0
    info = load_dataset_info(tmp_path / "1")
    assert (info.splits["train"].photos, info.splits["dev"].photos, info.captions_in) == (6000, 1000, 35000)
    assert info.vocabulary_size == 4 + 2536 and info.max_length == 36 + 2
    assert not (info.rejected_photos or info.rejected_captions or info.unused_photos)
    assert tree_bytes(tmp_path / "1") == tree_bytes(tmp_path / "2")
