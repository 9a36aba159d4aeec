"""What a loaded value may be, one value at a time: what is right, to which ingest_columns knows shortcuts.

A rule takes what Arrow gives as a Python object (never None) and returns what a row keeps, or raises BadValueError with
a reason that can follow the column's name and a colon.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final

import numpy as np

from recsvc.online.row import pack_strings
from recsvc.registry.types import EPOCH, INT64_MAX, INT64_MIN, FeatureType, Kind

Rule = Callable[[Any], Any]

_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)
_DIGITS: Final = re.compile(r"-?[0-9]+", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_NOT_FINITE: Final = re.compile(r"[+-]?(?:nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_ISO: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[T ]([0-9]{2})(?::([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?)?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?",
    re.ASCII,
)
_BOOLS: Final = {"true": True, "1": True, "false": False, "0": False}
_BLANKS: Final = " \t\r\n"
SHOWN: Final = 64
"""How many characters of a wrong value a reason repeats."""


class TimeUnit(Enum):
    """What a plain number counts from 1970 where it stands for a time; the value is a unit's length in µs."""

    SECONDS = 1_000_000
    MILLISECONDS = 1_000
    MICROSECONDS = 1


UNITS: Final = {"s": TimeUnit.SECONDS, "ms": TimeUnit.MILLISECONDS, "us": TimeUnit.MICROSECONDS}


class BadValueError(ValueError):
    """A value that its column's type does not take; the text is the reason."""


def rule(of: FeatureType, unit: TimeUnit | None) -> Rule:
    """Return the rule of a feature type; ``unit`` is what plain numbers count in a TIMESTAMP (None: refused)."""
    rules: dict[Kind, Rule] = {
        Kind.INT64: integer,
        Kind.FLOAT64: number,
        Kind.FLOAT32: small_number,
        Kind.BOOL: boolean,
        Kind.STRING: lambda value: text(value, of.bound),
        Kind.TIMESTAMP: lambda value: timestamp(value, unit),
        Kind.VECTOR: lambda value: vector(value, of.bound),
        Kind.INT64_LIST: lambda value: integers(value, of.bound),
        Kind.STRING_LIST: lambda value: strings(value, of.bound, of.item_bytes),
    }
    return rules[of.kind]


def integer(value: object) -> int:
    """Return an integer of 64 bits: from an integer, an integral number, or canonical decimal text."""
    found = _integer(value)
    if found is None:
        raise BadValueError(f"{shown(value)} is not an integer (in text, no leading zeros, no '+', no '.0')")
    if not INT64_MIN <= found <= INT64_MAX:
        raise BadValueError(f"{shown(value)} does not fit 64 bits")
    return found


def _integer(value: object) -> int | None:
    match value:
        case bool():
            return None
        case int():
            return value
        case float() if value.is_integer():
            return int(value)
        case Decimal() if value.is_finite() and value == value.to_integral_value():
            return int(value)
        case str() if _INTEGER.fullmatch(value):
            return int(value) if len(value) <= SHOWN else INT64_MAX + 1
    return None


def number(value: object) -> float:
    """Return a double: from a number or numeric text; ``nan`` and ``inf`` are numbers."""
    match value:
        case bool():
            pass
        case int() | float() | Decimal():
            return float(value)
        case str() if _NUMBER.fullmatch(value):
            found = float(value)
            if math.isinf(found):
                raise BadValueError(f"{shown(value)} does not fit a double")
            return found
        case str() if _NOT_FINITE.fullmatch(value):
            return float(value)
    raise BadValueError(f"{shown(value)} is not a number")


def small_number(value: object) -> float:
    """Return a number that is still finite as a float of 32 bits, where it was finite before."""
    found = number(value)
    with np.errstate(over="ignore"):
        if math.isfinite(found) and np.isinf(np.float32(found)):
            raise BadValueError(f"{shown(value)} does not fit a FLOAT32")
    return found


def boolean(value: object) -> bool:
    """Return true or false: from a bool, 1 or 0, or these as text (in upper or lower case)."""
    found = _BOOLS.get(value.lower()) if isinstance(value, str) and value.isascii() else None
    if isinstance(value, int) and value in (0, 1):
        found = bool(value)
    if found is None:
        raise BadValueError(f"{shown(value)} is not true, false, 1 or 0")
    return found


def text(value: object, max_bytes: int) -> bytes:
    """Return the UTF-8 of a text of at most ``max_bytes``; an integer is its decimal text."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise BadValueError(f"{shown(value)} is not a text")
    encoded = value.encode()
    if len(encoded) > max_bytes:
        raise BadValueError(f"{shown(value)} has {len(encoded)} bytes, more than the bound {max_bytes}")
    return encoded


def timestamp(value: object, unit: TimeUnit | None) -> int:
    """Return µs since 1970: from ISO 8601 text (UTC where it has no zone), or from a plain number of a known unit."""
    match = _ISO.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        return _iso(match, shown(value))
    if isinstance(value, str) and (_NUMBER.fullmatch(value) or _DIGITS.fullmatch(value)):
        value = int(value) if _DIGITS.fullmatch(value) and len(value) <= SHOWN else float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadValueError(f"{shown(value)} is not a time such as 2026-11-20T09:30:00Z")
    if unit is None:
        raise BadValueError(f"{shown(value)} is a plain number; say what it counts: --event-time-unit s, ms or us")
    micros = value * unit.value
    if not math.isfinite(micros) or not INT64_MIN < round(micros) <= INT64_MAX:
        raise BadValueError(f"{shown(value)} is not a time that fits 64 bits of microseconds")
    return round(micros)


def _iso(match: re.Match[str], of: str) -> int:
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        moment = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=UTC
        )
    except ValueError as error:
        raise BadValueError(f"{of} is not a time: {error}") from None
    micros = (moment - EPOCH) // timedelta(microseconds=1)
    micros += int((fraction or "").ljust(6, "0")[:6])  # digits beyond µs are cut off
    return micros - _offset_micros(zone, of)


def _offset_micros(zone: str | None, of: str) -> int:
    if zone is None or zone == "Z":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23 or minutes > 59:  # noqa: PLR2004  # a clock's
        raise BadValueError(f"{of} is not a time: its zone is out of range")
    return (-1 if zone[0] == "-" else 1) * (hours * 60 + minutes) * 60_000_000


def vector(value: object, dimension: int) -> list[float]:
    """Return ``dimension`` numbers that fit FLOAT32: from a list, or text like ``[0.5, 1]``."""
    items = _items(value)
    if len(items) != dimension:
        raise BadValueError(f"has {len(items)} components, must have {dimension}")
    return [_item(small_number, i, item, "component") for i, item in enumerate(items, 1)]


def integers(value: object, bound: int) -> bytes:
    """Return the bytes of at most ``bound`` integers: from a list, or text like ``[1, 2]``."""
    items = _bounded(_items(value), bound)
    found = [_item(integer, i, item, "item") for i, item in enumerate(items, 1)]
    return np.array(found, "<i8").tobytes()


def strings(value: object, bound: int, item_bytes: int) -> bytes:
    """Return the bytes of at most ``bound`` strings: from a list, or a JSON array of strings as text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise BadValueError(f"{shown(value)} is not a JSON array of strings") from None
    if not isinstance(value, list):
        raise BadValueError(f"{shown(value)} is not a list of strings")
    items = _bounded(value, bound)
    return pack_strings([_item(lambda v: _string(v, item_bytes), i, item, "item") for i, item in enumerate(items, 1)])


def _string(value: object, max_bytes: int) -> str:
    if not isinstance(value, str):
        raise BadValueError(f"{shown(value)} is not a text")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:  # JSON can say half a surrogate pair
        raise BadValueError(f"{shown(value)} cannot be written as UTF-8") from None
    if size > max_bytes:
        raise BadValueError(f"{shown(value)} has {size} bytes, more than the bound {max_bytes}")
    return value


def _items(value: object) -> Sequence[object]:
    if isinstance(value, list):
        return value
    inner = value.strip(_BLANKS) if isinstance(value, str) else ""
    if not (inner.startswith("[") and inner.endswith("]")):
        raise BadValueError(f"{shown(value)} is not a list such as [1, 2]")
    inner = inner[1:-1]
    return [item.strip(_BLANKS) for item in inner.split(",")] if inner.strip(_BLANKS) else []


def _bounded(items: Sequence[object], bound: int) -> Sequence[object]:
    if len(items) > bound:
        raise BadValueError(f"has {len(items)} items, more than the bound {bound}")
    return items


def _item(of: Rule, place: int, item: object, what: str) -> Any:  # noqa: ANN401  # what the rule gives
    if item is None:
        raise BadValueError(f"{what} {place} is null")
    try:
        return of(item)
    except BadValueError as error:
        raise BadValueError(f"{what} {place}: {error}") from None


def shown(value: object) -> str:
    """Return a value as a reason repeats it: in quotes, cut short."""
    if isinstance(value, str):
        return repr(value if len(value) <= SHOWN else f"{value[:SHOWN]}…")
    written = repr(value) if isinstance(value, bytes) else str(value)
    return written if len(written) <= SHOWN else f"{written[:SHOWN]}…"
