"""TFRecord files of `tf.train.Example`s, read and written without TensorFlow, which takes 4 s to import."""

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tfcaption.runtime.errors import TfcaptionError


class RecordError(TfcaptionError, ValueError):
    """An invalid record, shard or description; the message names the file."""


def _example_class() -> Any:
    """The protocol buffer `tensorflow.Example`, declared here so that TensorFlow need not be imported.

    Field numbers are from tensorflow/core/example/{example,feature}.proto, so both give the same bytes.
    """
    file = descriptor_pb2.FileDescriptorProto(name="tfcaption_example.proto", package="tfcaption", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto

    def message(name: str, parent: Any = None) -> Any:
        return (parent.nested_type if parent else file.message_type).add(name=name)

    def add(target: Any, name: str, number: int, kind: int, *, repeated: bool = False, message_type: str = "") -> Any:
        label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
        type_name = f".tfcaption.{message_type}" if message_type else None
        return target.field.add(name=name, number=number, type=kind, label=label, type_name=type_name)

    for name, kind in (
        ("BytesList", field.TYPE_BYTES),
        ("FloatList", field.TYPE_FLOAT),
        ("Int64List", field.TYPE_INT64),
    ):
        add(message(name), "value", 1, kind, repeated=True)
    feature = message("Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, message_type) in enumerate(
        (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")), start=1
    ):
        add(feature, name, number, field.TYPE_MESSAGE, message_type=message_type).oneof_index = 0
    features = message("Features")
    entry = message("FeatureEntry", features)
    entry.options.map_entry = True
    add(entry, "key", 1, field.TYPE_STRING)
    add(entry, "value", 2, field.TYPE_MESSAGE, message_type="Feature")
    add(features, "feature", 1, field.TYPE_MESSAGE, repeated=True, message_type="Features.FeatureEntry")
    add(message("Example"), "features", 1, field.TYPE_MESSAGE, message_type="Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tfcaption.Example"))


Example = _example_class()


def parse_example(serialized: bytes) -> Any:
    """The features of a serialised `tf.train.Example`, by name.

    Raises:
        RecordError: the bytes are not a `tf.train.Example`.
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
    """One record as stored in a TFRecord file: length, CRC of the length, data, CRC of the data."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, struct.pack("<I", _masked_crc(length)), data, struct.pack("<I", _masked_crc(data))))


def _length(header: bytes) -> int | None:
    """The length in a record's header; None if the header is damaged, or no example can be that long."""
    if len(header) < 12 or struct.unpack("<I", header[8:])[0] != _masked_crc(header[:8]):
        return None
    length = int(struct.unpack("<Q", header[:8])[0])
    return length if length < _MAX_EXAMPLE_BYTES else None


def _fault(data: bytes, footer: bytes, length: int) -> str | None:
    """The fault of a record with an intact header; None if the record is intact."""
    if len(data) < length or len(footer) < 4:
        return "is cut short"
    return None if struct.unpack("<I", footer)[0] == _masked_crc(data) else "fails its checksum"


def read_frames(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield the records of an open TFRecord file; checks both CRCs of each record.

    Args:
        stream: the file.
        name: its name in error messages.

    Raises:
        RecordError: the file is cut short or a CRC does not match; the message names the record.
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
    """Yield each intact record of a TFRecord file, and an error in place of each damaged record.

    After a damaged header, reading continues at the next intact header.
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
_MAX_EXAMPLE_BYTES = 2**31  # the limit of Protocol Buffers


def _damaged(name: str, index: int, fault: str) -> RecordError:
    return RecordError(f"{name}: record {index} {fault}; rebuild this shard")


def _next_header(content: bytes, position: int) -> int:
    """Position of the next intact header; the end of the content if there is none."""
    for start in range(position, len(content) - 15):
        # At most positions the length exceeds the file; at the others the CRC decides.
        length = int.from_bytes(content[start : start + 8], "little")
        if start + length + 16 <= len(content) and _length(content[start : start + 12]) is not None:
            return start
    return len(content)
