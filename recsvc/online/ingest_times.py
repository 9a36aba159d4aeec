"""Times from Arrow columns, as int64 µs since 1970: from timestamps of every unit and zone, dates, ISO 8601 text."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np

from recsvc.online.ingest_arrow import pa
from recsvc.online.row import Int64Array
from recsvc.registry.types import INT64_MAX

_PER_MICRO: Final = {"s": (1_000_000, 1), "ms": (1_000, 1), "us": (1, 1), "ns": (1, 1_000)}
_YEAR_1: Final = -62_135_596_800_000_000
"""Before it, Arrow reads a year 0 that ISO 8601 readers do not agree on."""
_ZONE: Final = re.compile(r"(?:Z|:[0-9.]+[+-][0-9:]+|[T ][0-9]{2}[+-][0-9:]+)$")


def is_temporal(of: pa.DataType) -> bool:
    """Whether a column of this Arrow type holds moments or days."""
    return bool(pa.types.is_timestamp(of) or pa.types.is_date(of))


def from_temporal(array: pa.Array) -> tuple[Int64Array, list[tuple[int, str]]]:
    """Return µs since 1970 (UTC where there is no zone, cut off below µs), and which values do not fit them."""
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("s"))
    whole = array.view(pa.int64())
    counts: Any = (whole.fill_null(0) if whole.null_count else whole).to_numpy(zero_copy_only=False)
    factor, divisor = _PER_MICRO[array.type.unit]
    wrong = np.abs(counts) > INT64_MAX // factor if factor > 1 else counts == -INT64_MAX - 1
    with np.errstate(over="ignore"):
        micros = counts * factor if divisor == 1 else counts // divisor
    return micros, [(int(i), "is not a time that fits 64 bits of microseconds") for i in np.flatnonzero(wrong)]


def times_from_text(array: pa.Array) -> Int64Array | None:
    """Return µs since 1970 of ISO 8601 texts, all with a zone or all without; None where Arrow cannot read them all."""
    present = array.drop_null()
    # The first decides: to try the wrong type costs 2 µs for each value, a failure being put together for every one.
    zone = "UTC" if len(present) and _ZONE.search(present[0].as_py()) else None
    try:
        found = array.cast(pa.timestamp("us", zone))
    except pa.ArrowInvalid:
        return None
    micros: Int64Array = found.view(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return micros if not len(micros) or micros.min() >= _YEAR_1 else None
