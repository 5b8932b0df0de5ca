"""SentencePiece models for tests, written as the protocol buffers that they are."""

import struct

_KINDS = {"<unk>": 2, "<s>": 3, "</s>": 3}


def _field(number, wire, payload):
    return bytes([number << 3 | wire]) + payload


def _message(number, payload):
    length, size = b"", len(payload)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return _field(number, 2, length + bytes([size]) + payload)


def model_of(pieces, *, byte_fallback=False):
    """A unigram model of these pieces, the longer ones the more probable, after <unk>, <s> and </s>."""
    kinds = {**dict.fromkeys(pieces, 1), **_KINDS}
    named = [*_KINDS, *pieces]
    if byte_fallback:
        bytes_of = [f"<0x{byte:02X}>" for byte in range(256)]
        named, kinds = named + bytes_of, kinds | dict.fromkeys(bytes_of, 6)
    encoded = b"".join(
        _message(
            1,
            _message(1, name.encode())
            + _field(2, 5, struct.pack("<f", 0 if kinds[name] > 1 else -9 / len(name)))
            + _field(3, 0, bytes([kinds[name]])),
        )
        for name in named
    )
    trainer = bytes([35 << 3 & 127 | 128, 35 >> 4, int(byte_fallback)])  # field 35
    return encoded + _message(2, trainer)
