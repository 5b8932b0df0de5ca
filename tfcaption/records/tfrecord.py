"""TFRecord files of `tf.train.Example`s, read and written without TensorFlow, so that no worker pays its import."""

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tfcaption.runtime.errors import TfcaptionError


class RecordError(TfcaptionError, ValueError):
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


def _length(header: bytes) -> int | None:
    """The length that a record's header says; None for a damaged one, and for one that no example can have."""
    if len(header) < 12 or struct.unpack("<I", header[8:])[0] != _masked_crc(header[:8]):
        return None
    length = int(struct.unpack("<Q", header[:8])[0])
    return length if length < _NO_EXAMPLE else None


def _fault(data: bytes, footer: bytes, length: int) -> str | None:
    """What is wrong with a record whose header is right."""
    if len(data) < length or len(footer) < 4:
        return "is cut short"
    return None if struct.unpack("<I", footer)[0] == _masked_crc(data) else "fails its checksum"


def read_frames(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield the records of an open TFRecord file, checking both CRCs of each.

    Raises:
        RecordError: the file `name` is cut short or a CRC does not match; says at which record.
    """
    index = 0
    while header := stream.read(12):
        length = _length(header)
        if length is None:
            raise _damaged(name, index, _HEADER)
        data, footer = stream.read(length), stream.read(4)
        if fault := _fault(data, footer, length):
            raise _damaged(name, index, fault)
        yield data
        index += 1


def salvage_frames(content: bytes, name: str) -> Iterator[bytes | RecordError]:
    """Yield each record of a TFRecord file that is whole, and in the place of each damaged one what is wrong with it.

    After a damaged header reading goes on at the next one that is right.
    """
    index = position = 0
    while position < len(content):
        length = _length(content[position : position + 12])
        if length is None:
            yield _damaged(name, index, _HEADER)
            position = _next_header(content, position + 1)
        else:
            start, end = position + 12, position + 12 + length
            data, position = content[start:end], end + 4
            fault = _fault(data, content[end:position], length)
            yield _damaged(name, index, fault) if fault else data
        index += 1


_HEADER = "has a damaged header"
_NO_EXAMPLE = 2**31  # bytes: Protocol Buffers end there


def _damaged(name: str, index: int, fault: str) -> RecordError:
    return RecordError(f"{name}: record {index} {fault}; rebuild this shard")


def _next_header(content: bytes, position: int) -> int:
    """Where the next right header begins; the end of the content where there is none."""
    for start in range(position, len(content) - 15):
        # Most positions say a length that the file does not have; for the others the CRC decides.
        length = int.from_bytes(content[start : start + 8], "little")
        if start + length + 16 <= len(content) and _length(content[start : start + 12]) is not None:
            return start
    return len(content)
