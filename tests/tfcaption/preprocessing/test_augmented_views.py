"""Augmented views of a training photo: their crops, their stored features, their order in training.

Batches of random views are tested in `input_pipeline/test_augmentation.py`.
"""

import io
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from beam_jobs.execution.shard_writer import write_shard
from beam_jobs.extract_features import main
from beam_jobs.pipelines import features as feature_pipeline
from tests.conftest import extracted, tree_bytes
from tests.support.features import all_views
from tests.support.records import read_all
from tests.support.splits import WAYS, batches_of, captions_of, opened
from tfcaption.inspect import main as inspect
from tfcaption.preprocessing.augmented_views import (
    crop_image,
    crop_images,
    is_mirrored,
    random_views,
    swap_left_right,
    view_box,
    views_in_turn,
)
from tfcaption.records.dataset import load_dataset
from tfcaption.records.dataset_info import load_dataset_info, load_features_info
from tfcaption.records.examples import captions_of as photo_captions_of
from tfcaption.records.examples import feature_record
from tfcaption.records.reading import read_shard
from tfcaption.records.tfrecord import RecordError
from tfcaption.records.vocabulary import Vocabulary, left_right_tokens, load_vocabulary


@pytest.fixture(scope="session")
def three_views(sample_records, small_encoder, tmp_path_factory):
    """Pooled features of three views of each training photo."""
    output = tmp_path_factory.mktemp("features") / "views"
    return extracted(sample_records, output, "pooled", "--views", "3", encoder=small_encoder)


def between(positions):
    """(positions, 32): bilinear weights of 32 pixels at positions between them."""
    return np.maximum(0, 1 - np.abs(positions[:, None] - np.arange(32)))


def test_a_view_is_a_large_part_of_its_photo_and_every_second_one_is_mirrored():
    boxes = np.array([[view_box(f"{photo}.jpg", view) for view in range(1, 5)] for photo in range(500)])
    top, left, bottom, right = np.moveaxis(boxes, 2, 0)
    assert (boxes >= 0).all() and (boxes <= 1).all()
    assert (left > right).all(0).tolist() == [True, False, True, False]
    assert is_mirrored(tf.range(5)).numpy().tolist() == [False, True, False, True, False]
    for side in (bottom - top, abs(right - left)):
        assert side.min() > 0.7499 and side.max() <= 1 and abs(side.mean() - 0.875) < 0.01
    assert len(np.unique(top)) > 1900  # each view of each photo has another crop


def test_a_crop_is_bilinear_between_the_pixels():
    rows, columns = np.mgrid[:64, :64]
    image = np.stack([2 * rows, 3 * columns, rows + columns], -1).astype(np.uint8)  # linear, so its crops are linear
    boxes = np.array([[0, 0, 1, 1], [0, 1, 1, 0], [0.1, 0.9, 0.9, 0.15]], np.float32)
    shown = crop_images(tf.constant(np.stack([image] * 3)), tf.constant(boxes)).numpy()
    assert np.array_equal(shown[0], image) and np.array_equal(shown[1], image[:, ::-1])
    down, across = np.linspace(0.1 * 63, 0.9 * 63, 64)[:, None], np.linspace(0.9 * 63, 0.15 * 63, 64)[None]
    expected = np.stack(np.broadcast_arrays(2 * down, 3 * across, down + across), -1)
    assert np.abs(shown[2] - expected).max() <= 0.501


def test_random_views_are_distributed_as_stored_ones_and_half_of_them_mirrored():
    photos = tf.constant([f"{photo}.jpg" for photo in range(3000)])
    windows, mirrored = random_views(photos, seed=0, epoch=tf.constant(0, tf.int64), size=(200, 100))
    top, left, height, width = windows.numpy().T
    assert abs(mirrored.numpy().mean() - 0.5) < 0.03
    for start, length, pixels in ((top, height, 200), (left, width, 100)):
        assert length.min() == 0.75 * pixels and length.max() == pixels and start.min() == 0
        assert (start + length).max() == pixels and abs(length.mean() / pixels - 0.875) < 0.01
        room = pixels - length
        assert abs((start[room > 0] / room[room > 0]).mean() - 0.5) < 0.02
    choices = np.column_stack([top, left, height, width, mirrored])
    correlation = np.corrcoef(choices[:, [2, 3, 4]].T)
    assert np.abs(correlation - np.eye(3)).max() < 0.06


def test_random_views_depend_on_seed_epoch_and_photo_alone():
    photos = [f"{photo}.jpg" for photo in range(500)]

    def views(names, seed=0, epoch=0):
        found = random_views(tf.constant(names), seed=seed, epoch=tf.constant(epoch, tf.int64), size=(224, 224))
        return [(*map(int, window), bool(mirrored)) for window, mirrored in zip(*found, strict=True)]

    assert views(photos[::-1])[::-1] == views(photos) and views(photos[7:8]) == views(photos)[7:8]
    for other in (views(photos, epoch=1), views(photos, seed=1), views([f"a/{name}" for name in photos])):
        assert sum(a == b for a, b in zip(views(photos), other, strict=True)) <= 1
        flips = np.array([[a[-1], b[-1]] for a, b in zip(views(photos), other, strict=True)])
        assert abs((flips[:, 0] == flips[:, 1]).mean() - 0.5) < 0.1


@pytest.mark.parametrize("mirrored", [False, True], ids=["as_it_is", "mirrored"])
@pytest.mark.parametrize("window", [(0, 0, 64, 48), (5, 0, 48, 48), (3, 9, 57, 36)], ids=str)
def test_a_random_view_has_the_pixels_that_pillow_gives(window, mirrored):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    top, left, height, width = window
    crop = Image.fromarray(pixels).crop((left, top, left + width, top + height))
    expected = np.asarray(crop.resize((48, 64), Image.Resampling.BILINEAR))[:, :: -1 if mirrored else 1]
    shown = crop_image(tf.constant(pixels), tf.constant(window), tf.constant(mirrored)).numpy()
    assert np.abs(shown.astype(int) - expected).max() <= (0 if window == (0, 0, 64, 48) else 1)


def test_the_first_view_is_the_shards_of_a_single_one_and_only_training_photos_have_more(
    sample_records, small_pooled, three_views
):
    single, several = tree_bytes(small_pooled), tree_bytes(three_views)
    assert {name: several[name] for name in single if name != "features.json"} == {
        name: content for name, content in single.items() if name != "features.json"
    }
    training = [shard.name for shard in load_dataset_info(sample_records).splits["train"].shards]
    assert several.keys() - single.keys() == {
        name.replace("train-", f"train.view{view}-") for view in (1, 2) for name in training
    }
    views = all_views(three_views)
    for name, (split, _) in read_all(sample_records)[1].items():
        assert len(views[name]) == len(set(views[name])) == (3 if split == "train" else 1)


def test_further_views_are_keras_features_of_the_cropped_photo(sample_records, small_encoder, three_views):
    whole = keras.models.load_model(small_encoder)
    model = keras.Model(whole.inputs, whole.get_layer("top_conv").output)
    stored, (_, found) = all_views(three_views), read_all(sample_records)
    for name in [name for name, (split, _) in found.items() if split == "train"][:4]:
        photo = np.asarray(Image.open(io.BytesIO(found[name][1].jpeg)), np.float32)
        for view in (1, 2):
            top, left, bottom, right = (31 * side for side in view_box(name, view))
            rows, columns = (between(np.linspace(*ends, 32)) for ends in ((top, bottom), (left, right)))
            pixels = np.round(np.einsum("ij,jkc,lk->ilc", rows, photo, columns))
            expected = model(pixels[None].astype(np.float32), training=False).numpy()[0].mean((0, 1))
            shown = np.frombuffer(stored[name][view], np.float16)
            np.testing.assert_allclose(shown, expected, rtol=5e-3, atol=5e-3 * np.abs(expected).max())


@pytest.fixture(scope="session")
def three_maps(sample_records, small_encoder, tmp_path_factory):
    """Map features of three views of each training photo."""
    output = tmp_path_factory.mktemp("features") / "maps"
    return extracted(sample_records, output, "map", "--views", "3", encoder=small_encoder)


@pytest.fixture(scope="session")
def three_views_of_maps(sample_records, small_encoder, three_maps, tmp_path_factory):
    """Pooled features of the same views, from the map features."""
    output = tmp_path_factory.mktemp("features") / "views_of_maps"
    return extracted(sample_records, output, "pooled", "--features", str(three_maps), encoder=small_encoder)


def test_later_stages_keep_the_views_of_their_source_features(three_views, three_views_of_maps):
    assert load_features_info(three_views_of_maps).settings.views == 3
    direct = all_views(three_views)
    for name, features in all_views(three_views_of_maps).items():
        expected = np.frombuffer(b"".join(direct[name]), np.float16).astype(np.float32)
        found = np.frombuffer(b"".join(features), np.float16)
        np.testing.assert_allclose(found, expected, rtol=5e-3, atol=5e-3 * np.abs(expected).max())


def test_a_rerun_keeps_views_and_other_numbers_of_views_are_refused(sample_records, small_encoder, three_views, capsys):
    arguments = ["--records", str(sample_records), "--output", str(three_views), "--batch_size=16"]
    arguments += ["--encoder", str(small_encoder)]
    before = {path.name: path.stat().st_mtime_ns for path in three_views.glob("*.tfrecord")}
    assert main([*arguments, "--stage=pooled", "--views=3"]) == 0
    assert {path.name: path.stat().st_mtime_ns for path in three_views.glob("*.tfrecord")} == before
    assert main([*arguments, "--stage=pooled", "--views=2"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    for flags in (["--views=0"], ["--views=2", "--features=trunk"]):
        with pytest.raises(SystemExit):
            main([*arguments, "--stage=pooled", *flags])
        assert "--views" in capsys.readouterr().err


def test_inspect_prints_the_command_that_rebuilds_views_and_features_of_features(
    sample_records, three_views, three_views_of_maps, three_maps, tmp_path, capsys
):
    for source in (three_views, three_views_of_maps):
        folder = shutil.copytree(source, tmp_path / source.name)
        before = tree_bytes(folder)
        missing, damaged, _ = sorted(folder.glob("train.view2-*"))
        missing.unlink()
        damaged.write_bytes(damaged.read_bytes()[:-1])
        assert inspect([str(folder)]) == 1
        error = capsys.readouterr().err
        assert f"{missing.name}: no such file" in error and f"{damaged.name}: record" in error
        assert error.count("fault: ") == 2
        command = error.splitlines()[-1]
        command = command.replace("RECORDS", str(sample_records)).replace("MAP", str(three_maps))
        assert main(command.split()[3:]) == 0
        assert tree_bytes(folder) == before


@WAYS
@pytest.mark.parametrize("by_photo", [True, False], ids=["photos", "captions"])
def test_each_epoch_shows_each_photo_in_one_of_its_views(sample_records, info, three_views, cache, by_photo):
    features = load_features_info(three_views)
    stored, words = all_views(three_views), load_vocabulary(sample_records).words
    left, right = words.index("red"), words.index("blue")  # the sample does not say left and right
    settings = features.settings.model_copy(update={"sides": [left, right]})
    features = features.model_copy(update={"settings": settings})
    subject = opened(three_views, info, "train", features, cache=cache, by_photo=by_photo)
    found = {
        name: record.token_ids for name, (split, record) in read_all(sample_records)[1].items() if split == "train"
    }
    swapped = {
        name: [[{left: right, right: left}.get(t, t) for t in caption] for caption in captions]
        for name, captions in found.items()
    }
    assert found != swapped
    options = {"batch_size_photos": 8, "shuffle_seed": 4, "epochs": 6}
    batches = list(batches_of(subject, **options).as_numpy_iterator())
    per_epoch = len(batches) // 6
    shown = {name: [] for name in found}
    for epoch in range(6):
        used = {name: [] for name in found}
        for batch in batches[epoch * per_epoch : (epoch + 1) * per_epoch]:
            for row, photo in enumerate(batch["photo_id"]):
                if name := photo.decode():
                    view = stored[name].index(batch["inputs"][row].tobytes())
                    captions = captions_of(batch, row)
                    assert all(caption in (found, swapped)[view % 2][name] for caption in captions)
                    used[name] += [found[name][(found, swapped)[view % 2][name].index(caption)] for caption in captions]
                    shown[name].append(view)
        assert {name: sorted(captions) for name, captions in used.items()} == {
            name: sorted(captions) for name, captions in found.items()
        }
    counts = np.bincount([view for each in shown.values() for view in each])
    assert len(counts) == 3 and counts.min() > 0.25 * counts.sum()
    if cache:  # sampled anew in each epoch, for each photo
        assert len({tuple(each) for each in shown.values()}) > len(shown) / 2
    else:  # in turn
        assert all(set(views[:3]) == {0, 1, 2} and views[3:] == views[:3] for views in shown.values())
    rest = list(batches_of(subject, **options, position=per_epoch + 2).as_numpy_iterator())
    assert all(np.array_equal(a[k], b[k]) for a, b in zip(rest, batches[per_epoch + 2 :], strict=True) for k in a)


@WAYS
def test_without_shuffling_each_photo_is_its_first_view(sample_records, info, small_pooled, three_views, cache):
    folders = (small_pooled, three_views)
    first, second = (
        list(
            batches_of(
                opened(folder, info, "train", load_features_info(folder), cache=cache), batch_size_photos=8
            ).as_numpy_iterator()
        )
        for folder in folders
    )
    assert all(np.array_equal(a[key], b[key]) for a, b in zip(first, second, strict=True) for key in a)


def test_shards_take_turns_in_showing_their_views():
    def views(shards, epoch, views):
        return views_in_turn(shards, epoch=tf.constant(epoch, tf.int64), views=views).numpy().tolist()

    assert views(5, 0, 3) == [0, 1, 2, 0, 1] and views(5, 1, 3) == [1, 2, 0, 1, 2] and views(5, 8, 3) == [2, 0, 1, 2, 0]
    for shards, count in ((16, 3), (3, 2), (1, 4), (0, 2)):
        epochs = np.array([views(shards, epoch, count) for epoch in range(2 * count)])
        assert (np.sort(epochs[:count], 0) == np.arange(count)[:, None]).all()  # each shard shows all of its views
        assert all(np.ptp(np.bincount(epoch.astype(int), minlength=count)) <= 1 for epoch in epochs)
    assert views(4, 7, 1) == [0] * 4


def written_shards(monkeypatch):
    """The names of the shards that later jobs write."""
    written = []
    original = feature_pipeline.write_shards
    monkeypatch.setattr(
        feature_pipeline,
        "write_shards",
        lambda folder, name, data: written.append(name) or original(folder, name, data),
    )
    return written


def test_after_a_stop_only_the_views_that_are_missing_or_damaged_are_made(
    sample_records, small_encoder, three_views, tmp_path, monkeypatch
):
    expected = tree_bytes(three_views)
    copy = shutil.copytree(three_views, tmp_path / "copy")
    settings = load_features_info(copy).settings
    (copy / "features.json").unlink()
    (copy / "features.incomplete.json").write_text(settings.model_dump_json())
    (copy / "train.view1-00001-of-00003.tfrecord").unlink()
    # Intact, but of another view.
    shutil.copy(copy / "train.view1-00000-of-00003.tfrecord", copy / "train.view2-00000-of-00003.tfrecord")
    written = written_shards(monkeypatch)
    extracted(sample_records, copy, "pooled", "--views", "3", encoder=small_encoder)
    assert sorted(written) == ["train.view1-00001-of-00003.tfrecord", "train.view2-00000-of-00003.tfrecord"]
    assert tree_bytes(copy) == expected
    extracted(sample_records, copy, "pooled", "--overwrite", encoder=small_encoder)  # no file of the other views stays
    assert {path.name for path in copy.iterdir() if "view" in path.name} == set()


def test_a_lost_shard_of_a_view_fails_the_conservation_check(
    sample_records, small_encoder, tmp_path, monkeypatch, capsys
):
    original = feature_pipeline.ExtractShard.process

    def lossy(self, element):
        results = list(original(self, element))
        yield from () if element[1:] == ("train-00002-of-00003.tfrecord", 1) else results

    monkeypatch.setattr(feature_pipeline.ExtractShard, "process", lossy)
    arguments = ["--records", str(sample_records), "--output", str(tmp_path / "out"), "--stage=pooled", "--views=2"]
    assert main([*arguments, "--encoder", str(small_encoder), "--batch_size=16"]) == 1
    assert "conservation check: 3 shards of train, view 1 expected, but 2 written" in capsys.readouterr().err
    assert not (tmp_path / "out" / "features.json").exists()


def test_features_with_all_views_in_one_record_are_refused_and_replaced_by_the_same_command(
    sample_records, small_encoder, three_views, tmp_path, capsys
):
    """As earlier versions wrote them."""
    old, views = shutil.copytree(three_views, tmp_path / "old"), all_views(three_views)
    info = load_features_info(old)
    for shard in info.splits["train"]:
        records = list(read_shard(old / shard.name))
        joined = (feature_record(record, b"".join(views[photo_captions_of(record)[0]])) for record in records)
        write_shard(str(old), shard.name, joined)
    for shard in [shard for shards in info.further_views for shard in shards]:
        (old / shard.name).unlink()
    described = json.loads(info.model_dump_json())
    del described["further_views"]
    (old / "features.json").write_text(json.dumps(described))
    with pytest.raises(RecordError, match=f"^{old}: an earlier version wrote .* all 3 views of a photo in one record"):
        load_dataset(sample_records, old)
    assert inspect([str(old)]) == 1
    assert "run the same extract_features again" in capsys.readouterr().err
    extracted(sample_records, old, "pooled", "--views", "3", encoder=small_encoder)
    assert tree_bytes(old) == tree_bytes(three_views)


def test_a_description_of_views_that_do_not_belong_together_is_refused(three_views, tmp_path):
    sound = json.loads((three_views / "features.json").read_text())
    (tmp_path / "features.json").write_text(json.dumps(sound))
    assert load_features_info(tmp_path) == load_features_info(three_views)
    sound["further_views"][1][0]["records"] -= 1
    (tmp_path / "features.json").write_text(json.dumps(sound))
    with pytest.raises(RecordError, match="other numbers of records than the shards of train"):
        load_features_info(tmp_path)
    del sound["further_views"][1]
    (tmp_path / "features.json").write_text(json.dumps(sound))
    with pytest.raises(RecordError, match="further_views: 1, not the 2 that settings say"):
        load_features_info(tmp_path)


def test_nothing_is_swapped_if_the_vocabulary_lacks_left_or_right():
    tokens = tf.constant([[[1, 4, 5]], [[1, 5, 4]]])
    assert left_right_tokens(Vocabulary(["<pad>", "left"])) == []
    assert np.array_equal(swap_left_right(tokens, tf.constant([True, True]), []), tokens)
    swapped = swap_left_right(tokens, tf.constant([True, False]), [4, 5]).numpy()
    assert swapped.tolist() == [[[1, 5, 4]], [[1, 5, 4]]]
