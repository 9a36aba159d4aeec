"""The contract's enums by their short names: what is known about a value, where it came from, what went wrong."""

from __future__ import annotations

from enum import IntEnum


class _Open(IntEnum):
    """An enum to which a newer server may have added numbers: those read as UNSPECIFIED, which is never sent itself."""

    @classmethod
    def _missing_(cls, value: object) -> _Open | None:
        return cls(0) if isinstance(value, int) and value > 0 else None


class Status(_Open):
    """What is known about a value (FeatureStatus in serving.proto, where each is explained)."""

    UNSPECIFIED = 0
    PRESENT = 1
    NULL_VALUE = 2
    NOT_FOUND = 3
    OUTSIDE_MAX_AGE = 4
    UNAVAILABLE = 5


class Source(_Open):
    """Where a value came from (ValueSource in serving.proto, where each is explained)."""

    UNSPECIFIED = 0
    STORE = 1
    CACHE = 2
    STALE_CACHE = 3
    DEFAULT = 4
    COMPUTED = 5
    REQUEST = 6
    NONE = 7


class DegradationReason(_Open):
    """Why an answer is not what it should be (DegradationReason in serving.proto, where each is explained)."""

    UNSPECIFIED = 0
    STORE_UNAVAILABLE = 1
    CORRUPT_ROW = 2
    ON_DEMAND_FAILED = 3
    SATURATED = 4
    CIRCUIT_OPEN = 5
