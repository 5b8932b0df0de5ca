"""Every photo through ResNet50 once: what is stored, what a rerun keeps, what is refused."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from beam_jobs.execution.shard_writer import write_shard, write_shards
from beam_jobs.extract_features import main
from beam_jobs.pipelines import feature_extractor
from beam_jobs.pipelines import features as feature_pipeline
from beam_jobs.pipelines.feature_extractor import FeatureExtractor
from beam_jobs.pipelines.features import ExtractShard
from tests.conftest import extracted, tree_bytes
from tests.support.features import all_features, keras_resnet50
from tests.support.models import new_encoder, shared_resnet50
from tests.support.records import read_all, rewrite
from tfcaption.backbones.settings import EncoderSettings
from tfcaption.records import tfrecord
from tfcaption.records.dataset_info import PARTIAL_FEATURES_FILE, load_dataset_info, load_features_info
from tfcaption.records.examples import captions_of, feature_record


def keras_features(sample_records, layer):
    """Features at a layer of ResNet50 by Keras alone: one photo at a time, decoded by Pillow, preprocessed by Keras."""
    model = keras_resnet50(layer)
    _, found = read_all(sample_records)
    for name, (_, record) in list(found.items())[:8]:
        yield name, model(np.asarray(Image.open(io.BytesIO(record.jpeg)), np.float32))


@pytest.mark.parametrize(("stage", "layer"), [("pooled", "conv5_block3_out"), ("trunk", "conv5_block1_out")])
def test_stored_features_equal_those_of_keras_within_float16(sample_records, stage, layer, request):
    stored = all_features(request.getfixturevalue(stage))
    assert set(stored) == set(read_all(sample_records)[1])
    for name, maps in keras_features(sample_records, layer):
        expected = maps.mean((0, 1)) if stage == "pooled" else maps
        found = np.frombuffer(stored[name], np.float16).reshape(expected.shape)
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("stage", ["map", "pooled"])
def test_features_from_stored_features_equal_features_from_photos_within_float16(
    sample_records, trunk, stage, tmp_path
):
    direct = all_features(extracted(sample_records, tmp_path / "direct", stage))
    staged = extracted(sample_records, tmp_path / "staged", stage, "--features", str(trunk))
    settings = load_features_info(staged).settings
    assert (settings.made_from, settings.stage) == ("trunk", stage)
    assert settings.weights == load_features_info(tmp_path / "direct").settings.weights
    for name, features in all_features(staged).items():
        expected = np.frombuffer(direct.pop(name), np.float16).astype(np.float32)
        found = np.frombuffer(features, np.float16).astype(np.float32)
        np.testing.assert_allclose(found, expected, rtol=5e-3, atol=5e-3 * np.abs(expected).max())
    assert not direct


def test_features_of_other_records_weights_or_stages_are_refused(sample_records, pooled, trunk, tmp_path, capsys):
    arguments = ["--records", str(sample_records), "--output", str(tmp_path / "out"), "--weights=random"]
    assert main([*arguments, "--stage=map", "--features", str(pooled)]) == 1
    assert "map cannot be made from pooled" in capsys.readouterr().err
    copy = shutil.copytree(trunk, tmp_path / "copy")
    for field, message in (
        ("records", "made from other records"),
        ("weights", "made with another encoder"),
    ):
        described = json.loads((trunk / "features.json").read_text())
        described["settings"][field] = "another"
        (copy / "features.json").write_text(json.dumps(described))
        assert main([*arguments, "--stage=map", "--features", str(copy)]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_weights_that_are_missing_are_an_error_that_names_the_option(sample_records, tmp_path, capsys):
    arguments = ["--records", str(sample_records), "--output", str(tmp_path / "out"), "--stage=map"]
    assert main([*arguments, "--weights=nowhere.h5"]) == 1
    assert capsys.readouterr().err == "error: --weights nowhere.h5: no such file; name a file, imagenet or random\n"


def test_a_weights_file_is_remembered_by_an_absolute_path_and_a_name_as_it_is(
    sample_records, pooled, tmp_path, monkeypatch
):
    new_extractor = feature_pipeline.open_extractor  # no file of real weights is needed
    monkeypatch.setattr(
        feature_pipeline,
        "open_extractor",
        lambda **options: new_extractor(**options | {"encoder": EncoderSettings(weights="random")}),
    )
    (tmp_path / "weights").mkdir()
    monkeypatch.chdir(tmp_path / "weights")
    arguments = ["--records", str(sample_records), "--output", str(tmp_path / "out"), "--stage=pooled"]
    assert main([*arguments, "--batch_size=16", "--weights=resnet50.weights.h5"]) == 0
    assert load_features_info(tmp_path / "out").weights == str(tmp_path / "weights" / "resnet50.weights.h5")
    assert load_features_info(pooled).weights == "random"


def test_feature_records_keep_the_captions_and_drop_the_photo(sample_records, pooled):
    info = load_dataset_info(sample_records)
    features = load_features_info(pooled)
    for split, described in info.splits.items():
        for ours, theirs in zip(features.splits[split], described.shards, strict=True):
            assert (ours.name, ours.records) == (theirs.name, theirs.records)
            with (pooled / ours.name).open("rb") as a, (sample_records / theirs.name).open("rb") as b:
                for new, old in zip(tfrecord.read_frames(a, ""), tfrecord.read_frames(b, ""), strict=True):
                    kept, before = tfrecord.parse_example(new), tfrecord.parse_example(old)
                    assert set(before) - set(kept) == {"photo/jpeg"} and set(kept) - set(before) == {"features"}
                    assert all(kept[key] == before[key] for key in before if key != "photo/jpeg")


def test_the_description_holds_all_that_decides_the_features(sample_records, pooled):
    settings = load_features_info(pooled).settings
    assert (settings.stage, settings.shape, settings.dtype) == ("pooled", [2048], "float16")
    assert settings.records == load_dataset_info(sample_records).fingerprint()
    assert settings.weights == new_encoder(finetuned=True).fingerprint("pooled")


def test_a_rerun_makes_only_the_shards_that_are_missing_or_damaged(sample_records, pooled, tmp_path, monkeypatch):
    expected = tree_bytes(pooled)
    copy = shutil.copytree(pooled, tmp_path / "copy")
    settings = load_features_info(copy).settings
    (copy / "features.json").unlink()
    (copy / "features.incomplete.json").write_text(settings.model_dump_json())
    missing, damaged, *_ = sorted(copy.glob("train-*"))
    missing.unlink()
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    written = []
    original = write_shards
    monkeypatch.setattr(
        feature_pipeline,
        "write_shards",
        lambda folders, name, data: written.append(name) or original(folders, name, data),
    )
    extracted(sample_records, copy, "pooled")
    assert sorted(written) == [missing.name, damaged.name]
    assert tree_bytes(copy) == expected
    extracted(sample_records, copy, "pooled")  # complete: nothing to do
    assert len(written) == 2 and tree_bytes(copy) == expected


def test_complete_features_of_other_settings_are_kept_unless_overwritten(sample_records, pooled, tmp_path, capsys):
    copy = shutil.copytree(pooled, tmp_path / "copy")
    arguments = ["--records", str(sample_records), "--output", str(copy), "--stage=map", "--weights=random"]
    assert main(arguments) == 1
    assert "is complete" in capsys.readouterr().err and tree_bytes(copy) == tree_bytes(pooled)
    assert main([*arguments, "--overwrite"]) == 0
    assert load_features_info(copy).settings.shape == [1, 1, 2048]


def test_the_folder_of_the_records_is_never_written_into(sample_records, tmp_path, capsys):
    copy = shutil.copytree(sample_records, tmp_path / "copy")
    before = tree_bytes(copy)
    for flags in ([], ["--overwrite"]):
        arguments = ["--records", str(copy), "--output", str(copy), "--stage=pooled", "--weights=random", *flags]
        assert main(arguments) == 1
        assert "holds dataset.json of another job" in capsys.readouterr().err
    assert tree_bytes(copy) == before


def test_a_photo_that_does_not_decode_is_named(sample_records, tmp_path, capsys):
    copy = shutil.copytree(sample_records, tmp_path / "copy")
    rewrite(copy, lambda read: setattr(read[1], "jpeg", b"\xff\xd8 no photo"))
    shard = load_dataset_info(copy).splits["dev"].shards[0].name
    arguments = ["--records", str(copy), "--output", str(tmp_path / "out"), "--stage=pooled", "--weights=random"]
    assert main(arguments) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"error: {shard}, scene_") and "does not decode" in error
    assert not (tmp_path / "out" / "features.json").exists()


def test_stored_features_of_the_wrong_size_are_named(sample_records, trunk, tmp_path, capsys):
    copy = shutil.copytree(trunk, tmp_path / "copy")
    shard = sorted(copy.glob("train-*"))[0]
    frames = list(tfrecord.read_frames(io.BytesIO(shard.read_bytes()), "shard"))
    frames[1] = feature_record(frames[1], b"too few")
    write_shard(str(copy), shard.name, iter(frames))
    arguments = ["--records", str(sample_records), "--features", str(copy), "--output", str(tmp_path / "out")]
    assert main([*arguments, "--stage=pooled", "--weights=random"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    photo = captions_of(frames[1])[0]
    assert error == f"error: {shard.name}, {photo}: its features are not of stage trunk; extract them again"


def test_a_damaged_record_shard_is_named(sample_records, tmp_path, capsys):
    copy = shutil.copytree(sample_records, tmp_path / "copy")
    shard = sorted(copy.glob("train-*"))[0]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    arguments = ["--records", str(copy), "--output", str(tmp_path / "out"), "--stage=pooled", "--weights=random"]
    assert main(arguments) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert shard.name in error and "checksum" in error


def test_a_lost_shard_fails_the_conservation_check(sample_records, tmp_path, capsys, monkeypatch):
    original = ExtractShard.process

    def lossy(self, element):
        results = list(original(self, element))
        yield from () if element[1].startswith("dev-") else results

    monkeypatch.setattr(ExtractShard, "process", lossy)
    arguments = ["--records", str(sample_records), "--output", str(tmp_path / "out"), "--stage=pooled"]
    assert main([*arguments, "--weights=random"]) == 1
    assert "conservation check" in capsys.readouterr().err
    assert not (tmp_path / "out" / "features.json").exists()


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_only_complete_shards_and_a_rerun_gives_identical_bytes(
    sample_records, pooled, tmp_path
):
    command = [sys.executable, "-m", "beam_jobs.extract_features", "--records", str(sample_records), "--stage=pooled"]
    command += ["--weights=random", "--precision=float32", "--batch_size=16", "--output", str(tmp_path / "out")]
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not list((tmp_path / "out").glob("*.tfrecord")):
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        expected = tree_bytes(pooled)
        for name, content in tree_bytes(tmp_path / "out").items():
            if name.endswith(".tfrecord") and not name.startswith(".progress"):
                assert content == expected[name]
    extracted(sample_records, tmp_path / "out", "pooled")
    assert tree_bytes(tmp_path / "out") == expected


def test_a_partial_batch_gives_the_features_of_a_full_one(sample_records):
    extractor = FeatureExtractor(shared_resnet50(), stages=["pooled"], batch_size=8)
    photos = [(name, record.jpeg) for name, (_, record) in read_all(sample_records)[1].items()][:8]
    (whole,) = extractor(extractor.decode(photos))
    assert whole.dtype == np.float16 and whole.shape == (8, 2048)
    for count in (1, 5):
        np.testing.assert_array_equal(extractor(extractor.decode(photos[:count]))[0], whole[:count])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--records", "none", "--weights=random"], "none: no such folder"),
        (["--records", "{records}", "--weights=none.h5"], "none.h5: no such file"),
    ],
)
def test_wrong_paths_are_clear_errors(arguments, message, sample_records, tmp_path, capsys):
    filled = [argument.format(records=sample_records) for argument in arguments]
    assert main([*filled, "--output", str(tmp_path / "out"), "--stage=pooled"]) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_descriptions_that_cannot_be_read_are_clear_errors(pooled, tmp_path, sample_records, capsys):
    copy = shutil.copytree(pooled, tmp_path / "copy")
    (copy / "features.json").write_text(json.dumps({"schema_version": 1}))
    arguments = ["--records", str(sample_records), "--output", str(copy), "--stage=pooled", "--weights=random"]
    assert main(arguments) == 1
    assert "features.json: not a description of features" in capsys.readouterr().err


def test_the_precision_is_part_of_what_features_are(sample_records, shared_extractors, tmp_path, capsys):
    arguments = ["--records", str(sample_records), "--output", str(tmp_path / "out"), "--stage=pooled"]
    arguments += ["--weights=random", "--batch_size=16", "--precision"]
    assert main([*arguments, "bfloat16"]) == 0
    assert load_features_info(tmp_path / "out").settings.precision == "bfloat16"
    assert "pooled 2048 float16, computed in bfloat16" in capsys.readouterr().out
    assert main([*arguments, "float32"]) == 1
    assert "precision was bfloat16, is float32" in capsys.readouterr().err


def test_a_rerun_keeps_the_precision_of_the_shards_that_are_there(pooled, sample_records, monkeypatch, tmp_path):
    monkeypatch.setattr(feature_extractor, "cpu_multiplies_bfloat16", lambda: True)
    folder = shutil.copytree(pooled, tmp_path / "out")
    info = load_features_info(folder)
    (folder / "features.json").unlink()
    (folder / PARTIAL_FEATURES_FILE).write_text(info.settings.model_dump_json())
    (folder / info.splits["dev"][0].name).unlink()
    arguments = ["--records", str(sample_records), "--output", str(folder), "--stage=pooled", "--weights=random"]
    assert main([*arguments, "--batch_size=16"]) == 0
    assert tree_bytes(folder) == tree_bytes(pooled)


def test_features_in_float32_are_described_as_before(pooled):
    assert "precision" not in json.loads((pooled / "features.json").read_text())["settings"]


@pytest.mark.parametrize(
    ("encoder", "multiplies", "expected"),
    [("resnet50", True, "bfloat16"), ("resnet50", False, "float32"), ("mobilenetv3small", True, "float32")],
)
def test_auto_is_bfloat16_for_resnet50_where_the_processor_multiplies_it(encoder, multiplies, expected, monkeypatch):
    monkeypatch.setattr(feature_extractor, "cpu_multiplies_bfloat16", lambda: multiplies)
    settings = EncoderSettings((encoder,), weights="random")
    loaded = feature_extractor.load_encoder(settings, None, image_size=64, precision="auto")
    assert loaded.precision == expected


def test_several_stages_in_one_pass_are_those_of_single_jobs(
    sample_records, pooled, trunk, shared_extractors, tmp_path
):
    arguments = ["--records", str(sample_records), "--output", str(tmp_path), "--weights=random", "--batch_size=16"]
    arguments += ["--precision=float32", "--stage", "pooled", "trunk", "map"]
    assert main(arguments) == 0
    assert tree_bytes(tmp_path / "trunk") == tree_bytes(trunk)
    assert tree_bytes(tmp_path / "pooled") == tree_bytes(pooled)
    regions = all_features(tmp_path / "map")
    for name, vector in all_features(pooled).items():
        means = np.frombuffer(regions[name], np.float16).reshape(-1, 2048).mean(0, np.float32)
        np.testing.assert_allclose(means, np.frombuffer(vector, np.float16), rtol=2e-3, atol=1e-3)


def test_a_rerun_of_several_stages_makes_missing_shards_only(sample_records, shared_extractors, tmp_path, capsys):
    arguments = ["--records", str(sample_records), "--output", str(tmp_path), "--weights=random", "--batch_size=16"]
    arguments += ["--precision=float32", "--stage", "trunk", "pooled", "--views=2"]
    assert main(arguments) == 0
    expected = tree_bytes(tmp_path)
    lost = sorted((tmp_path / "pooled").glob("train*.tfrecord"))[1]
    lost.unlink()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.tfrecord")}
    assert main(arguments) == 0
    assert tree_bytes(tmp_path) == expected
    changed = [path for path in tmp_path.rglob("*.tfrecord") if kept.get(path) != path.stat().st_mtime_ns]
    assert changed == [lost]
    assert f"shards of an earlier run that are kept: {len(kept)}" in capsys.readouterr().out


def test_a_stage_that_the_source_already_has_is_refused(sample_records, trunk, tmp_path, capsys):
    arguments = ["--records", str(sample_records), "--output", str(tmp_path / "out"), "--weights=random"]
    assert main([*arguments, "--features", str(trunk), "--stage", "map", "trunk"]) == 1
    assert "--stage trunk cannot be made from trunk" in capsys.readouterr().err
