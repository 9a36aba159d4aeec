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
    METADATA_STALE = 6
    SOURCE_FAILED = 7
    SOURCE_TIMED_OUT = 8
    INDEX_MISSING = 9
    RANKER_FAILED = 10
    CANDIDATES_REDUCED = 11


class Explain(_Open):
    """How much a slate says about itself (ExplainLevel in serving.proto)."""

    UNSPECIFIED = 0
    NONE = 1
    REASONS = 2
    DIAGNOSTICS = 3


class ReasonCode(_Open):
    """Why an item is in a slate (ReasonCode in serving.proto, where each is explained)."""

    UNSPECIFIED = 0
    SIMILAR_TO_TASTE = 1
    SIMILAR_TO_SEED = 2
    SIMILAR_TO_RECENT = 3
    POPULAR = 4
    NEW = 5
    PINNED = 6
    FILLED = 7
    BOOSTED = 8


class RankedBy(_Open):
    """What ordered a slate (RankedBy in serving.proto)."""

    UNSPECIFIED = 0
    MODEL = 1
    RETRIEVAL_ORDER = 2
    POPULARITY = 3


class SlateRule(_Open):
    """A rule that gave way to a stronger one (SlateRule in serving.proto)."""

    UNSPECIFIED = 0
    PINS = 1
    CAPS = 2
    QUOTAS = 3
    DIVERSITY = 4


class AssignmentSource(_Open):
    """How a variant was chosen (AssignmentSource in serving.proto)."""

    UNSPECIFIED = 0
    HASHED = 1
    OVERRIDE = 2
    DEFAULT = 3
