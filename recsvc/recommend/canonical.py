"""One byte string for each value: what is hashed to tell whether two requests ask for the same.

Serialized messages will not do, for they are not canonical (the same message has more than one form). Here each value
is a letter for its type and its bytes, with a length before them; the entries of mappings and sets are sorted.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from recsvc.registry.types import INT64_MAX, INT64_MIN

_NAN = struct.pack(">d", math.nan)


def canonical(value: object) -> bytes:
    """Return the bytes of a value; equal values of the same types have equal bytes, all others different ones.

    Takes None, bool, int, float, str, bytes, enums, dataclasses, and sequences, sets and mappings of them; a list and a
    tuple are the same. -0.0 and 0.0 are not; every NaN is. Raises TypeError for anything else.
    """
    return b"".join(_parts(value))


def _parts(value: object) -> Iterator[bytes]:
    match value:
        case None:
            yield b"n"
        case Enum():  # before numbers and texts, for there are enums of them
            yield _framed(b"e", f"{type(value).__name__}.{value.name}".encode())
        case bool():
            yield b"t" if value else b"f"
        case int():
            yield _framed(b"i", b"%d" % value)
        case float():
            yield b"d" + (_NAN if math.isnan(value) else struct.pack(">d", value))
        case str():
            yield _framed(b"s", _utf8(value))
        case bytes():
            yield _framed(b"b", value)
        case _:
            yield from _parts_of_many(value)


def _parts_of_many(value: object) -> Iterator[bytes]:
    match value:
        case Mapping():
            entries = sorted(canonical(k) + canonical(v) for k, v in value.items())
            yield b"m%d:" % len(entries)
            yield from entries
        case AbstractSet():
            yield b"u%d:" % len(value)
            yield from _elements(sorted(value)) if _kinds(value) == {str} else sorted(map(canonical, value))
        case Sequence():
            yield b"l%d:" % len(value)
            yield from _elements(value)
        case _ if is_dataclass(value) and not isinstance(value, type):
            yield _framed(b"c", type(value).__name__.encode())
            yield canonical([getattr(value, f.name) for f in fields(value)])
        case _:
            raise TypeError(f"a {type(value).__name__} has no canonical bytes; give plain values")


def _elements(values: Sequence[object]) -> Iterator[bytes]:
    """Yield what a sequence has; the ids, texts and numbers of large requests at once."""
    at_once = _at_once(values)
    if at_once is not None:
        yield at_once
        return
    for value in values:
        yield from _parts(value)


def _at_once(values: Sequence[Any]) -> bytes | None:
    """Return the bytes of values that are all of one simple type, as many as are known: texts after their lengths."""
    kinds = _kinds(values)
    if kinds == {str}:
        return struct.pack(f">c{len(values)}I", b"S", *map(len, values)) + _utf8("".join(values))
    if kinds == {int} and min(values) >= INT64_MIN and max(values) <= INT64_MAX:
        return struct.pack(f">c{len(values)}q", b"I", *values)
    return None


def _kinds(values: Iterable[object]) -> set[type]:
    return set(map(type, values))


def _framed(letter: bytes, data: bytes) -> bytes:
    return b"%b%d:%b" % (letter, len(data), data)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
