"""An impression as a line of JSON, for people and for whatever reads JSON lines (DuckDB, Spark, jq).

One line has ``items`` as a list, and ``features`` by reference as columns: ``type``, ``values`` (null where there is
none, or no finite number), ``status`` and ``source``, each one name where it is the same for all values, else a list.
``user`` has ids by join key; ``unit`` is the randomization unit of an anonymous caller, empty for a user and where none
was sent. Timestamps are integers in microseconds since 1970.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from enum import IntEnum
from itertools import islice
from typing import Any, Final

import numpy as np

from recsvc.online.answer import Bytes, Column, Source, Status
from recsvc.recommend.impressions import Impression, ShownItem

_ITEMS_AT_ONCE: Final = 100


def line_parts(impression: Impression) -> Iterator[bytes]:
    """Yield the line of an impression, its end included, in parts that each take well below a millisecond to make."""
    yield _json(_head(impression))[:-1] + b',"items":['
    items = iter(impression.items)
    between = b""
    while some := list(islice(items, _ITEMS_AT_ONCE)):
        yield between + _json([_item(i) for i in some])[1:-1]
        between = b","
    yield b'],"features":{'
    between = b""
    for name, column in impression.features.items():
        yield between + _json(name) + b":" + _json(_column(column))
        between = b","
    yield b"}}\n"


def _head(impression: Impression) -> dict[str, object]:
    return {
        "recommendation_id": str(impression.recommendation_id),
        "session_recommendation_id": str(impression.session_id),
        "time_us": impression.time_micros,
        "placement": impression.placement,
        "user": dict(impression.user),
        "unit": impression.unit,
        "experiments": [
            {"experiment": a.experiment, "variant": a.variant, "by": a.by.name} for a in impression.assignments
        ],
        "model_version": impression.model_version,
        "ranked_by": impression.ranked_by,
        "registry_fingerprint": impression.registry_fingerprint,
    }


def _item(item: ShownItem) -> dict[str, object]:
    score = float(item.score)
    return {
        "id": item.id,
        "rank": item.rank,
        "score": score if math.isfinite(score) else None,
        "sources": item.sources,
    }


def _column(column: Column) -> dict[str, object]:
    return {
        "type": column.type.kind.value,
        "values": _values(column),
        "status": _names(column.statuses, Status),
        "source": _names(column.sources, Source),
    }


def _values(column: Column) -> list[Any]:
    values = column.values
    kept = np.broadcast_to(column.has_value(), len(values))
    if np.issubdtype(values.dtype, np.floating) and not (finite := np.isfinite(values)).all():
        values = values.astype(object)
        values[~finite] = None
    listed: list[Any] = values.tolist()
    return listed if kept.all() else [v if there else None for v, there in zip(listed, kept, strict=True)]


def _names(codes: Bytes, names: type[IntEnum]) -> str | list[str]:
    distinct = np.unique(codes).tolist()
    by_code = {code: names(code).name for code in distinct}
    return by_code[distinct[0]] if len(distinct) == 1 else [by_code[code] for code in codes.tolist()]


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False, default=_plain).encode()


def _plain(value: object) -> object:
    """Return what an array in a column of lists is to JSON."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")
