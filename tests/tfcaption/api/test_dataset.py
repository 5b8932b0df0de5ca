"""`dataset`: what the records hold, in the forms that models of one's own take."""

import keras
import numpy as np
import pytest

import tfcaption
from tests.support.features import all_views, with_views
from tfcaption.records.reading import read_records
from tfcaption.records.tfrecord import RecordError, parse_example
from tfcaption.runtime.errors import UsageError


def stored(records, split="train"):
    """Photo id -> its captions as token ids, read without TensorFlow."""
    found = {}
    for record in read_records(sorted(str(path) for path in records.glob(f"{split}-*.tfrecord"))):
        example = parse_example(record)
        lengths = example["captions/lengths"].int64_list.value
        tokens, ends = example["captions/tokens"].int64_list.value, np.cumsum(lengths)
        found[example["photo/id"].bytes_list.value[0].decode()] = [
            list(tokens[end - length : end]) for length, end in zip(lengths, ends, strict=True)
        ]
    return found


def as_dictionary(batches):
    found = {}
    for batch in batches:
        assert len(batch["photo_id"]) == len(batch["inputs"]) == len(batch["tokens"]) > 0
        for photo, captions in zip(batch["photo_id"].numpy(), batch["tokens"].numpy(), strict=True):
            assert photo.decode() not in found
            found[photo.decode()] = [[int(t) for t in caption if t] for caption in captions if caption.any()]
    return found


@pytest.mark.parametrize("split", ["train", "dev"])
def test_an_iteration_holds_every_photo_once_with_its_captions(sample_records, split):
    data = tfcaption.dataset(sample_records, split, batch_size=7)
    expected = stored(sample_records, split)
    assert as_dictionary(data) == expected
    assert data.cardinality() == -(-len(expected) // 7) and data.info.photos[split] == len(expected)


def test_each_iteration_has_an_order_of_its_own_and_a_seed_repeats_them(sample_records):
    def orders(seed, process_seed=5, **options):
        keras.utils.set_random_seed(process_seed)
        data = tfcaption.dataset(sample_records, "train", batch_size=8, seed=seed, **options)
        return [[photo for batch in data for photo in batch["photo_id"].numpy()] for _ in range(2)]

    first, second = orders(0)
    assert first != second and sorted(first) == sorted(second)
    assert orders(0) == orders(0, process_seed=6) == [first, second] != orders(1)
    plain, again = orders(0, shuffle=False)
    assert plain == again != first


def test_one_caption_of_each_photo_changes_between_iterations(sample_records):
    data = tfcaption.dataset(sample_records, "train", batch_size=16, captions="one")
    found, expected = [as_dictionary(data) for _ in range(3)], stored(sample_records)
    assert all(len(captions) == 1 and captions[0] in expected[photo] for photo, captions in found[0].items())
    assert found[0].keys() == expected.keys() and not (found[0] == found[1] == found[2])


def test_features_come_as_float32_with_the_records_they_are_of(sample_records, small_pooled, tmp_path):
    data = tfcaption.dataset(small_pooled, "dev", batch_size=4, records=sample_records)
    batch = next(iter(data))
    assert batch["inputs"].dtype == "float32" and batch["inputs"].shape[1:] == data.info.shape == (24,)
    assert data.info.stage == "pooled"
    with pytest.raises(UsageError, match="add records=FOLDER"):
        tfcaption.dataset(small_pooled, "dev", batch_size=4)
    with pytest.raises(RecordError, match="dataset.json is missing"):
        tfcaption.dataset(tmp_path, batch_size=4)


def test_encode_and_decode_are_those_of_the_records(sample_records):
    info = tfcaption.dataset(sample_records, "dev", batch_size=4).info
    for captions in stored(sample_records, "dev").values():
        texts = [" ".join(info.vocabulary[token] for token in caption[1:-1]) for caption in captions]
        assert info.encode(texts) == captions and info.encode(texts[0]) == captions[0]
        assert info.decode(captions[0]) == texts[0] and info.decode([captions[0]]) == [texts[0]]
    assert info.encode("zyzzyva")[1] == info.vocabulary.index("<oov>")


def test_keras_fit_trains_a_model_of_ten_lines(sample_records, small_pooled):
    data = tfcaption.dataset(small_pooled, batch_size=16, records=sample_records, as_supervised=True)
    (inputs, tokens), targets = next(iter(data))
    assert len(inputs) == len(tokens) == len(targets) > 16  # a row for each caption
    after = targets.numpy()[:, 1:] > 0  # the last target, <end>, is the input of none
    np.testing.assert_array_equal(tokens.numpy()[:, 1:][after], targets.numpy()[:, :-1][after])

    words = len(data.info.vocabulary)
    photo, previous = keras.Input(data.info.shape), keras.Input((None,), dtype="int32")
    state = keras.layers.Dense(32)(photo)
    hidden = keras.layers.GRU(32, return_sequences=True)(
        keras.layers.Embedding(words, 16)(previous), initial_state=state
    )
    model = keras.Model([photo, previous], keras.layers.Dense(words)(hidden))
    model.compile(
        keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0)
    )
    losses = model.fit(data, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]


def test_the_pipeline_of_training_is_what_it_was(sample_records):
    """An epoch by its number is the epoch at its position."""
    import tensorflow as tf

    from tfcaption.input_pipeline.batches import make_batches
    from tfcaption.input_pipeline.options import NO_CACHE, BatchOptions, CachePolicy
    from tfcaption.input_pipeline.split import batches_per_epoch, open_split
    from tfcaption.records.dataset import load_dataset

    for cache in (CachePolicy(True), NO_CACHE):
        split = open_split("train", load_dataset(sample_records), buckets=2, cache=cache)
        options = BatchOptions(8, shuffle_seed=3, epochs=3)
        count = batches_per_epoch(split, 8)
        third = make_batches(split, options, position=2 * count)
        named = make_batches(split, options, epochs=tf.data.Dataset.from_tensors(tf.constant(2, tf.int64)))
        for left, right in zip(third, named, strict=True):
            np.testing.assert_array_equal(left["tokens"], right["tokens"])


def test_of_features_in_several_views_an_iteration_shows_one_of_each_photo_or_the_photo_as_it_is(
    sample_records, small_pooled, tmp_path
):
    views, stored_views = with_views(small_pooled, tmp_path / "views", 2), all_views(tmp_path / "views")

    def shown(**options):
        data = tfcaption.dataset(views, batch_size=16, records=sample_records, **options)
        for batch in [batch for _ in range(3) for batch in data]:
            for photo, inputs in zip(batch["photo_id"].numpy(), batch["inputs"].numpy(), strict=True):
                yield stored_views[photo.decode()].index(inputs.astype(np.float16).tobytes())

    assert set(shown()) == {0, 1} and set(shown(shuffle=False)) == {0}
