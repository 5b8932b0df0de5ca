"""Paths in object stores behave as local paths do."""

import os
import pickle
import subprocess
import sys
from pathlib import PurePath

import fsspec
import pytest
import tensorflow as tf

from beam_jobs.execution import paths as beam_paths
from tests.conftest import tree_bytes
from tests.support.object_stores import STORES
from tfcaption.inspect import main as inspect
from tfcaption.runtime import paths
from tfcaption.runtime.errors import FilesystemError
from tfcaption.runtime.paths import (
    as_path,
    atomic_path,
    copy_file,
    entries_below,
    files_below,
    is_hidden,
    local_copy,
    local_mirror,
    new_folder,
)


@pytest.fixture(params=STORES)
def remote(request, monkeypatch):
    """An empty folder in an object store, on a server of this machine."""
    return as_path(STORES[request.param](monkeypatch).url)


def test_names_are_joined_and_split_as_local_ones_are():
    path = as_path("gs://bucket/runs/one.yaml")
    assert str(path) == "gs://bucket/runs/one.yaml" == f"{as_path('gs://bucket') / 'runs' / 'one.yaml'}"
    assert (path.name, path.stem, path.suffix, str(path.parent)) == ("one.yaml", "one", ".yaml", "gs://bucket/runs")
    assert str(path.with_name("two")) == "gs://bucket/runs/two" and path.relative_to("gs://bucket").parts[0] == "runs"
    assert as_path(path) is path and as_path("gs://bucket/runs/one.yaml") == path == pickle.loads(pickle.dumps(path))
    assert type(as_path("runs/one.yaml")) is type(as_path(".").parent)


def test_local_paths_load_no_client_and_no_path_loads_tensorflow(tmp_path):
    code = (
        "import sys; from tfcaption.runtime import paths\n"
        "p = paths.as_path(sys.argv[1]) / 'a'; p.write_text('x'); paths.copy_file(p, p.with_name('b'))\n"
        "with paths.local_copy(p) as q: print(p is q, sorted(f.name for f in paths.files_below(p.parent)))\n"
        "print('etils' in sys.modules, 'fsspec' in sys.modules)\n"
        "paths.as_path('s3://bucket/a'); print('etils' in sys.modules, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["True ['a', 'b']", "False False", "True False"]


def test_files_are_written_and_read_as_local_ones_are(remote, tmp_path):
    text = "first\r\nsecond, é\n"
    for folder in (remote, tmp_path):
        path = folder / "below" / "a.txt"
        assert not path.exists() and not path.is_file() and not path.parent.is_dir()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        assert path.is_file() and path.exists() and path.parent.is_dir() and not path.is_dir()
        assert path.read_bytes() == text.encode() and path.stat().st_size == len(text.encode())
        with path.open("a", encoding="utf-8") as stream:
            stream.writelines(["third\n", "fourth\n"])
        assert path.read_text(encoding="utf-8") == "first\nsecond, é\nthird\nfourth\n"
        with path.open("rb") as stream:
            assert (stream.read(3), list(stream)[1:]) == (b"fir", ["second, é\n".encode(), b"third\n", b"fourth\n"])
        path.replace(path.with_name("b.txt"))
        (folder / "c.jpg").write_bytes(b"")
        found = sorted(str(file.relative_to(folder)) for file in files_below(folder))
        assert found == ["below/b.txt", "c.jpg"] and not path.exists()
        assert [p.name for p in folder.glob("*.jpg")] == ["c.jpg"]
        assert sorted(p.name for p in folder.iterdir()) == ["below", "c.jpg"]
        (folder / "c.jpg").unlink()
        assert not (folder / "c.jpg").exists()
        with pytest.raises(FileNotFoundError, match="nothing"):
            (folder / "nothing").read_bytes()


def test_a_folder_may_have_brackets_in_its_name(remote):
    (remote / "[1]" / "a.txt").write_text("a")
    (remote / "1" / "b.txt").write_text("b")
    folder = remote / "[1]"
    assert [str(path) for path in folder.glob("*.txt")] == [f"{remote}/[1]/a.txt"] == list(map(str, folder.rglob("*")))
    assert not (remote / "[0-9]").exists()


def test_a_long_file_streams_in_both_directions(remote, tmp_path):
    (tmp_path / "long").write_bytes(bytes(range(256)) * 20_000)
    remote.mkdir()
    copy_file(tmp_path / "long", remote / "long")
    with local_copy(remote / "long") as copied:
        assert copied.read_bytes() == (tmp_path / "long").read_bytes() and copied.name == "long"
    assert not copied.exists()


def test_an_atomic_path_replaces_the_file_only_when_all_is_written(remote, tmp_path):
    for folder in (remote, tmp_path):
        path = folder / "a.txt"
        path.write_text("before")
        with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError
        assert path.read_text() == "before"
        with atomic_path(path) as temporary:
            temporary.write_text("after")
            assert path.read_text() == "before"
        assert path.read_text() == "after" and [file.name for file in folder.iterdir()] == ["a.txt"]


def test_folders_are_copied_and_written_completely(remote, tmp_path):
    for folder in (remote, tmp_path):
        with new_folder(folder / "new") as written:
            (written / "below").mkdir(parents=True)
            (written / "below" / "a").write_bytes(b"a")
            (written / "b").write_bytes(b"")
            assert not (folder / "new").exists()
        with local_copy(folder / "new") as copied:
            assert copied.name == "new" and tree_bytes(copied) == {"b": b"", "below/a": b"a"}
    with pytest.raises(FileNotFoundError, match=f"{remote}/nothing: no such file"), local_copy(remote / "nothing"):
        pass


def test_a_local_mirror_uploads_changes_in_the_order_they_were_written_and_removes_last(remote, tmp_path, monkeypatch):
    (remote / "kept").write_text("kept")
    (remote / "old").write_text("old")
    events = []

    def copy(source, target):
        events.append(("copy", target.name))
        copy_file(source, target)

    with local_mirror(remote) as mirror:
        monkeypatch.setattr(paths, "copy_file", copy)
        assert tree_bytes(mirror.folder) == {"kept": b"kept", "old": b"old"}
        for name, seconds in (("pointer", 3), ("data", 1)):
            (mirror.folder / name).write_text(name)
            os.utime(mirror.folder / name, (seconds, seconds))
        (mirror.folder / "old").unlink()
        mirror.upload()
        assert events == [("copy", "data"), ("copy", "pointer")]
        assert sorted(path.name for path in remote.iterdir()) == ["data", "kept", "pointer"]
        mirror.upload()
        assert len(events) == 2
        (mirror.folder / "data").write_text("more data")
    assert (remote / "data").read_text() == "more data" and not mirror.folder.exists()
    with local_mirror(tmp_path) as mirror:
        assert mirror.folder == tmp_path
        mirror.upload()


@pytest.mark.parametrize("name", ["run[1]", "run?", "run*", "{run1,x}", "run\\1"])
def test_checkpoints_are_found_and_deleted_in_their_own_folder_whatever_its_name(tmp_path, name):
    variable = tf.Variable(0.0)
    checkpoint = tf.train.Checkpoint(variable=variable)
    for folder in ("run1", name):  # which the name would match as a pattern
        (tmp_path / folder).mkdir()
        for number in (1, 2) if folder == name else (1,):
            with local_mirror(tmp_path / folder) as mirror:
                variable.assign(number)
                manager = tf.train.CheckpointManager(checkpoint, str(mirror.folder / "last"), max_to_keep=1)
                manager.save(checkpoint_number=number)
    variable.assign(0.0)
    with local_copy(tmp_path / name / "last") as folder:
        checkpoint.restore(tf.train.latest_checkpoint(str(folder))).assert_consumed()
    assert variable.numpy() == 2.0
    assert {path.name for path in (tmp_path / "run1" / "last").iterdir()} >= {"checkpoint", "ckpt-1.index"}
    assert [path.name for path in (tmp_path / name / "last").iterdir() if path.suffix == ".index"] == ["ckpt-2.index"]


@pytest.mark.parametrize("module", [paths, beam_paths])
def test_a_url_without_a_host_is_refused_with_the_fix(module):
    with pytest.raises(
        FilesystemError, match="hdfs:///folder/x: the host or bucket is missing; write SCHEME://HOST/PATH"
    ):
        module.as_path("hdfs:///folder/x")
    assert str(beam_paths.as_path("hdfs://host/folder") / "x") == "hdfs://host/folder/x"


def test_an_unsupported_filesystem_is_refused_with_the_fix(capsys):
    with pytest.raises(FilesystemError, match="hdfs://host/x: only local paths and gs://, s3:// .* or mount"):
        as_path("hdfs://host/x")
    assert inspect(["hdfs://host/records"]) == 1
    assert capsys.readouterr().err.startswith("error: hdfs://host/records: only local paths and gs://, s3://")


def test_errors_of_a_client_and_a_missing_client_name_the_path_and_the_fix(monkeypatch):
    def unusable(error):
        def filesystem(scheme):
            raise error

        monkeypatch.setattr(fsspec, "filesystem", filesystem)

    path = as_path("s3://bucket/x")
    unusable(pytest.importorskip("botocore.exceptions").NoCredentialsError())
    with pytest.raises(FilesystemError, match="s3://bucket/x: NoCredentialsError: Unable to locate credentials"):
        path.read_bytes()
    unusable(ImportError("Install s3fs to access S3"))
    with pytest.raises(FilesystemError, match=r"x: Install s3fs to access S3; pip install .* 's3fs<2027,"):
        path.read_bytes()


def listed(folder):
    found = {path.relative_to(folder).as_posix(): problem for path, problem in entries_below(folder)}
    return sorted(name for name, problem in found.items() if not problem), {n: p for n, p in found.items() if p}


def test_linked_folders_are_followed_each_is_listed_once_and_what_is_not_is_named(tmp_path):
    photos, other = tmp_path / "photos", tmp_path / "other"
    for file in (photos / "b" / "1.jpg", other / "deep" / "2.jpg"):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"")
    (other / "up").symlink_to(other)
    for name, target in {"a": "b", "c": other, "d": other, "e": "..", "gone": "nowhere", "f": "f"}.items():
        (photos / name).symlink_to(target)
    os.mkfifo(photos / "pipe")
    files, problems = listed(photos)
    assert files == ["b/1.jpg", "c/deep/2.jpg"]
    assert problems == {
        "a": f"linked folder: listed as {photos / 'b'}",
        "d": f"linked folder: listed as {photos / 'c'}",
        "c/up": f"linked folder: listed as {photos / 'c'}",
        "e": "linked folder: it holds the link",
        **dict.fromkeys(("gone", "f"), "broken link"),
        "pipe": "not a regular file",
    }
    assert {path.name for path in files_below(photos)} == {"1.jpg", "2.jpg", "gone", "f", "pipe"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_must_not_be_opened_is_named(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    assert listed(tmp_path) == ([], {"closed": "unreadable folder: Permission denied"})


@pytest.mark.parametrize("path", ["._a.txt", "a/._b.txt", "__MACOSX/a.txt", ".git/a", "a/.cache/b.jpg"])
def test_hidden_files_and_those_in_hidden_folders_are_hidden(path):
    assert is_hidden(PurePath(path)) and not is_hidden(PurePath("a/b.c/d.txt"))
