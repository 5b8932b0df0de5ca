"""Batches hold exactly what the records hold, in every shape and order."""

import io
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.test_build_records import read_all
from tfcaption import input_pipeline
from tfcaption.records import END, PAD, START, RecordError


def batches(folder, info, split="train", **options):
    options = {"batch_size_photos": 8, "length_buckets": input_pipeline.bucket_lengths(info, [13, 15])} | options
    return list(input_pipeline.batches(folder, info, split, **options).as_numpy_iterator())


def captions_of(batch, row):
    return [[int(t) for t in caption if t != PAD] for caption in batch["tokens"][row] if caption.any()]


@pytest.mark.parametrize("shuffle_seed", [None, 5])
def test_an_epoch_gives_every_photo_once_with_all_its_captions_and_pixels(sample_records, info, shuffle_seed):
    _, found = read_all(sample_records)
    seen = {}
    for batch in batches(sample_records, info, shuffle_seed=shuffle_seed):
        for row, photo in enumerate(batch["photo_id"]):
            if photo:
                assert photo.decode() not in seen
                seen[photo.decode()] = captions_of(batch, row)
                pixels = np.asarray(Image.open(io.BytesIO(found[photo.decode()][1].jpeg)))
                assert np.array_equal(batch["image"][row], pixels)
    assert seen == {name: record.token_ids for name, (split, record) in found.items() if split == "train"}


def test_batches_are_full_and_padded_to_few_lengths(sample_records, info):
    found = batches(sample_records, info)
    shapes = {batch["tokens"].shape for batch in found}
    assert shapes <= {(8, 5, length) for length in (13, 15, info.max_length)} and len(shapes) > 1
    for batch in found:
        real = batch["tokens"] != PAD
        assert batch["image"].shape == (8, 32, 32, 3) and batch["image"].dtype == np.uint8
        assert (real[..., 1:] <= real[..., :-1]).all()  # padding comes last
        assert not batch["tokens"][batch["photo_id"] == b""].any()
        longest = real.sum(-1).max()
        assert longest <= batch["tokens"].shape[-1]
        assert longest > max([b for b in (0, 13, 15) if b < batch["tokens"].shape[-1]])  # the shortest that fits


def test_targets_are_the_inputs_shifted_by_one(sample_records, info):
    for batch in batches(sample_records, info):
        inputs, targets = batch["tokens"][..., :-1], batch["tokens"][..., 1:]
        assert np.array_equal(inputs[..., 1:], targets[..., :-1])
        assert not (targets == START).any()
        real = batch["tokens"].any(-1)
        assert (inputs[..., 0][real] == START).all() and ((targets == END).sum(-1) == real).all()


def order(found):
    return [photo for batch in found for photo in batch["photo_id"] if photo]


def test_the_same_seed_gives_the_same_batches_and_another_seed_another_order(sample_records, info):
    first, again = (batches(sample_records, info, shuffle_seed=1) for _ in range(2))
    assert all(np.array_equal(a[key], b[key]) for a, b in zip(first, again, strict=True) for key in a)
    other = batches(sample_records, info, shuffle_seed=2)
    assert order(other) != order(first) and sorted(order(other)) == sorted(order(first))


def test_one_caption_is_drawn_anew_each_epoch_and_is_one_of_the_photo_s(sample_records, info):
    _, found = read_all(sample_records)
    drawn = []
    for seed in (1, 2):
        epoch = {}
        for batch in batches(sample_records, info, captions="one", shuffle_seed=seed):
            assert batch["tokens"].shape[1] == 1
            for row, photo in enumerate(batch["photo_id"]):
                if photo:
                    (epoch[photo.decode()],) = captions_of(batch, row)
        assert all(caption in found[name][1].token_ids for name, caption in epoch.items())
        drawn.append(epoch)
    assert drawn[0].keys() == drawn[1].keys() and drawn[0] != drawn[1]


def test_encoded_photos_can_be_left_encoded(sample_records, info):
    (batch, *_) = batches(sample_records, info, decode=False)
    assert "image" not in batch and batch["jpeg"][0].startswith(b"\xff\xd8")


def test_shuffling_buffers_serialized_records_never_decoded_photos(sample_records, info, monkeypatch):
    shuffled = []
    monkeypatch.setattr(
        tf.data.Dataset,
        "shuffle",
        lambda self, *args, original=tf.data.Dataset.shuffle, **options: (
            shuffled.append(self.element_spec) or original(self, *args, **options)
        ),
    )
    batches(sample_records, info, shuffle_seed=1)
    assert len(shuffled) == 2 and all(spec == tf.TensorSpec((), tf.string) for spec in shuffled)


def test_a_missing_or_changed_shard_and_an_unknown_split_are_clear_errors(sample_records, info, tmp_path):
    copy = shutil.copytree(sample_records, tmp_path / "copy")
    shard = copy / info.splits["dev"].shards[0].name
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(RecordError, match=rf"{shard.name}: .* bytes, dataset.json says"):
        batches(copy, info, "dev")
    shard.unlink()
    with pytest.raises(RecordError, match="no such file"):
        batches(copy, info, "dev")
    with pytest.raises(RecordError, match="no split 'val'.*train, dev, test"):
        batches(copy, info, "val")


def test_buckets_end_with_the_longest_caption(info):
    assert input_pipeline.bucket_lengths(info, [12, 10, 10, 99]) == [10, 12, info.max_length]
    assert input_pipeline.bucket_lengths(info, []) == [info.max_length]
