"""Pieces of serialized messages, so that a reply is joined from them instead of built message by message.

A message inside a message is a tag, a length and its own bytes, as a string is; so whatever does not change from call
to call is made once. Numbers of fields come from the contract.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5
_LOW_BITS: Final = 0x7F
_MORE: Final = 0x80
_F: Final = FieldDescriptor
_WIRE_TYPES: Final = {
    _F.TYPE_DOUBLE: _FIXED64,
    _F.TYPE_FIXED64: _FIXED64,
    _F.TYPE_SFIXED64: _FIXED64,
    _F.TYPE_FLOAT: _FIXED32,
    _F.TYPE_FIXED32: _FIXED32,
    _F.TYPE_BOOL: _VARINT,
    _F.TYPE_ENUM: _VARINT,
    _F.TYPE_UINT32: _VARINT,
    _F.TYPE_STRING: _BYTES,
    _F.TYPE_MESSAGE: _BYTES,
}


def varint(number: int) -> bytes:
    """Return a number of 0 or more as it stands on the wire."""
    return _SHORT[number] if number < _SHORT_ONES else _varint(number)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > _LOW_BITS:
        out.append(number & _LOW_BITS | _MORE)
        number >>= 7
    out.append(number)
    return bytes(out)


_SHORT_ONES: Final = 1 << 14
_SHORT: Final = [_varint(number) for number in range(_SHORT_ONES)]


def tag(message: type[Message], name: str) -> bytes:
    """Return what stands before a field; a packed list has the tag of bytes."""
    field = message.DESCRIPTOR.fields_by_name[name]
    wire_type = _BYTES if field.is_repeated else _WIRE_TYPES[field.type]
    return varint(field.number << 3 | wire_type)


def sized(before: bytes, content: bytes) -> bytes:
    """Return a field of bytes, a string, a message or a packed list, tag first."""
    return before + varint(len(content)) + content


def unless_empty(before: bytes, content: bytes) -> bytes:
    """Return such a field, or nothing where it is empty: as proto3 has it."""
    return sized(before, content) if content else b""


def text(before: bytes, content: str) -> bytes:
    """Return a string field, or nothing where it is empty."""
    return unless_empty(before, content.encode())


def strings(before: bytes, items: list[bytes]) -> bytes:
    """Return a repeated string field of UTF-8."""
    if len(before) > 1 or max(map(len, items), default=0) >= _SHORT_ONES:
        return b"".join([before + varint(len(item)) + item for item in items])
    parts = [b""] * (2 * len(items))  # in two steps for all of them: half of what one for each takes
    parts[::2] = map(_STARTS[before[0]].__getitem__, map(len, items))
    parts[1::2] = items
    return b"".join(parts)


class _Starts(dict[int, list[bytes]]):
    """What stands before a string of a length, by the tag of its field; made when it is first asked for."""

    def __missing__(self, before: int) -> list[bytes]:
        self[before] = [bytes((before,)) + number for number in _SHORT]
        return self[before]


_STARTS: Final = _Starts()
