"""TFRecord files of `tf.train.Example`s, read and written without TensorFlow, so that no worker pays its import."""

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


class RecordError(ValueError):
    """A record, shard or description of them that breaks the contract; the message names the file."""


def _example_class() -> Any:
    """The protocol buffer `tensorflow.Example`, declared here so that no TensorFlow import is needed.

    Field numbers are those of tensorflow/core/example/{example,feature}.proto; the bytes are the same.
    """
    file = descriptor_pb2.FileDescriptorProto(name="tfcaption_example.proto", package="tfcaption", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto

    def message(name: str, parent: Any = None) -> Any:
        return (parent.nested_type if parent else file.message_type).add(name=name)

    def add(target: Any, name: str, number: int, kind: int, *, repeated: bool = False, of: str = "") -> Any:
        label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
        return target.field.add(
            name=name, number=number, type=kind, label=label, type_name=f".tfcaption.{of}" if of else None
        )

    for name, kind in (
        ("BytesList", field.TYPE_BYTES),
        ("FloatList", field.TYPE_FLOAT),
        ("Int64List", field.TYPE_INT64),
    ):
        add(message(name), "value", 1, kind, repeated=True)
    feature = message("Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, of) in enumerate(
        (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")), start=1
    ):
        add(feature, name, number, field.TYPE_MESSAGE, of=of).oneof_index = 0
    features = message("Features")
    entry = message("FeatureEntry", features)
    entry.options.map_entry = True
    add(entry, "key", 1, field.TYPE_STRING)
    add(entry, "value", 2, field.TYPE_MESSAGE, of="Feature")
    add(features, "feature", 1, field.TYPE_MESSAGE, repeated=True, of="Features.FeatureEntry")
    add(message("Example"), "features", 1, field.TYPE_MESSAGE, of="Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tfcaption.Example"))


Example = _example_class()


def parse_example(serialized: bytes) -> Any:
    """The features of a serialised `tf.train.Example`, by name.

    Raises:
        RecordError: it is none.
    """
    try:
        return Example.FromString(serialized).features.feature
    except Exception as error:
        raise RecordError(f"not a tf.train.Example: {error}") from error


def _masked_crc(data: bytes) -> int:
    """CRC-32C, rotated and offset as TFRecord files store it (tensorflow/core/lib/hash/crc32c.h)."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame_record(data: bytes) -> bytes:
    """One record as it stands in a TFRecord file: length, its CRC, the data, its CRC."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, struct.pack("<I", _masked_crc(length)), data, struct.pack("<I", _masked_crc(data))))


def read_frames(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield the records of an open TFRecord file, checking both CRCs of each.

    Raises:
        RecordError: the file `name` is cut short or a CRC does not match; says at which record.
    """
    index = 0
    while header := stream.read(12):
        if len(header) < 12 or struct.unpack("<I", header[8:])[0] != _masked_crc(header[:8]):
            raise RecordError(f"{name}: record {index} has a damaged header; rebuild this shard")
        (length,) = struct.unpack("<Q", header[:8])
        data, footer = stream.read(length), stream.read(4)
        if len(data) < length or len(footer) < 4:
            raise RecordError(f"{name}: cut short in record {index}; rebuild this shard")
        if struct.unpack("<I", footer)[0] != _masked_crc(data):
            raise RecordError(f"{name}: record {index} fails its checksum; rebuild this shard")
        yield data
        index += 1
