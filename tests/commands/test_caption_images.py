"""Captions at scale: every photo is captioned or rejected by name, and reruns give identical bytes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from beam_jobs import build_records
from beam_jobs.caption_images import main, parse_arguments
from beam_jobs.pipelines import captions as pipeline
from beam_jobs.pipelines.captions import CaptionShard, load_captions_info
from beam_jobs.sources.photo_walk import PhotoWalk
from tests.conftest import tree_bytes
from tests.support.fake_export import BEAM, expected_caption, write_export
from tfcaption.decoding.options import CaptionOptions
from tfcaption.records.sharding import shard_index
from tfcaption.serving.exported_captioner import ExportedCaptioner
from tfcaption.serving.model_folder import find_model


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return write_export(tmp_path_factory.mktemp("export") / "mean")


@pytest.fixture(scope="module")
def images(sample, tmp_path_factory):
    """Forty photos in two folders, one of them empty and one cut short."""
    folder = tmp_path_factory.mktemp("images") / "photos"
    for index, photo in enumerate(sorted(sample[0].iterdir())[:40]):
        target = folder / ("a" if index % 2 else "b")
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, target)
    (folder / "a" / "cut.jpg").write_bytes(photo.read_bytes()[:-200])
    (folder / "empty.png").write_bytes(b"")
    (folder / "notes.txt").write_text("no photo")
    return folder


@pytest.fixture(scope="module")
def captions(images, export, tmp_path_factory):
    output = tmp_path_factory.mktemp("captions") / "captions"
    assert job(images, export, output) == 0
    return output


def job(images, export, output, *flags):
    arguments = [str(export), "--images", str(images), "--output", str(output)]
    return main([*arguments, "--shards=4", "--batch_size=8", *flags])


def lines(folder):
    """Every line of every shard, by id."""
    found = {}
    for shard in sorted(folder.glob("captions-*.jsonl")):
        for line in map(json.loads, shard.read_text().splitlines()):
            assert line["id"] not in found
            found[line["id"]] = line
    return found


def inodes(folder):
    return {path.name: path.stat().st_ino for path in folder.glob("captions-*.jsonl")}


def test_every_photo_is_captioned_once_or_rejected_with_its_reason(images, captions):
    found = lines(captions)
    rejected = [json.loads(line) for line in (captions / "rejected.jsonl").read_text().splitlines()]
    assert [(line["id"], line["reason"]) for line in rejected] == [
        ("a/cut.jpg", "truncated"),
        ("empty.png", "empty file"),
    ]
    good = {f"{path.parent.name}/{path.name}": path for path in images.rglob("scene_*.jpg")}
    assert set(found) == set(good) and len(good) == 40
    for photo, path in good.items():
        assert found[photo]["caption"] == expected_caption(path.read_bytes()) == found[photo]["nbest"][0]["caption"]
        assert len(found[photo]["nbest"]) == BEAM and found[photo]["nbest"][2]["caption"] == "rows 8"


def test_the_description_counts_photos_and_shards(captions, export):
    info = load_captions_info(str(captions))
    assert (info.photos_in, info.captioned, info.rejected) == (42, 40, {"empty file": 1, "truncated": 1})
    assert info.settings.model == ExportedCaptioner(export).fingerprint() and info.settings.search.beam == BEAM
    assert [shard.name for shard in info.shards] == [f"captions-{i:05d}-of-00004.jsonl" for i in range(4)]
    for shard in info.shards:
        content = (captions / shard.name).read_bytes()
        ids = [json.loads(line)["id"] for line in content.splitlines()]
        assert (shard.records, shard.bytes) == (len(ids), len(content)) and ids == sorted(ids) and len(ids) > 4
        assert {f"captions-{shard_index(i, shards=4, seed=0):05d}-of-00004.jsonl" for i in ids} == {shard.name}
    assert {path.name for path in captions.iterdir()} == {
        *(shard.name for shard in info.shards),
        *("captions.json", "rejected.jsonl"),
    }


@pytest.mark.slow
def test_two_processes_give_the_same_bytes_as_one(images, export, captions, tmp_path):
    flags = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    assert job(images, export, tmp_path / "two", *flags) == 0
    assert tree_bytes(tmp_path / "two") == tree_bytes(captions)


def test_a_pattern_selects_only_matching_photos(images, export, captions, tmp_path):
    assert job(images / "b" / "*.jpg", export, tmp_path / "some") == 0
    assert sorted(lines(tmp_path / "some")) == sorted(path.name for path in (images / "b").iterdir())
    assert job(images / "**.jpg", export, tmp_path / "all") == 0
    assert lines(tmp_path / "all") == lines(captions)


def found(images):
    """The folder above some photos, and their sorted ids."""
    walk = PhotoWalk.of(str(images))
    return walk.root, sorted(walk.ids())


def test_a_folder_and_a_pattern_find_the_same_photos(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a/b.jpg", "a-1.jpg", "c.png"):
        (tmp_path / name).write_bytes(b"a photo")
    assert found(str(tmp_path))[1] == found(f"{tmp_path}/**")[1] == ["a-1.jpg", "a/b.jpg", "c.png"]


def test_what_exists_is_no_pattern_whatever_its_name(tmp_path):
    for name in ("set [1]/a.jpg", "set 1/b.jpg", "*/c.jpg", "*/d.png", "x?.jpg", "xy.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"a photo")
    assert found(f"{tmp_path}/set [1]/") == (f"{tmp_path}/set [1]", ["a.jpg"])
    assert found(f"{tmp_path}/set [1]/*.jpg") == (f"{tmp_path}/set [1]", ["a.jpg"])
    assert found(f"{tmp_path}/*/*.jpg") == (f"{tmp_path}/*", ["c.jpg"])
    assert found(f"{tmp_path}/x?.jpg") == (str(tmp_path), ["x?.jpg"])
    assert found(f"{tmp_path}/set*/?.jpg") == (str(tmp_path), ["set 1/b.jpg", "set [1]/a.jpg"])
    assert found(f"{tmp_path}/nothing/here")[1] == []


def test_a_rerun_keeps_intact_shards(images, export, captions, tmp_path):
    copy = shutil.copytree(captions, tmp_path / "copy")
    before = inodes(copy)
    (copy / "captions-00001-of-00004.jsonl").unlink()
    content = (copy / "captions-00002-of-00004.jsonl").read_bytes()
    (copy / "captions-00002-of-00004.jsonl").write_bytes(content[:-20])
    assert job(images, export, copy) == 0
    assert tree_bytes(copy) == tree_bytes(captions)
    assert {name for name, inode in inodes(copy).items() if before[name] == inode} == {
        "captions-00000-of-00004.jsonl",
        "captions-00003-of-00004.jsonl",
    }


def test_a_rerun_rewrites_only_shards_with_added_removed_or_repaired_photos(images, export, captions, tmp_path):
    photos = shutil.copytree(images, tmp_path / "photos")
    copy = shutil.copytree(captions, tmp_path / "copy")
    source = next((photos / "a").glob("scene_*"))
    shutil.copy(source, photos / "empty.png")  # was rejected
    shutil.copy(source, photos / "new.jpg")
    gone = next((photos / "b").iterdir())
    gone.unlink()
    changed = {
        f"captions-{shard_index(photo, shards=4, seed=0):05d}-of-00004.jsonl"
        for photo in ("empty.png", "new.jpg", f"b/{gone.name}")
    }
    before = inodes(copy)
    assert job(photos, export, copy) == 0
    after = inodes(copy)
    assert {name for name in before if before[name] != after[name]} == changed and len(changed) < 4
    assert job(photos, export, tmp_path / "fresh") == 0
    assert tree_bytes(copy) == tree_bytes(tmp_path / "fresh")
    assert set(lines(copy)) == set(lines(captions)) - {f"b/{gone.name}"} | {"empty.png", "new.jpg"}


def test_captions_of_another_model_are_kept_unless_overwritten(images, export, captions, tmp_path, capsys):
    other = shutil.copytree(export, tmp_path / "other")
    (other / "assets.extra" / "notes").write_text("other")
    copy = shutil.copytree(captions, tmp_path / "copy")
    assert job(images, other, copy) == 1
    assert "is complete" in capsys.readouterr().err and tree_bytes(copy) == tree_bytes(captions)
    assert job(images, other, copy, "--overwrite") == 0
    models = [load_captions_info(str(folder)).settings.model for folder in (copy, captions)]
    assert models[0] != models[1] and lines(copy) == lines(captions)


def test_captions_are_kept_unless_overwritten_where_more_photos_need_more_shards(
    images, export, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(pipeline, "automatic_shard_count", lambda photos: 1 + photos // 43)
    photos, output = shutil.copytree(images, tmp_path / "photos"), tmp_path / "out"
    arguments = [str(export), "--images", str(photos), "--output", str(output), "--batch_size=8"]
    assert main(arguments) == 0
    before = tree_bytes(output)
    shutil.copy(next((photos / "a").glob("scene_*")), photos / "new.jpg")
    assert main(arguments) == 1
    message = "is complete (captions.json exists), with other settings: shards was 1, is 2; add --overwrite to replace"
    assert message in capsys.readouterr().err and tree_bytes(output) == before
    assert main([*arguments, "--overwrite"]) == 0
    assert {path.name for path in output.glob("captions-*")} == {f"captions-0000{i}-of-00002.jsonl" for i in (0, 1)}


def test_a_rerun_removes_shards_of_another_number(images, export, captions, tmp_path):
    output = shutil.copytree(captions, tmp_path / "out")
    (output / "captions.json").rename(output / "captions.incomplete.json")
    settings = json.loads((output / "captions.incomplete.json").read_text())["settings"]
    (output / "captions.incomplete.json").write_text(json.dumps(settings | {"shards": None}))
    assert job(images, export, output, "--shards=2") == 0
    assert {path.name for path in output.glob("captions-*")} == {f"captions-0000{i}-of-00002.jsonl" for i in (0, 1)}
    assert lines(output) == lines(captions)


@pytest.mark.parametrize(("name", "message"), [(None, "no photo found"), ("a\n.jpg", "is not a printable name")])
def test_what_only_the_step_that_finds_photos_sees_is_a_clear_error(
    name, message, images, export, tmp_path, capsys, monkeypatch
):
    """As in an object store, whose photos are not looked for before the pipeline runs."""
    monkeypatch.setattr(pipeline, "is_local", lambda path: False)
    (tmp_path / "photos").mkdir()
    if name:
        shutil.copy(images / "empty.png", tmp_path / "photos" / name)
    assert job(tmp_path / "photos", export, tmp_path / "out") == 1
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_folders_with_files_of_other_jobs_or_people_are_never_written_into(
    sample_records, images, export, tmp_path, capsys
):
    copy = shutil.copytree(sample_records, tmp_path / "records")
    for folder, message in ((copy, "holds dataset.json of another job"), (images, "holds files that no job wrote")):
        before = tree_bytes(folder)
        for flags in ([], ["--overwrite"]):
            assert job(images, export, folder, *flags) == 1
            assert message in capsys.readouterr().err
        assert tree_bytes(folder) == before


def test_other_jobs_never_overwrite_captions(captions, sample, tmp_path, capsys):
    copy = shutil.copytree(captions, tmp_path / "copy")
    for last in ("captions.json", "captions.incomplete.json"):
        (copy / "captions.json").rename(copy / last)
        before = tree_bytes(copy)
        arguments = ["--images", str(sample[0]), "--captions", str(sample[1]), "--output", str(copy), "--overwrite"]
        assert build_records.main(arguments) == 1
        assert f"holds {last} of another job" in capsys.readouterr().err and tree_bytes(copy) == before
        (copy / last).rename(copy / "captions.json")


def test_lost_photos_fail_the_conservation_check(images, export, tmp_path, capsys, monkeypatch):
    original = CaptionShard.process

    def lossy(self, element):
        yield from original(self, (element[0], [photo for photo in element[1] if photo][1:]))

    monkeypatch.setattr(CaptionShard, "process", lossy)
    assert job(images, export, tmp_path / "out") == 1
    assert "conservation check: 42 photos expected" in capsys.readouterr().err
    assert not (tmp_path / "out" / "captions.json").exists()


def test_a_kill_at_any_moment_leaves_only_complete_shards_and_a_rerun_gives_identical_bytes(
    images, export, captions, tmp_path
):
    output = tmp_path / "out"
    command = [sys.executable, "-m", "beam_jobs.caption_images", "--model", str(export), "--images", str(images)]
    command += ["--shards=4", "--batch_size=8", "--output", str(output)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(output.glob("captions-*.jsonl")):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    expected = tree_bytes(captions)
    for name, content in tree_bytes(output).items():
        if name.startswith("captions-") and name.endswith(".jsonl"):
            assert content == expected[name]
    assert job(images, export, output) == 0
    assert tree_bytes(output) == expected


def test_missing_photos_and_models_are_clear_errors(images, export, tmp_path, capsys):
    (tmp_path / "nothing").mkdir()
    for photos, model, message in (
        (tmp_path / "nothing", export, "no photo found; name a folder or a pattern"),
        (tmp_path / "none" / "*.jpg", export, "no photo found"),
        (images, tmp_path / "nothing", "nothing: is empty, neither a run directory nor an export"),
    ):
        assert job(photos, model, tmp_path / "out") == 1
        assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_run_captions_photos_with_the_options_that_are_given(images, trained_run, tmp_path, capsys):
    options = {"beam": 2, "no_repeat_ngram": 2, "min_words": 4}
    flags = [f"--{name}={value}" for name, value in options.items()]
    assert job(images / "a", trained_run, tmp_path / "out", *flags) == 0
    info = load_captions_info(str(tmp_path / "out"))
    captioner = find_model(trained_run).open(options)
    assert info.settings.model == captioner.fingerprint() and info.captioned == 20
    assert info.settings.search == CaptionOptions(nbest=2, **options)
    for photo, line in list(lines(tmp_path / "out").items())[::5]:
        (expected,) = captioner([captioner.prepare((images / "a" / photo).read_bytes())])
        assert [found["caption"] for found in line["nbest"]] == [found.caption for found in expected.nbest]
    capsys.readouterr()
    assert job(images / "a", trained_run, tmp_path / "out", *flags, "--nbest=1") == 1  # other captions: kept
    assert "is complete" in capsys.readouterr().err


@pytest.mark.parametrize("named", [["MODEL"], ["--model", "MODEL"], ["--run=MODEL"]])
def test_the_model_is_the_first_argument_or_an_option_and_beams_options_stay_beams(named):
    arguments, flags = parse_arguments([*named, "--images", "i", "--output", "o", "--runner", "DirectRunner"])
    assert arguments.model == "MODEL" and flags == ["--runner", "DirectRunner"]


def test_only_the_captions_that_are_asked_for_are_written(images, export, tmp_path):
    assert job(images / "b" / "*_0000*.jpg", export, tmp_path / "one", "--nbest=1") == 0
    assert {len(line["nbest"]) for line in lines(tmp_path / "one").values()} == {1}
    assert load_captions_info(str(tmp_path / "one")).settings.search.nbest == 1
