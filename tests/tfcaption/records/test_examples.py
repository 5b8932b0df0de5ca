"""Records as `tf.train.Example`s, compared with TensorFlow's own."""

import pytest
import tensorflow as tf

from tfcaption.records.examples import PhotoRecord, decode_record, encode_record, feature_record, ids_of
from tfcaption.records.tfrecord import RecordError

RECORD = PhotoRecord(
    photo_id="é.jpg", jpeg=b"\xff\xd8 bytes \x00", captions=["A dog .", "Ein Hund"], token_ids=[[2, 4, 5, 3], [2, 1, 3]]
)


def test_records_are_the_bytes_of_a_tensorflow_example():
    data = encode_record(RECORD)
    example = tf.train.Example.FromString(data)
    assert example.SerializeToString(deterministic=True) == data
    feature = example.features.feature
    assert feature["photo/id"].bytes_list.value == ["é.jpg".encode()]
    assert feature["photo/jpeg"].bytes_list.value == [RECORD.jpeg]
    assert list(feature["captions/tokens"].int64_list.value) == [2, 4, 5, 3, 2, 1, 3]
    assert list(feature["captions/lengths"].int64_list.value) == [4, 3]
    assert feature["captions/text"].bytes_list.value == [b"A dog .", b"Ein Hund"]
    assert len(feature) == 5  # no key without a value, so that records of most layouts stay as they are


def test_a_record_keeps_the_numbers_that_results_may_use_for_its_photo():
    numbered = RECORD.model_copy(update={"source_ids": ["23431", "7"]})
    data = feature_record(encode_record(numbered), b"\0\0")
    assert ids_of(data) == ("é.jpg", ["23431", "7"]) and ids_of(encode_record(RECORD)) == ("é.jpg", [])


def test_a_feature_record_of_a_further_view_names_it_and_keeps_all_else():
    plain, second = (feature_record(encode_record(RECORD), b"\0\0", view) for view in (0, 2))
    assert plain == feature_record(encode_record(RECORD), b"\0\0") == feature_record(plain, b"\0\0")
    example = tf.train.Example.FromString(second)
    assert example.features.feature["photo/view"].int64_list.value == [2]
    del example.features.feature["photo/view"]
    assert example.SerializeToString(deterministic=True) == plain
    assert feature_record(second, b"\0\0", 2) == second  # as a later stage is made of it


def test_decode_is_the_inverse_of_encode():
    for record in (RECORD, RECORD.model_copy(update={"source_ids": ["23431"]})):
        assert decode_record(encode_record(record)) == record


def test_lengths_that_do_not_add_up_are_an_error():
    example = tf.train.Example.FromString(encode_record(RECORD))
    example.features.feature["captions/lengths"].int64_list.value[0] = 5
    with pytest.raises(RecordError, match="7 tokens"):
        decode_record(example.SerializeToString())
    with pytest.raises(RecordError, match="keys missing"):
        decode_record(tf.train.Example().SerializeToString())
