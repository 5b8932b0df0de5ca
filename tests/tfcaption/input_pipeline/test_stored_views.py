"""Batches of features in several views: an epoch streams the bytes of one view, whatever their number."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from beam_jobs.execution.shard_writer import write_shard
from tests.support.features import all_views, with_views
from tests.support.splits import WAYS, batches_of, opened
from tfcaption.input_pipeline.read_errors import explain_read_errors
from tfcaption.input_pipeline.split import batches_per_epoch
from tfcaption.records.dataset_info import load_features_info
from tfcaption.records.examples import PHOTO_ID
from tfcaption.records.reading import DamagedRecordSkipper, read_shard
from tfcaption.records.tfrecord import Example, RecordError

SHUFFLED = {"batch_size_photos": 8, "shuffle_seed": 4}


@pytest.fixture(scope="module")
def views(pooled, tmp_path_factory):
    """Pooled features in three views."""
    return with_views(pooled, tmp_path_factory.mktemp("features") / "views", 3)


def training_split(folder, info, **options):
    return opened(folder, info, "train", load_features_info(folder), by_photo=True, **options)


class CountingReader(DamagedRecordSkipper):
    """Notes each shard that is read."""

    def __init__(self):
        super().__init__()
        self.files = []

    def read(self, path):
        self.files.append(path)
        yield from super().read(path)


def epoch_reads(folder, info, epoch, **options):
    """The files that an epoch reads, and the photos of its batches in their order."""
    reader = CountingReader()
    split = training_split(folder, info, skipper=reader, **options)
    position = epoch * batches_per_epoch(split, 8)
    found = list(batches_of(split, position, epochs=epoch + 1, **SHUFFLED).as_numpy_iterator())
    return reader.files, [photo for batch in found for photo in batch["photo_id"]]


def test_an_epoch_streams_as_many_bytes_of_three_views_as_of_one_and_the_same_photos_in_the_same_order(
    pooled, views, info, tmp_path
):
    read = set()
    for epoch in range(3):
        (single, photos), (files, same) = (epoch_reads(folder, info, epoch) for folder in (pooled, views))
        assert photos == same and len(files) == len(single) == len(info.splits["train"].shards)
        expected, found = (sum(Path(file).stat().st_size for file in each) for each in (single, files))
        # A record of a further view also names the view, in some twenty bytes.
        assert 0 <= found - expected <= 24 * info.splits["train"].photos < 0.01 * expected
        assert not read & set(files)
        read |= set(files)
    assert len(read) == 3 * len(info.splits["train"].shards)  # in three epochs all of them


def test_tensorflow_opens_no_other_shard_than_those_that_an_epoch_shows(views, info, tmp_path):
    copy = shutil.copytree(views, tmp_path / "views")
    files, _ = epoch_reads(copy, info, 1)
    split = training_split(copy, info)
    position = batches_per_epoch(split, 8)
    expected = list(batches_of(split, position, epochs=2, **SHUFFLED).as_numpy_iterator())
    for path in copy.glob("train*"):
        if str(path) not in files:
            path.unlink()
    assert len(list(copy.glob("train*"))) == 3
    found = list(batches_of(split, position, epochs=2, **SHUFFLED).as_numpy_iterator())
    assert all(np.array_equal(a[key], b[key]) for a, b in zip(found, expected, strict=True) for key in a)


def shown_views(split, folder, **options):
    """The photo and the view of each row, in the order of the batches."""
    stored = all_views(folder)
    batches = batches_of(split, **SHUFFLED | options).as_numpy_iterator()
    rows = ((batch["photo_id"][row].decode(), batch["inputs"][row]) for batch in batches for row in range(8))
    return [(photo, stored[photo].index(inputs.tobytes())) for photo, inputs in rows if photo]


def test_in_memory_the_views_are_those_that_runs_were_always_shown(views, info):
    """The seed and the epoch decide; the numbers are those of the version that kept all views in one record."""
    found = [view for _, view in shown_views(training_split(views, info, cache=True), views)]
    assert found[:30] == [0, 2, 1, 0, 1, 1, 1, 1, 2, 0, 2, 0, 2, 2, 0, 2, 0, 1, 1, 0, 1, 0, 2, 2, 0, 2, 1, 0, 1, 0]


def test_memory_is_that_of_all_views(pooled, views, info):
    def held(folder, limit_mb):
        return opened(folder, info, "train", load_features_info(folder), cache="auto", limit_mb=limit_mb).in_memory

    size = sum(path.stat().st_size for path in views.glob("train*"))
    assert training_split(views, info).bytes == size
    assert held(views, size // 1_000_000 + 1) and not held(views, 0)
    assert not training_split(views, info, further_views=False).further_views
    assert training_split(views, info, further_views=False).bytes == training_split(pooled, info).bytes


@WAYS
def test_each_host_shows_its_own_photos_in_all_of_their_views(views, info, cache):
    stored, shown = all_views(views), {}
    for host in range(2):
        split = training_split(views, info, cache=cache, host=host, hosts=2)
        photos = shown_views(split, views, epochs=12)
        assert not shown.keys() & {photo for photo, _ in photos}
        for photo, view in photos:
            shown.setdefault(photo, []).append(view)
    assert all(set(each) == {0, 1, 2} and len(each) == 12 for each in shown.values())
    assert shown.keys() == {photo for photo, each in stored.items() if len(each) == 3}


@WAYS
def test_damage_in_the_shard_of_a_view_is_named_or_costs_that_view_alone(views, info, cache, tmp_path, capsys):
    copy = shutil.copytree(views, tmp_path / "views")
    split = training_split(copy, info, cache=cache)
    shard = copy / "train.view2-00000-of-00003.tfrecord"
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1  # in the first photo, which rows that only fill up a batch have, too
    shard.write_bytes(content)
    with pytest.raises(RecordError, match=f"{shard}: record 0 fails its checksum"), explain_read_errors(split):
        shown_views(split, views, epochs=3)
    skipper = DamagedRecordSkipper()
    shown = shown_views(training_split(copy, info, cache=cache, skipper=skipper), views, epochs=30)
    (fault,) = skipper.faults
    assert fault.startswith(f"{shard}: record ") and capsys.readouterr().err.count("skipped") == 1
    seen = {photo: [view for name, view in shown if name == photo] for photo, _ in shown}
    (lost,) = (photo for photo, found in seen.items() if 2 not in found)
    assert len(seen) == info.splits["train"].photos and set(seen[lost]) == {0, 1}
    assert len(seen[lost]) == (30 if cache else 20)  # from memory it is shown as it is instead


def test_a_view_that_lacks_a_photo_is_refused(views, info, tmp_path):
    copy = shutil.copytree(views, tmp_path / "views")
    shard = copy / "train.view1-00000-of-00003.tfrecord"
    first, *others = read_shard(shard)
    example = Example.FromString(first)
    example.features.feature[PHOTO_ID].bytes_list.value[0] = b"another.jpg"
    split = training_split(copy, info, cache=True)
    write_shard(str(copy), shard.name, [example.SerializeToString(), *others])
    with pytest.raises(RecordError, match=rf"^{shard}: not a view of the photos in {copy}/train-00000"):
        shown_views(split, views)
    write_shard(str(copy), shard.name, others)
    photos = info.splits["train"].photos
    message = f"{photos - 1} records in the shards of train, view 1, not {photos}"
    with pytest.raises(RecordError, match=message), explain_read_errors(split):
        shown_views(split, views)
