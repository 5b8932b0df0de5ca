"""Jobs that read from object stores and write to them, on servers of this machine."""

import json

import pytest

from beam_jobs import build_records, caption_images, extract_features
from beam_jobs.execution.options import beam_options
from beam_jobs.execution.paths import as_path
from beam_jobs.execution.shard_writer import write_text
from beam_jobs.sources.folder import Folder
from tests.conftest import IN_MEMORY, tree_bytes
from tests.support.fake_export import write_export
from tests.support.object_stores import STORES, s3_store


@pytest.fixture(params=["gs", pytest.param("s3", marks=pytest.mark.slow)])  # Beam makes a client of S3 for each file
def store(request, monkeypatch):
    """An empty folder in an object store."""
    return STORES[request.param](monkeypatch)


def put_folder(put, folder, name, limit=None):
    for file, data in list(tree_bytes(folder).items())[:limit]:
        put(f"{name}/{file}", data)


def stored(url):
    """What `tree_bytes` says of a folder, of one in a store."""
    return {str(path.relative_to(url)): path.read_bytes() for path in sorted(as_path(url).rglob("*"))}


def write_captioned(folder, names="abcdefgh"):
    """Photos with text files beside them, one of them no photo."""
    from tests.support.photos import encoded, picture

    folder.mkdir()
    for name in names:
        (folder / f"{name}.png").write_bytes(encoded(picture()))
        (folder / f"{name}.txt").write_text(f"a photo of {name}\n")
    (folder / f"{names[0]}.png").write_bytes(b"<html>")
    return folder


def test_records_are_read_from_a_store_and_written_to_it(store, tmp_path, capsys):
    url, flags, put = store.url, store.flags, store.put
    photos = write_captioned(tmp_path / "photos")
    put_folder(put, photos, "photos")
    for images, output in ((f"{url}/photos", f"{url}/out"), (str(photos), str(tmp_path / "out"))):
        arguments = ["--images", images, "--captions", images, "--output", output, "--image_size=32", "--min_count=1"]
        assert build_records.main([*arguments, "--max_rejected=0.5", *IN_MEMORY, *flags]) == 0
        assert "1 not an image" in capsys.readouterr().out
    assert build_records.main([*arguments[:5], f"{url}/out", *IN_MEMORY, *flags]) == 1
    assert "is complete (dataset.json exists)" in capsys.readouterr().err
    assert stored(f"{url}/out") == tree_bytes(tmp_path / "out") and len(stored(f"{url}/out")) > 4


def test_a_folder_in_a_store_may_have_brackets_in_its_name(store):
    url, flags, put = store.url, store.flags, store.put
    beam_options(flags, output="out")
    for name in ("photos/[1]/a.JPG", "photos/[1]/a.txt", "photos/[1]/b.txt", "photos/1/c.jpg"):
        put(name, b"any")
    (captions,) = Folder().files(as_path(f"{url}/photos"))
    assert str(captions) == f"{url}/photos/[1]/a.txt" and captions.stat().st_size == len(b"any")
    assert captions.parent.is_dir() and not as_path(f"{url}/photos/[0-9]").is_dir()


def test_an_empty_file_comes_to_be_in_s3(monkeypatch):
    store = s3_store(monkeypatch)
    beam_options(store.flags, output="out")
    write_text(f"{store.url}/folder", "empty", "")
    write_text(f"{store.url}/folder", "full", "text")
    assert stored(f"{store.url}/folder") == {"empty": b"", "full": b"text"}


@pytest.mark.slow
def test_features_and_captions_are_made_from_a_store_in_it(store, sample, sample_records, pooled, tmp_path, capsys):
    url, flags, put = store.url, store.flags, store.put
    put_folder(put, sample_records, "records")
    arguments = ["--records", f"{url}/records", "--output", f"{url}/pooled", "--stage=pooled", "--weights=random"]
    for _ in range(2):  # the second time everything is there, and kept
        assert extract_features.main([*arguments, "--batch_size=16", *IN_MEMORY, *flags]) == 0
        assert stored(f"{url}/pooled") == tree_bytes(pooled)
    put_folder(put, sample[0], "photos", 6)
    export = write_export(tmp_path / "export")
    arguments = ["--model", str(export), "--images", f"{url}/photos", "--output", f"{url}/captions", *flags]
    assert caption_images.main([*arguments, "--shards=2"]) == 0
    lines = [
        json.loads(line)
        for name, data in stored(f"{url}/captions").items()
        if "-of-" in name
        for line in data.splitlines()
    ]
    assert sorted(line["id"] for line in lines) == sorted(tree_bytes(sample[0]))[:6]


def test_what_is_not_in_a_store_is_one_line(store, capsys):
    url, flags = store.url, store.flags
    for job, arguments, message in (
        (build_records, ["--images", f"{url}/none", "--captions", f"{url}/none"], f"--images {url}/none: no such"),
        (extract_features, ["--records", f"{url}/none", "--stage=map", "--weights=random"], f"{url}/none: no such"),
    ):
        assert job.main([*arguments, "--output", f"{url}/out", *flags]) == 1
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {message}")
