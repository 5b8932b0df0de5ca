"""Jobs and all other commands read from object stores and write to them, on servers of this machine."""

import json

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs import build_records, caption_images, extract_features, import_features
from beam_jobs.execution.options import beam_options
from beam_jobs.execution.paths import as_path
from beam_jobs.execution.shard_writer import write_text
from beam_jobs.sources import parts
from beam_jobs.sources.base import Columns, Listing
from beam_jobs.sources.folder import Folder
from tests.conftest import IN_MEMORY, tree_bytes
from tests.support import known_data_sets
from tests.support.fake_export import write_export
from tests.support.object_stores import STORES, s3_store
from tests.support.records import write_plain_records
from tfcaption.caption import main as caption
from tfcaption.evaluate import main as evaluate
from tfcaption.export import main as export
from tfcaption.inspect import main as inspect
from tfcaption.records.dataset import load_dataset
from tfcaption.records.reading import read_references
from tfcaption.report import main as report
from tfcaption.runs.metrics_log import METRICS_FILE
from tfcaption.runtime import paths
from tfcaption.runtime.paths import copy_file, copy_files, files_below
from tfcaption.sweep import main as sweep
from tfcaption.train import main as train


@pytest.fixture(params=["gs", pytest.param("s3", marks=pytest.mark.slow)])  # Beam makes a client of S3 for each file
def store(request, monkeypatch):
    """An empty folder in an object store."""
    return STORES[request.param](monkeypatch)


def put_folder(put, folder, name, limit=None):
    for file, data in list(tree_bytes(folder).items())[:limit]:
        put(f"{name}/{file}", data)


def stored(url):
    """`tree_bytes` of a folder in a store."""
    return {str(path.relative_to(url)): path.read_bytes() for path in sorted(as_path(url).rglob("*"))}


def write_photos_and_captions(folder, names="abcdefgh"):
    """Photos with text files beside them; the first file is not a photo."""
    from tests.support.photos import encoded, picture

    folder.mkdir()
    for name in names:
        (folder / f"{name}.png").write_bytes(encoded(picture()))
        (folder / f"{name}.txt").write_text(f"a photo of {name}\n")
    (folder / f"{names[0]}.png").write_bytes(b"<html>")
    return folder


def test_records_are_read_from_a_store_and_written_to_it(store, tmp_path, capsys):
    url, flags, put = store.url, store.flags, store.put
    photos = write_photos_and_captions(tmp_path / "photos")
    put_folder(put, photos, "photos")
    for images, output in ((f"{url}/photos", f"{url}/out"), (str(photos), str(tmp_path / "out"))):
        arguments = ["--images", images, "--captions", images, "--output", output, "--image_size=32", "--min_count=1"]
        assert build_records.main([*arguments, "--max_rejected=0.5", *IN_MEMORY, *flags]) == 0
        assert "1 not an image" in capsys.readouterr().out
    assert build_records.main([*arguments[:5], f"{url}/out", *IN_MEMORY, *flags]) == 1
    assert "is complete (dataset.json exists)" in capsys.readouterr().err
    assert stored(f"{url}/out") == tree_bytes(tmp_path / "out") and len(stored(f"{url}/out")) > 4


@pytest.mark.slow
def test_parquet_is_read_from_a_store_by_row_groups_and_its_photos_are_copied_there(store, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "BYTES_AT_ONCE", 2_000)
    known_data_sets.hugging_face(tmp_path / "set")
    put_folder(store.put, tmp_path / "set", "set")
    for folder, output in ((f"{store.url}/set", f"{store.url}/out"), (str(tmp_path / "set"), str(tmp_path / "out"))):
        arguments = ["--images", folder, "--captions", folder, "--output", output, "--image_size=32", "--min_count=1"]
        assert build_records.main([*arguments, *IN_MEMORY, *store.flags]) == 0
    assert stored(f"{store.url}/out") == tree_bytes(tmp_path / "out") and len(stored(f"{store.url}/out")) > 4


def test_a_folder_in_a_store_may_have_brackets_in_its_name(store):
    url, flags, put = store.url, store.flags, store.put
    beam_options(flags, output="out")
    for name in ("photos/[1]/a.JPG", "photos/[1]/a.txt", "photos/[1]/b.txt", "photos/1/c.jpg"):
        put(name, b"any")
    (folder,) = Folder().files(as_path(f"{url}/photos"))
    listing = Listing()
    assert len([*Folder().read([folder], listing, Columns())]) == 1
    (captions,) = listing.accounted
    assert str(captions) == f"{url}/photos/[1]/a.txt" and captions.stat().st_size == len(b"any")
    assert captions.parent.is_dir() and not as_path(f"{url}/photos/[0-9]").is_dir()


def test_an_empty_file_is_written_to_s3(monkeypatch):
    store = s3_store(monkeypatch)
    beam_options(store.flags, output="out")
    write_text(f"{store.url}/folder", "empty", "")
    write_text(f"{store.url}/folder", "full", "text")
    assert stored(f"{store.url}/folder") == {"empty": b"", "full": b"text"}


@pytest.mark.parametrize("kind", ["arrays", "table"])
def test_features_made_elsewhere_are_read_from_a_store_and_written_to_it(kind, store, tmp_path):
    records = write_plain_records(tmp_path / "records", {"train": {f"{n}.jpg": (["x"], []) for n in range(3)}})
    regions = {f"{number}.jpg": np.full((number + 1, 2), number + 1.0) for number in range(3)}
    (tmp_path / "made").mkdir()
    if kind == "table":
        columns = {"image": [*regions], "features": [values.tolist() for values in regions.values()]}
        pq.write_table(pa.table(columns), tmp_path / "made" / "features.parquet", row_group_size=2)
    else:
        for photo, values in regions.items():
            np.save(tmp_path / "made" / f"{photo}.npy", values)
    put_folder(store.put, records, "records")
    put_folder(store.put, tmp_path / "made", "made")
    for source, output in ((f"{store.url}/made", f"{store.url}/out"), (str(tmp_path / "made"), str(tmp_path / "out"))):
        arguments = ["--records", f"{store.url}/records", "--input", source, "--output", output]
        assert import_features.main([*arguments, *IN_MEMORY, *store.flags]) == 0
    assert stored(f"{store.url}/out") == tree_bytes(tmp_path / "out") and len(stored(f"{store.url}/out")) == 2


@pytest.mark.slow
def test_features_and_captions_are_read_from_a_store_and_written_to_it(
    store, sample, sample_records, pooled, tmp_path, capsys
):
    url, flags, put = store.url, store.flags, store.put
    put_folder(put, sample_records, "records")
    arguments = (
        f"--records {url}/records --output {url}/pooled --stage=pooled --weights=random --precision=float32".split()
    )
    for _ in range(2):  # the second run keeps everything
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


def test_a_path_that_a_store_lacks_is_an_error_of_one_line(store, capsys):
    url, flags = store.url, store.flags
    for job, arguments, message in (
        (build_records, ["--images", f"{url}/none", "--captions", f"{url}/none"], f"--images {url}/none: no such"),
        (extract_features, ["--records", f"{url}/none", "--stage=map", "--weights=random"], f"{url}/none: no such"),
    ):
        assert job.main([*arguments, "--output", f"{url}/out", *flags]) == 1
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {message}")


@pytest.fixture(params=STORES)
def remote(request, monkeypatch):
    """An empty folder in an object store, as a path of `tfcaption`."""
    return paths.as_path(STORES[request.param](monkeypatch).url)


def upload(folder, target):
    copy_files(folder, target)
    return target


def test_descriptions_and_records_are_read_from_a_store(sample_records, remote, tmp_path):
    upload(sample_records, remote / "records")
    found, expected = load_dataset(remote / "records"), load_dataset(sample_records)
    assert (found.info, found.vocabulary) == (expected.info, expected.vocabulary)
    shards = [shard.name for shard in expected.shards("dev")]
    references = [
        read_references(f"{folder}/{name}" for name in shards) for folder in (remote / "records", sample_records)
    ]
    assert references[0] == references[1] and references[0]
    assert inspect([str(remote / "records"), "--show=2", "--output", str(remote / "pictures")]) == 0
    assert (remote / "pictures" / "dev.png").read_bytes().startswith(b"\x89PNG")
    (remote / "records" / "dataset.json").unlink()
    assert inspect([str(remote / "records"), "--repair", "--set", "source=flickr8k", "min_count=1"]) == 0
    assert (remote / "records" / "dataset.json").read_bytes() == (sample_records / "dataset.json").read_bytes()


CONFIG = """
run: {folder}/run
data: {{records: {records}, features: {features}, batch_size_photos: 16}}
model: {{weights: random, embedding_units: 8, gru_units: 16, dense_units: 16, dropout: 0.0}}
train: {{epochs: 2, learning_rate: 0.01, precision: float32}}
"""


def train_in(folder, records, features, *more, always=()):
    """Train from a config to the end, all below `folder`, with a stop between two `--set`; the epochs' losses."""
    (folder / "config.yaml").write_text(CONFIG.format(folder=folder, records=records, features=features))
    for override in more or ("train.epochs=2",):
        assert train(["--config", str(folder / "config.yaml"), "--set", override, *always]) == 0
    return losses(folder / "run")


def losses(run):
    lines = map(json.loads, (run / METRICS_FILE).read_text().splitlines())
    return [(epoch["epoch"], epoch["train_loss"], epoch["dev_loss"]) for epoch in lines]


@pytest.mark.slow
def test_a_run_in_a_store_resumes_and_equals_a_local_run(sample_records, pooled, remote, tmp_path):
    data = upload(sample_records, remote / "records"), upload(pooled, remote / "features")
    found = train_in(remote, *data, "train.epochs=1", "train.epochs=2")
    assert len(found) == 2 and found == train_in(tmp_path, sample_records, pooled)
    files = [
        sorted(path.relative_to(folder).as_posix() for path in files_below(folder) if "events.out" not in path.name)
        for folder in (remote / "run", tmp_path / "run")
    ]
    assert files[0] == files[1] and any(path.name.startswith("events.out") for path in files_below(remote / "run"))


@pytest.mark.slow
def test_a_run_starts_from_weights_word_vectors_and_another_run_in_a_store(sample_records, remote, tmp_path):
    words = (sample_records / "vocabulary.txt").read_text().splitlines()
    resnet50 = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(32, 32, 3))
    resnet50.save_weights(tmp_path / "resnet50.weights.h5")
    copy_file(tmp_path / "resnet50.weights.h5", remote / "resnet50.weights.h5")
    found = []
    for folder in (remote, tmp_path):
        vectors = "".join(f"{word} {index / 10} {-index / 20}\n" for index, word in enumerate(words))
        (folder / "glove.txt").write_text(vectors)
        start = [f"model.glove={folder}/glove.txt", f"model.weights={folder}/resnet50.weights.h5"]
        records = sample_records if folder == tmp_path else upload(sample_records, folder / "records")
        train_in(folder, records, "null", "train.epochs=1", always=start)
        second = [*start, f"train.start_from={folder}/run", f"run={folder}/second"]
        train_in(folder, records, "null", "train.epochs=1", always=second)
        found.append(losses(folder / "second"))
    assert len(found[0]) == 1 and found[0] == found[1]


@pytest.mark.slow
def test_scores_exports_captions_and_reports_of_a_run_in_a_store_equal_local_ones(
    sample, sample_records, pooled, remote, tmp_path, capsys
):
    records = upload(sample_records, remote / "records")
    upload(sample[0], remote / "photos")
    train_in(remote, records, upload(pooled, remote / "features"))
    upload(remote / "run", tmp_path / "run")
    found = []
    for folder, photos in ((remote, remote / "photos"), (tmp_path, sample[0])):
        assert evaluate(["--run", f"{folder}/run", "--split", "dev", "--beam", "1"]) == 0
        captions = folder / "run" / "eval-dev" / "captions.jsonl"
        assert evaluate(["--captions", str(captions), "--records", str(records), "--split=dev"]) == 0
        assert export(["--run", f"{folder}/run", "--output", f"{folder}/export", "--beam", "1"]) == 0
        capsys.readouterr()
        command = ["--model", f"{folder}/export", str(photos), "--json", "--show", f"{folder}/shown"]
        assert caption(command) == 0
        lines = [json.loads(line) | {"path": None} for line in capsys.readouterr().out.splitlines()]
        assert len(lines) == len(list((folder / "shown").iterdir())) == 60
        found.append((captions.read_text(), lines))
    assert found[0] == found[1]
    assert report([str(remote / "run"), "--output", str(remote / "report")]) == 0
    assert "<html" in (remote / "report" / "report.html").read_text()


def test_a_sweep_writes_to_local_folders_only(capsys):
    assert sweep(["--config=c.yaml", "--output=gs://bucket/sweep", "--grid", "train.seed=0,1"]) == 1
    assert "name a local folder" in capsys.readouterr().err
