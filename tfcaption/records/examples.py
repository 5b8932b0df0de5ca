"""One photo as a `tf.train.Example`: the keys of a record, encoding and decoding."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel

from tfcaption.records.tfrecord import Example, RecordError, parse_example

PHOTO_ID = "photo/id"  # bytes
PHOTO_JPEG = "photo/jpeg"  # bytes, image_size x image_size x RGB
CAPTIONS_TEXT = "captions/text"  # bytes list: the raw captions
CAPTIONS_TOKENS = "captions/tokens"  # int64 list: the token ids of all captions, concatenated
CAPTIONS_LENGTHS = "captions/lengths"  # int64 list: tokens of each caption, with <start> and <end>
# bytes, in a feature record instead of photo/jpeg: little-endian float16 in the shape of `features.json`; where the
# number of regions varies, only those that the photo has
FEATURES = "features"
PHOTO_VIEW = "photo/view"  # int64, only in feature records of an augmented view: its number, from 1 on
# bytes list, only where results call a photo by another id than its name: its numbers in COCO's `images`, as text
SOURCE_IDS = "photo/source_ids"

Stage = Literal["photo", "trunk", "map", "pooled"]
Precision = Literal["float32", "bfloat16"]  # of an encoder's arithmetic; its features are float16
"""A stage of the encoder: pixels, the layer below which nothing trains (`conv5_block1_out` of ResNet50), the last map
of regions (`conv5_block3_out`), or the mean of the latter over its regions."""


class PhotoRecord(BaseModel):
    """One photo with all its captions: the content of one record."""

    photo_id: str
    jpeg: bytes
    captions: list[str]
    token_ids: list[list[int]]  # one list per caption, from <start> to <end>
    source_ids: list[str] = []


def encode_record(record: PhotoRecord) -> bytes:
    """Serialise one photo as a `tf.train.Example`; equal records give equal bytes."""
    example = Example()
    feature = example.features.feature
    feature[PHOTO_ID].bytes_list.value.append(record.photo_id.encode())
    feature[PHOTO_JPEG].bytes_list.value.append(record.jpeg)
    feature[CAPTIONS_TEXT].bytes_list.value.extend(caption.encode() for caption in record.captions)
    feature[CAPTIONS_TOKENS].int64_list.value.extend(token for ids in record.token_ids for token in ids)
    feature[CAPTIONS_LENGTHS].int64_list.value.extend(len(ids) for ids in record.token_ids)
    if record.source_ids:  # other records keep the bytes that they always had
        feature[SOURCE_IDS].bytes_list.value.extend(name.encode(errors="replace") for name in record.source_ids)
    return example.SerializeToString(deterministic=True)


def decode_record(serialized: bytes) -> PhotoRecord:
    """Parse one record; the inverse of `encode_record`.

    Raises:
        RecordError: a key is missing, or the lengths do not add up to the number of tokens.
    """
    feature = parse_example(serialized)
    missing = {PHOTO_ID, PHOTO_JPEG, CAPTIONS_TEXT, CAPTIONS_TOKENS, CAPTIONS_LENGTHS} - set(feature)
    if missing:
        raise RecordError(f"keys missing in a record: {', '.join(sorted(missing))}")
    captions, token_ids = _texts(feature, CAPTIONS_TEXT), _token_ids(feature)
    if len(captions) != len(token_ids):
        raise RecordError(f"a record has {len(captions)} captions, but token ids of {len(token_ids)}")
    return PhotoRecord(
        photo_id=_photo_id(feature),
        jpeg=_one(feature, PHOTO_JPEG),
        captions=captions,
        token_ids=token_ids,
        source_ids=_texts(feature, SOURCE_IDS),
    )


def captions_of(serialized: bytes) -> tuple[str, list[str]]:
    """Photo id and raw captions of a photo record or feature record.

    Raises:
        RecordError: the record is neither.
    """
    feature = parse_example(serialized)
    return _photo_id(feature), _texts(feature, CAPTIONS_TEXT)


def ids_of(serialized: bytes) -> tuple[str, list[str]]:
    """Photo id and source ids of a photo record or feature record.

    Raises:
        RecordError: the record is neither.
    """
    feature = parse_example(serialized)
    return _photo_id(feature), _texts(feature, SOURCE_IDS)


def token_ids_of(serialized: bytes) -> list[list[int]]:
    """Token ids of each caption of a photo record or feature record, from <start> to <end>.

    Raises:
        RecordError: the record is neither.
    """
    return _token_ids(parse_example(serialized))


def _token_ids(feature: Any) -> list[list[int]]:
    tokens = list(feature[CAPTIONS_TOKENS].int64_list.value)
    lengths = list(feature[CAPTIONS_LENGTHS].int64_list.value)
    if sum(lengths) != len(tokens) or min(lengths, default=0) < 0:
        raise RecordError(f"a record has captions of {lengths} tokens, but {len(tokens)} tokens")
    ends = itertools.accumulate(lengths)
    return [tokens[start:end] for start, end in itertools.pairwise([0, *ends])]


def _photo_id(feature: Any) -> str:
    _one(feature, PHOTO_ID)
    return _texts(feature, PHOTO_ID)[0]


def _one(feature: Any, key: str) -> bytes:
    values = feature[key].bytes_list.value
    if len(values) != 1:
        raise RecordError(f"a record has {len(values)} values of {key} instead of one")
    return values[0]


def _texts(feature: Any, key: str) -> list[str]:
    try:
        return [value.decode() for value in feature[key].bytes_list.value]
    except UnicodeDecodeError as error:
        raise RecordError(f"{key} of a record is not UTF-8: {error}") from error


def photo_of(serialized: bytes) -> tuple[str, bytes]:
    """Photo id and JPEG of a photo record.

    Raises:
        RecordError: the record is not a photo record.
    """
    feature = parse_example(serialized)
    if PHOTO_JPEG not in feature:
        raise RecordError(f"a record has no {PHOTO_JPEG}: build_records did not write it")
    return _photo_id(feature), _one(feature, PHOTO_JPEG)


def inputs_of(serialized: bytes, stage: Stage) -> tuple[str, bytes]:
    """Photo id, and the JPEG of a photo record or the features of a feature record.

    Raises:
        RecordError: the record is not of the stage's kind.
    """
    if stage == "photo":
        return photo_of(serialized)
    feature = parse_example(serialized)
    return _photo_id(feature), _stored(feature)


def features_of(serialized: bytes) -> bytes:
    """The features of a feature record, as stored.

    Raises:
        RecordError: the record is not a feature record.
    """
    return _stored(parse_example(serialized))


def _stored(feature: Any) -> bytes:
    if FEATURES not in feature:
        raise RecordError(f"a record has no {FEATURES}: extract_features did not write it")
    return _one(feature, FEATURES)


def feature_record(serialized: bytes, features: bytes, view: int = 0) -> bytes:
    """A copy of a photo record or feature record in which float16 features replace its JPEG or features.

    Args:
        serialized: the photo record, or a feature record of the same view.
        features: of the view.
        view: 0 for the photo itself.
    """
    example = Example.FromString(serialized)
    for key in (PHOTO_JPEG, FEATURES):
        if key in example.features.feature:
            del example.features.feature[key]
    example.features.feature[FEATURES].bytes_list.value.append(features)
    if view:
        example.features.feature[PHOTO_VIEW].int64_list.value[:] = [view]
    return example.SerializeToString(deterministic=True)


def features_size(shape: Sequence[int]) -> int:
    """Bytes of the float16 features of a photo."""
    return 2 * math.prod(shape)


def size_problem(held: int, shape: Sequence[int], *, varying: bool = False) -> str | None:
    """What is wrong with the size of stored features, such as `6 bytes of features, not the 8`; None: nothing.

    Args:
        held: bytes of the features in a record.
        shape: of one photo's features.
        varying: whether a photo may have fewer regions than `shape` says.
    """
    size, region = features_size(shape), features_size(shape[-1:])
    if held == size or (varying and 0 < held < size and held % region == 0):
        return None
    expected = f"1 to {shape[0]:,} regions of {region:,} bytes each" if varying else f"the {size:,}"
    return f"{held:,} bytes of features, not {expected}"
