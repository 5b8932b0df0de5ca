"""Random views of photos: another one in each epoch, from nothing but the seed, the photo and the epoch."""

import io
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.support.records import read_all
from tests.support.splits import WAYS, batches_of, captions_of, opened
from tfcaption.input_pipeline.split import batches_per_epoch, open_split
from tfcaption.preprocessing.augmented_views import random_views
from tfcaption.records.dataset import Dataset
from tfcaption.records.vocabulary import SPECIAL_TOKENS, Vocabulary, load_vocabulary

OPTIONS = {"batch_size_photos": 8, "shuffle_seed": 3, "epochs": 2, "augment_seed": 3}


@pytest.fixture(scope="module")
def red_and_blue(sample_records):
    """Tokens to swap in place of left and right, which the sample does not say."""
    words = load_vocabulary(sample_records).words
    return words.index("red"), words.index("blue")


def epochs_of(split, **options):
    """Of each epoch: photo -> its pixels and captions."""
    options = OPTIONS | options
    size, epochs = options["batch_size_photos"], []
    for index, batch in enumerate(batches_of(split, **options).as_numpy_iterator()):
        if index % batches_per_epoch(split, size) == 0:
            epochs.append({})
        for row, photo in enumerate(batch["photo_id"]):
            if photo:
                assert photo not in epochs[-1]
                epochs[-1][photo] = (batch["inputs"][row].tobytes(), captions_of(batch, row))
    return epochs


@WAYS
def test_each_epoch_shows_each_photo_in_the_view_of_that_epoch_with_left_and_right_swapped_where_mirrored(
    sample_records, info, red_and_blue, cache
):
    _, found = read_all(sample_records)
    red, blue = red_and_blue
    subject = replace(opened(sample_records, info, cache=cache), left_right=red_and_blue)
    swapped_captions = 0
    for epoch, shown in enumerate(epochs_of(subject)):
        assert {name.decode() for name in shown} == {name for name, (split, _) in found.items() if split == "train"}
        names = list(shown)
        views = random_views(tf.constant(names), seed=3, epoch=tf.constant(epoch, tf.int64), size=(32, 32))
        for name, window, mirrored in zip(names, views.windows.numpy(), views.mirrored.numpy(), strict=True):
            record = found[name.decode()][1]
            top, left, height, width = window
            photo = Image.open(io.BytesIO(record.jpeg)).crop((left, top, left + width, top + height))
            pixels = np.asarray(photo.resize((32, 32), Image.Resampling.BILINEAR))[:, :: -1 if mirrored else 1]
            inputs = np.frombuffer(shown[name][0], np.uint8).reshape(32, 32, 3)
            assert np.abs(inputs.astype(int) - pixels).max() <= 1
            swap = {red: blue, blue: red} if mirrored else {}
            expected = [[swap.get(token, token) for token in caption] for caption in record.token_ids]
            assert shown[name][1] == expected
            swapped_captions += sum(a != b for a, b in zip(expected, record.token_ids, strict=True))
    assert swapped_captions > 5


@WAYS
def test_two_epochs_differ_the_same_again_is_equal_and_any_position_goes_on(sample_records, info, cache):
    subject = opened(sample_records, info, cache=cache)
    first, second = epochs_of(subject)
    assert sum(first[name][0] == second[name][0] for name in first) <= 1  # few of the crops of 32 pixels are equal
    assert epochs_of(subject) == [first, second] != epochs_of(subject, augment_seed=4)
    whole = list(batches_of(subject, **OPTIONS).as_numpy_iterator())
    for position in (2, batches_per_epoch(subject, 8) + 1):
        rest = list(batches_of(subject, **OPTIONS, position=position).as_numpy_iterator())
        assert all(np.array_equal(a[k], b[k]) for a, b in zip(rest, whole[position:], strict=True) for k in a)


def test_memory_order_batch_size_and_hosts_change_no_view(sample_records, info, red_and_blue):
    def shown(cache=False, host=0, hosts=1, **options):
        split = opened(sample_records, info, cache=cache, host=host, hosts=hosts)
        return epochs_of(replace(split, left_right=red_and_blue), **options)

    expected = shown()
    assert shown(cache=True) == expected
    assert shown(cache=True, batch_size_photos=5, shuffle_seed=None) == expected
    assert shown(batch_size_photos=5, shuffle_seed=8) == expected
    shares = [shown(host=host, hosts=2) for host in range(2)]
    assert [one | other for one, other in zip(*shares, strict=True)] == expected


def test_photos_swap_the_left_and_right_of_their_vocabulary(sample_records, info):
    for words, expected in ((["right", "a", "left"], (6, 4)), (["right"], ())):
        dataset = Dataset(info, Vocabulary([*SPECIAL_TOKENS, *words]), sample_records)
        assert open_split("train", dataset, buckets=1).left_right == expected
