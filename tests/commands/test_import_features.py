"""Features that others computed: stored as they are for every photo of some records, or refused by name."""

import hashlib
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs import extract_features
from beam_jobs.import_features import main
from beam_jobs.pipelines import buckets
from tests.conftest import IN_MEMORY, tree_bytes
from tests.support.features import all_features
from tests.support.records import read_all, write_plain_records
from tests.support.runs import config, evaluate, train
from tfcaption import inspect
from tfcaption.input_pipeline.batches import make_batches
from tfcaption.input_pipeline.options import NO_CACHE, BatchOptions, CachePolicy
from tfcaption.input_pipeline.read_errors import explain_read_errors
from tfcaption.input_pipeline.split import open_split
from tfcaption.records.dataset import load_dataset
from tfcaption.records.dataset_info import load_dataset_info, load_features_info
from tfcaption.records.examples import feature_record
from tfcaption.records.tfrecord import RecordError, frame_record, read_frames
from tfcaption.runs.about import read_about
from tfcaption.runs.directory import load_run

CHANNELS, MOST = 8, 5
BYTES_OF_EARLIER_VERSIONS = (
    "ae237e93f0a30cd49a76ea64cbbbce8f57f6c8ea80e7ba98aea7c629aebf5215"  # sha256 of names and content
)


@pytest.fixture(scope="module")
def regions(sample_records):
    """Photo id -> one to five regions, float16."""
    generator = np.random.default_rng(0)
    counts = [MOST, *generator.integers(1, MOST, 59)]
    return {
        photo: generator.normal(size=(count, CHANNELS)).astype(np.float16)
        for photo, count in zip(read_all(sample_records)[1], counts, strict=True)
    }


def written(folder, regions, *, ending=""):
    """A file for each photo, named as the photo without its ending, and another one."""
    for photo, values in regions.items():
        path = folder / f"{photo.removesuffix('.jpg')}{ending}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, values)
    return folder


def job(records, source, output, *flags):
    return main(["--records", str(records), "--input", str(source), "--output", str(output), *IN_MEMORY, *flags])


def replace_first_features(folder, split, features):
    """Change the first record of a split; features.json agrees, so that only the content is wrong."""
    info = load_features_info(folder)
    shard = info.splits[split][0]
    with (folder / shard.name).open("rb") as stream:
        first, *others = read_frames(stream, shard.name)
    content = b"".join(map(frame_record, [feature_record(first, features), *others]))
    (folder / shard.name).write_bytes(content)
    shard.bytes, shard.sha256 = len(content), hashlib.sha256(content).hexdigest()
    (folder / "features.json").write_text(info.model_dump_json())


@pytest.fixture(scope="module")
def imported(sample_records, regions, tmp_path_factory):
    folder = tmp_path_factory.mktemp("imported")
    assert job(sample_records, written(folder / "npy", regions), folder / "features", "--name", "a detector") == 0
    return folder / "features"


def test_every_photo_has_its_regions_and_the_description_says_how_many(imported, regions, sample_records):
    stored = all_features(imported)
    assert stored == {photo: values.tobytes() for photo, values in regions.items()}
    info = load_features_info(imported)
    assert (info.weights, info.name, info.settings.preprocessing) == ("imported", "a detector", "unknown")
    assert (info.settings.stage, info.settings.shape, info.settings.varying) == ("map", [MOST, CHANNELS], True)
    assert info.settings.records == load_dataset_info(sample_records).fingerprint()


def test_files_archives_and_tables_give_the_same_features(sample_records, regions, imported, tmp_path):
    expected = tree_bytes(imported)
    for photo, values in regions.items():
        padded = np.pad(values, ((0, 9 - len(values)), (0, 0))).astype(">f8")
        (tmp_path / "npz" / "deep").mkdir(parents=True, exist_ok=True)
        np.savez(tmp_path / "npz" / "deep" / f"{photo}.npz", features=padded, num_bbox=len(values))
    (tmp_path / "tables").mkdir()
    half = len(regions) // 2
    for index, part in enumerate(([*regions][:half], [*regions][half:])):
        table = {"image": part, "features": [regions[photo].tolist() for photo in part]}
        pq.write_table(pa.table(table), tmp_path / "tables" / f"{index}.parquet", row_group_size=4)
    for source in ("npz", "tables"):
        assert job(sample_records, tmp_path / source, tmp_path / f"of_{source}", "--name", "a detector") == 0
        assert tree_bytes(tmp_path / f"of_{source}") == expected


def test_other_values_are_other_weights(sample_records, regions, imported, tmp_path):
    (photo, values), *_ = regions.items()
    changed = written(tmp_path / "npy", regions | {photo: -values})
    assert job(sample_records, changed, tmp_path / "features") == 0
    settings = load_features_info(tmp_path / "features").settings
    assert settings.weights != load_features_info(imported).settings.weights
    assert settings.model_copy(update={"weights": ""}) == load_features_info(imported).settings.model_copy(
        update={"weights": ""}
    )


@pytest.mark.parametrize(
    ("shape", "stage"), [((CHANNELS,), "pooled"), ((4, CHANNELS), "map"), ((2, 3, CHANNELS), "map")]
)
def test_features_of_one_shape_keep_it_and_do_not_vary(shape, stage, sample_records, regions, tmp_path):
    alike = {photo: np.full(shape, index + 1, np.float32) for index, photo in enumerate(regions)}
    assert job(sample_records, written(tmp_path / "npy", alike, ending=".jpg"), tmp_path / "features") == 0
    settings = load_features_info(tmp_path / "features").settings
    assert (settings.stage, settings.shape, settings.varying) == (stage, [*shape], False)
    assert "varying" not in (tmp_path / "features" / "features.json").read_text()


def test_grids_of_several_sizes_are_regions(sample_records, regions, tmp_path):
    grids = {photo: np.full((1 + index % 2, 3, 2), index + 1.0) for index, photo in enumerate(regions)}
    assert job(sample_records, written(tmp_path / "npy", grids), tmp_path / "features") == 0
    settings = load_features_info(tmp_path / "features").settings
    assert (settings.shape, settings.varying) == ([6, 2], True)


def test_each_photo_that_cannot_be_used_is_named_with_its_reason_and_a_run_after_the_cure_is_complete(
    sample_records, regions, imported, tmp_path, capsys
):
    source = written(tmp_path / "npy", regions)
    a, b, c, d, e, *_ = regions
    bad = {
        a: np.full((2, CHANNELS), np.nan),
        b: np.ones((2, CHANNELS + 1)),
        c: np.ones(CHANNELS),
        d: np.full((1, CHANNELS), 1e6),
    }
    written(source, bad)
    (source / f"{e.removesuffix('.jpg')}.npy").write_bytes(b"")
    output = tmp_path / "features"
    assert job(sample_records, source, output) == 1
    error = capsys.readouterr().err
    assert "the features of 5 of 60 photos cannot be used" in error and f"1 NaN or infinity ({a})" in error
    rejected = [json.loads(line) for line in (output / "rejected.jsonl").read_text().splitlines()]
    assert {line["id"]: line["reason"] for line in rejected} == {
        a: "NaN or infinity",
        b: "other number of channels",
        c: "wrong rank",
        d: "beyond float16",
        e: "unreadable file",
    }
    assert not (output / "features.json").exists()
    written(source, regions)
    assert job(sample_records, source, output, "--name", "a detector") == 0
    assert tree_bytes(output) == tree_bytes(imported)


def test_missing_ambiguous_and_unknown_photos(sample_records, regions, tmp_path, capsys):
    source, output = written(tmp_path / "npy", regions), tmp_path / "features"
    first, second, *_ = (photo.removesuffix(".jpg") for photo in sorted(regions))
    np.save(source / "stranger.npy", np.ones((2, CHANNELS)))
    assert job(sample_records, source, output) == 0
    assert "ignored: features of 1 photos that the records do not have (stranger)" in capsys.readouterr().out
    (source / f"{first}.npy").rename(source / "elsewhere.npy")
    assert job(sample_records, source, output, "--overwrite") == 1
    assert f"1 of 60 photos of {sample_records} have no features ({first}.jpg); add them" in capsys.readouterr().err
    (source / "elsewhere.npy").rename(source / f"{first}.npy")
    np.savez(source / f"{second}.npz", np.ones((2, CHANNELS)))
    assert job(sample_records, source, output, "--overwrite") == 1
    assert f"it is not clear which features 1 of 60 photos have ({second}.jpg)" in capsys.readouterr().err
    assert (output / "features.json").exists()  # nothing was removed for input that cannot be used


def test_photos_are_found_by_folders_endings_and_numbers_of_coco(tmp_path):
    ids = {"train/a.jpg": [], "val/a.jpg": [], "COCO_val2014_000000000042.jpg": ["42"], "B.png": []}
    records = write_plain_records(tmp_path / "records", {"train": {id: (["x"], found) for id, found in ids.items()}})
    names = ["train/a", "val/a.jpg", "42", "deep/b"]
    for number, name in enumerate(names, start=1):
        path = tmp_path / "in" / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.full((1, 2), number, np.float32))
    assert job(records, tmp_path / "in", tmp_path / "features") == 0
    found = {
        photo: np.frombuffer(values, np.float16)[0] for photo, values in all_features(tmp_path / "features").items()
    }
    assert found == dict(zip(ids, (1, 2, 3, 4), strict=True))


def test_however_features_are_stored_and_named_they_have_the_bytes_of_earlier_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(buckets, "ITEMS_PER_BATCH", 2)
    monkeypatch.setattr(buckets, "BUFFERED_ITEMS", 3)
    ids = {"a.jpg": [], "B.PNG": [], "deep/c.jpg": [], "COCO_val2014_000000000042.jpg": ["42"], "d 1.jpg": ["5", "6"]}
    by_name = [photo.rpartition(".")[0] for photo in ids]
    values = {
        photo: np.arange(1, 2 * number + 1, dtype=np.float32).reshape(number, 2) for number, photo in enumerate(ids, 1)
    }
    splits = {"train": [*ids][:3], "dev": [*ids][3:4], "test": [*ids][4:]}
    photos = {split: {photo: ([f"of {photo}"], ids[photo]) for photo in names} for split, names in splits.items()}
    records = write_plain_records(tmp_path / "records", photos)
    folders = {
        "flat": [name.rpartition("/")[2] for name in by_name],
        "nested": [f"x/{name.lower()}" for name in by_name],
        "numbers": ["a", "b", "c", "42", "y/6"],
    }
    for kind, names in folders.items():
        for name, array in zip(names, values.values(), strict=True):
            (tmp_path / kind / name).parent.mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / kind / f"{name}.npy", array)
    (tmp_path / "archives").mkdir()
    for name, array in zip(folders["flat"], values.values(), strict=True):
        np.savez(tmp_path / "archives" / f"{name}.npz", boxes=np.ones((4, 4)), of_model=array)
    (tmp_path / "tables").mkdir()
    for number, names in enumerate((["a", "42", "stranger"], ["deep/c.jpg", "6", "b"])):
        named = dict(zip(folders["numbers"], values.values(), strict=True))
        named |= {"deep/c.jpg": named["c"], "6": named["y/6"], "stranger": named["a"]}
        table = {"id": names, "vector": [named[name].tolist() for name in names]}
        pq.write_table(pa.table(table), tmp_path / "tables" / f"{number}.parquet")
    flags = {"archives": ["--key", "of_model"], "tables": ["--columns", "features=vector"]}
    for kind in (*folders, "archives", "tables"):
        output = tmp_path / f"of_{kind}"
        assert job(records, tmp_path / kind, output, "--name", "a detector", *flags.get(kind, [])) == 0
        content = b"".join(name.encode() + data for name, data in sorted(tree_bytes(output).items()))
        assert hashlib.sha256(content).hexdigest() == BYTES_OF_EARLIER_VERSIONS, kind


@pytest.mark.parametrize(
    ("kind", "flags", "message"),
    [
        ("npz", ["--key", "patches"], "no array patches; it holds regions, boxes"),
        ("npz", [], "several arrays of floating point numbers: regions, boxes; name one with --key"),
        ("npz", ["--columns", "features=x"], "--columns: is for .parquet files"),
        ("parquet", ["--key", "x"], "--key x: is for .npz files"),
    ],
)
def test_options_that_do_not_fit_the_files_are_refused_before_all_are_read(
    regions, sample_records, tmp_path, capsys, kind, flags, message
):
    source = tmp_path / "input"
    source.mkdir()
    if kind == "npz":
        for photo, values in regions.items():
            np.savez(source / f"{photo}.npz", regions=values, boxes=values)
    else:
        pq.write_table(
            pa.table({"photo": [*regions], "x": [each.tolist() for each in regions.values()]}), source / "x.parquet"
        )
    assert job(sample_records, source, tmp_path / "out", *flags) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists() or not [*(tmp_path / "out").glob("*.tfrecord*")]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no features; name a folder"),
        (["a.npy", "b.parquet"], "both .npy or .npz and .parquet files"),
        (None, "no such file or folder"),
    ],
)
def test_input_without_features_is_a_clear_error(files, message, sample_records, tmp_path, capsys):
    if files is not None:
        (tmp_path / "in").mkdir()
        for name in files:
            (tmp_path / "in" / name).touch()
    assert job(sample_records, tmp_path / "in", tmp_path / "out") == 1
    assert message in capsys.readouterr().err


def test_complete_features_and_foreign_folders_are_kept(sample_records, imported, tmp_path, capsys):
    before = tree_bytes(imported)
    assert job(sample_records, imported.parent / "npy", imported) == 1
    assert "is complete (features.json exists); add --overwrite" in capsys.readouterr().err
    assert job(sample_records, imported.parent / "npy", sample_records) == 1
    assert "of another job" in capsys.readouterr().err
    assert tree_bytes(imported) == before


def test_no_encoder_goes_on_from_features_made_elsewhere(sample_records, imported, shared_extractors, tmp_path, capsys):
    arguments = ["--records", str(sample_records), "--features", str(imported), "--output", str(tmp_path / "out")]
    assert extract_features.main([*arguments, "--stage=pooled", "--weights=random", "--batch_size=16"]) == 1
    assert f"--features {imported}: made elsewhere, so no encoder goes on from them" in capsys.readouterr().err


@pytest.mark.parametrize("cache", [CachePolicy(True), NO_CACHE])
def test_batches_pad_the_regions_with_zeros(cache, sample_records, imported, regions):
    split = open_split("train", load_dataset(sample_records, imported), buckets=2, cache=cache)
    seen = {}
    for batch in make_batches(split, BatchOptions(batch_size_photos=8)):
        assert batch["inputs"].shape == (8, MOST, CHANNELS) and batch["inputs"].dtype == "float16"
        for photo, values in zip(batch["photo_id"].numpy(), batch["inputs"].numpy(), strict=True):
            if photo:
                seen[photo.decode()] = values
    assert len(seen) == split.photos
    for photo, values in seen.items():
        count = len(regions[photo])
        np.testing.assert_array_equal(values[:count], regions[photo])
        assert not values[count:].any()


@pytest.mark.parametrize("size", [0, 2 * CHANNELS - 2, 2 * CHANNELS * (MOST + 1)])
def test_a_record_with_part_of_a_region_or_too_many_is_named(size, sample_records, imported, tmp_path, capsys):
    copy = shutil.copytree(imported, tmp_path / "copy")
    replace_first_features(copy, "dev", b"\1" * size)
    split = open_split("dev", load_dataset(sample_records, copy), buckets=1, cache=NO_CACHE)
    expected = f"record 0 holds {size} bytes of features, not 1 to 5 regions of 16 bytes each that features.json says"
    with pytest.raises(RecordError, match=expected), explain_read_errors(split):
        list(make_batches(split, BatchOptions(batch_size_photos=4)))
    assert inspect.main([str(copy)]) == 1
    shown = capsys.readouterr()
    assert expected in shown.err and "import_features --records RECORDS --input FEATURES" in shown.err
    assert inspect.main([str(imported)]) == 0
    assert "60 photos, map up to 5x8 float16, a detector, 5 shards" in capsys.readouterr().out


@pytest.mark.parametrize(
    "decoder", ["attention", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gru", "transformer"))]
)
def test_each_decoder_trains_on_them_and_is_evaluated_without_a_picture_of_its_attention(
    decoder, sample_records, imported, tmp_path
):
    options = {"gru_units": 8, "dense_units": 8, "attention_units": 8, "transformer_units": 8, "transformer_heads": 2}
    settings = config(tmp_path / "run", sample_records, 1, imported, decoder=decoder, weights=None, **options)
    path = train(settings)
    assert load_run(path).config.model.encoder == "imported"
    assert read_about(path).features == "a detector"
    metrics = evaluate(path, limit=4)
    assert np.isfinite(metrics["perplexity"])
    assert metrics.get("attention_grid") == (None if decoder == "gru" else False)
