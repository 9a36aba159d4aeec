"""JSON that somebody else wrote, field by field: each is of the type that is wanted, or an error says which is not."""

from __future__ import annotations

import json
import math
import re
from typing import Final

import numpy as np

from recsvc.recommend.ranking.card import Floats
from recsvc.recommend.ranking.errors import BundleError

_SHOWN: Final = 40


class Fields:
    """The fields of one JSON object; ``where`` names it in errors. Fields that nobody asks for may stand there."""

    def __init__(self, values: object, where: str) -> None:
        if not isinstance(values, dict):
            raise BundleError(f"{where} is {_shown(values)}, it must be a JSON object")
        self._values: dict[str, object] = values
        self._where = where

    def __repr__(self) -> str:
        return f"Fields({self._where}: {', '.join(self._values)})"

    @classmethod
    def parse(cls, data: bytes, where: str) -> Fields:
        """Read a JSON object; raises BundleError. NaN and Infinity are no JSON."""
        try:
            return cls(json.loads(data, parse_constant=_no_number), where)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{where} is not JSON: {type(error).__name__}: {error}") from None

    def is_null(self, name: str) -> bool:
        """Whether a field is null or not there."""
        return self._values.get(name) is None

    def text(self, name: str, pattern: re.Pattern[str] | None = None) -> str:
        """Return a string that is not empty (and of the pattern, wholly); raises BundleError."""
        value = self._values.get(name)
        if isinstance(value, str) and (pattern.fullmatch(value) if pattern else value):
            return value
        raise self._wrong(name, f"a string of {pattern.pattern}" if pattern else "a string that is not empty")

    def integer(self, name: str) -> int:
        """Return an integer that is not negative; raises BundleError."""
        value = self._values.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        raise self._wrong(name, "an integer that is not negative")

    def number(self, name: str) -> float:
        """Return a finite number; raises BundleError."""
        value = _number(self._values.get(name))
        if value is None:
            raise self._wrong(name, "a number")
        return value

    def numbers(self, name: str) -> tuple[float, ...]:
        """Return a list of finite numbers; raises BundleError."""
        return tuple(self._row(name, self._values.get(name)))

    def rows(self, name: str) -> Floats:
        """Return a list of equally long lists of numbers, null for NaN, as a matrix; raises BundleError."""
        found = self._values.get(name)
        rows = [self._row(name, row, null_as=math.nan) for row in found] if isinstance(found, list) else []
        if not rows or any(len(row) != len(rows[0]) for row in rows):
            raise self._wrong(name, "a list of rows, equally many numbers or nulls in each")
        return np.array(rows, np.float64)

    def fields(self, name: str) -> Fields:
        """Return the fields of an object in this one; raises BundleError."""
        return Fields(self._values.get(name), f"{self._where}: {name!r}")

    def list_of_fields(self, name: str) -> list[Fields]:
        """Return the objects of a list; raises BundleError."""
        found = self._values.get(name)
        if not isinstance(found, list):
            raise self._wrong(name, "a list of objects")
        return [Fields(value, f"{self._where}: {name}[{place}]") for place, value in enumerate(found)]

    def named_fields(self, name: str) -> dict[str, Fields]:
        """Return the objects of an object by name; raises BundleError."""
        found = self._values.get(name)
        if not isinstance(found, dict):
            raise self._wrong(name, "an object of objects")
        return {key: Fields(value, f"{self._where}: {name}[{key!r}]") for key, value in found.items()}

    def _row(self, name: str, values: object, null_as: float | None = None) -> list[float]:
        numbers = [_number(v, null_as) for v in values] if isinstance(values, list) else [None]
        found = [n for n in numbers if n is not None]
        if len(found) != len(numbers):
            raise self._wrong(name, "numbers in a list")
        return found

    def _wrong(self, name: str, right: str) -> BundleError:
        found = f"is {_shown(self._values[name])}" if name in self._values else "is missing"
        return BundleError(f"{self._where}: {name!r} {found}; it must be {right}")


def _number(value: object, null_as: float | None = None) -> float | None:
    """Return a JSON number as a float; None for whatever is none, or too large for one."""
    if value is None:
        return null_as
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def _shown(value: object) -> str:
    """Show a value, cut to a length that one line can bear."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
