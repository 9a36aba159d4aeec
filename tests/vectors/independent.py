"""A second writer and reader of the online store's format, written from FORMAT.md alone: struct, hashlib and no numpy.

Values are as in online_format.json: whole numbers of 64 bits as decimal text, floats as the hexadecimal digits of their
bits, vectors and lists as lists of those, null as None.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Any

Feature = tuple[str, str]
"""Name and layout, such as ("age", "INT64")."""

_SLOTS = {"INT64": "q", "TIMESTAMP": "q", "FLOAT64": "Q", "FLOAT32": "I", "BOOL": "B"}
_TAILS = ("STRING", "INT64_LIST", "STRING_LIST")
_ESCAPED = {*range(0x21), 0x7F, *b"%:{}*?[]\\^\"'~"}
_HEADER = "<BBHIqq"
HEADER_BYTES = 24


def crc32(data: bytes) -> int:
    """CRC-32/ISO-HDLC, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def crc16(data: bytes) -> int:
    """CRC-16/XMODEM, which Redis Cluster hashes tags with."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
    return crc


def escape(text: str) -> bytes:
    """Write an id as it stands in a key."""
    return b"".join(b"%%%02X" % byte if byte in _ESCAPED else bytes([byte]) for byte in text.encode())


def key(entities: Sequence[tuple[str, int | None]], ids: Sequence[str], view: str, version: int) -> bytes:
    """Make the key of a row; entities are (name, spread)."""
    spread = entities[0][1]
    escaped = [escape(text) for text in ids]
    if spread is None:
        tag, rest = escaped[0], escaped[1:]
    else:
        tag, rest = b"~%d" % (crc32(ids[0].encode()) % spread), escaped
    names = "+".join(name for name, _ in entities).encode()
    return b":".join([b"fs:{%s}" % tag, names, *rest, view.encode(), b"v%d" % version])


def slot(of: bytes) -> int:
    """Tell the cluster slot of a key."""
    return crc16(of[of.index(b"{") + 1 : of.index(b"}")]) % 16_384


def fingerprint(features: Sequence[Feature]) -> int:
    """Tell the fingerprint of features in order."""
    text = "".join(f"{name}:{layout}\n" for name, layout in features)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def sha1(row: bytes) -> str:
    """Tell what decides between rows of equal times."""
    return hashlib.sha1(row, usedforsecurity=False).hexdigest()


def tombstone(event: int, write: int) -> bytes:
    """Make the row of a deleted entity."""
    return struct.pack(_HEADER, 1, 1, 0, 0, event, write)


def _bits(layout: str, value: Any) -> int:  # noqa: ANN401  # a value of any type
    return int(value, 16) if layout.startswith("FLOAT") else int(value)


def _dimension(layout: str) -> int:
    return int(layout[len("VECTOR[") : -1])


def _width(layout: str) -> int:
    if layout.startswith("VECTOR"):
        return 4 * _dimension(layout)
    return struct.calcsize("<" + _SLOTS.get(layout, "II"))


def _tail_of(layout: str, value: Any) -> bytes:  # noqa: ANN401  # a value of any type
    if layout == "STRING":
        return bytes(value.encode())
    if layout == "INT64_LIST":
        return struct.pack(f"<{len(value)}q", *map(int, value))
    items = [item.encode() for item in value]
    return struct.pack(f"<{len(items) + 1}I", len(items), *map(len, items)) + b"".join(items)


def encode(features: Sequence[Feature], event: int, write: int, values: Sequence[Any]) -> bytes:
    """Make a row."""
    bitmap = bytearray((len(features) + 7) // 8)
    fixed, tail = b"", b""
    start = HEADER_BYTES + len(bitmap) + sum(_width(layout) for _, layout in features)
    for index, ((_, layout), value) in enumerate(zip(features, values, strict=True)):
        if value is not None:
            bitmap[index // 8] |= 1 << index % 8
        if layout in _TAILS:
            piece = b"" if value is None else _tail_of(layout, value)
            fixed += struct.pack("<II", start + len(tail), len(piece))
            tail += piece
        elif value is None:
            fixed += bytes(_width(layout))
        elif layout.startswith("VECTOR"):
            fixed += b"".join(struct.pack("<I", int(component, 16)) for component in value)
        else:
            fixed += struct.pack("<" + _SLOTS[layout], _bits(layout, value))
    header = struct.pack(_HEADER, 1, 0, len(features), fingerprint(features), event, write)
    return header + bytes(bitmap) + fixed + tail


CORRUPT, DELETED, UNKNOWN = "corrupt", "deleted", "unknown"


def decode(features: Sequence[Feature], row: bytes) -> str | tuple[int, list[Any]]:
    """Read a row: CORRUPT, DELETED, or its event time and values, with UNKNOWN for features that it does not hold."""
    if len(row) < HEADER_BYTES or row[0] != 1 or row[1] > 1:
        return CORRUPT
    _, flags, count, mark, event, _ = struct.unpack_from(_HEADER, row)
    if flags == 1:
        return DELETED if len(row) == HEADER_BYTES else CORRUPT
    if count <= len(features) and mark != fingerprint(features[:count]):
        return CORRUPT
    shared = features[:count]
    at = HEADER_BYTES + (count + 7) // 8
    tail = at + sum(_width(layout) for _, layout in shared) + max(count - len(features), 0)
    has_tail = count > len(features) or any(layout in _TAILS for _, layout in shared)
    if len(row) < tail or (len(row) > tail and not has_tail):
        return CORRUPT
    values: list[Any] = []
    for index, (_, layout) in enumerate(shared):
        present = row[HEADER_BYTES + index // 8] >> index % 8 & 1
        try:
            values.append(_value(layout, row, at, tail) if present else None)
        except (ValueError, struct.error):
            return CORRUPT
        at += _width(layout)
    return event, values + [UNKNOWN] * (len(features) - len(shared))


def _value(layout: str, row: bytes, at: int, tail: int) -> Any:  # noqa: ANN401  # a value of any type
    """Read the value whose slot is at ``at``; raises ValueError or struct.error where it is none."""
    if layout in _TAILS:
        start, length = struct.unpack_from("<II", row, at)
        if start < tail or start + length > len(row):
            raise ValueError(start)
        return _from_tail(layout, row[start : start + length])
    if layout.startswith("VECTOR"):
        return [f"{bits:08x}" for bits in struct.unpack_from(f"<{_dimension(layout)}I", row, at)]
    (bits,) = struct.unpack_from("<" + _SLOTS[layout], row, at)
    if layout == "BOOL":
        return bits != 0
    return f"{bits:0{2 * _width(layout)}x}" if layout.startswith("FLOAT") else str(bits)


def _from_tail(layout: str, data: bytes) -> Any:  # noqa: ANN401  # a value of any type
    if layout == "STRING":
        return data.decode()
    if layout == "INT64_LIST":
        return [str(number) for (number,) in struct.iter_unpack("<q", data)]
    (count,) = struct.unpack_from("<I", data)
    lengths = struct.unpack_from(f"<{count}I", data, 4)
    at = 4 + 4 * count
    if at + sum(lengths) != len(data):
        raise ValueError(lengths)
    items = []
    for length in lengths:
        items.append(data[at : at + length].decode())
        at += length
    return items
