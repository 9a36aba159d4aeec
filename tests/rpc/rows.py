"""Puts rows into Redis for the tests of the gRPC face, with the codec and the keys of the server."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import redis

from recsvc.online.keys import KeyMaker
from recsvc.online.row import RowCodec, pack_strings, tombstone
from recsvc.registry.model import FeatureView
from recsvc.registry.schema import Schema
from recsvc.registry.types import FeatureType, Kind


def now_micros() -> int:
    """Return the time in microseconds since 1970."""
    return time.time_ns() // 1_000


@dataclass(frozen=True)
class Rows:
    """Writes rows of views with plain SETs: what may be written when is the writer's business, not the server's."""

    client: redis.Redis

    def put(
        self,
        view: FeatureView,
        ids: Sequence[str],
        values: Mapping[str, object],
        *,
        event_micros: int | None = None,
        written: int | None = None,
    ) -> bytes:
        """Write one row and return its key; None is null. ``written``: so many features did its writer know."""
        features = view.features[:written]
        codec = RowCodec(Schema.of(features))
        at = np.array([now_micros() if event_micros is None else event_micros])
        columns = [_column(f.type, values[f.name]) for f in features]
        return self.put_bytes(view, ids, codec.encode(at, at, columns)[0])

    def put_bytes(self, view: FeatureView, ids: Sequence[str], row: bytes) -> bytes:
        """Write whatever bytes as a row, and return its key."""
        key = KeyMaker(view).keys([[text] for text in ids])[0]
        self.client.set(key, row)
        return key

    def bury(self, view: FeatureView, ids: Sequence[str]) -> None:
        """Write the row that says that the entity was deleted."""
        self.put_bytes(view, ids, tombstone(now_micros(), now_micros()))


def _column(of: FeatureType, value: object) -> tuple[Any, Any]:
    """Return a column of one value as the codec takes it."""
    if value is None:
        empty: Any = np.zeros((1, of.bound) if of.kind is Kind.VECTOR else 1)
        return ([b""] if of.kind in {Kind.STRING, Kind.INT64_LIST, Kind.STRING_LIST} else empty), np.array([False])
    normal: Any = of.normalize(value)
    match of.kind:
        case Kind.STRING:
            return [normal.encode()], None
        case Kind.INT64_LIST:
            return [np.array(normal, "<i8").tobytes()], None
        case Kind.STRING_LIST:
            return [pack_strings(normal)], None
        case _:
            return np.array([normal]), None
