"""Users whose values are derived from their ids, so that whoever reads one can say whether it is right."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import redis

from recsvc.online.keys import KeyMaker
from recsvc.online.row import RowCodec
from recsvc.registry.schema import Schema
from tests.fault.definitions import profile

Ids = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NO_ROW: Final = (-1, -1.0)
"""What `number` and `ratio` are where nothing is known: their defaults. `text` has none."""
_FACTOR: Final = 2_654_435_761
_EPOCH_MICROS: Final = 1_700_000_000_000_000
_ABSENT_EVERY: Final = 10
_CHUNK: Final = 5_000


def has_row(ids: Ids) -> Bools:
    """Say which users have a row: nine of ten."""
    there: Bools = ids % _ABSENT_EVERY != _ABSENT_EVERY - 1
    return there


def numbers(ids: Ids) -> Ids:
    """Return their `number`, never negative."""
    return ids * _FACTOR % (1 << 53)


def ratios(ids: Ids) -> npt.NDArray[np.float64]:
    """Return their `ratio`."""
    return numbers(ids) / 3.0


def texts(ids: Ids) -> list[str]:
    """Return their `text`."""
    return [f"user {i} é" for i in ids.tolist()]


def event_micros(ids: Ids) -> Ids:
    """Return their event times."""
    return _EPOCH_MICROS + ids


def keys(ids: Ids) -> list[bytes]:
    """Return the keys of their rows."""
    return KeyMaker(profile).keys([[str(i) for i in ids.tolist()]])


def rows(ids: Ids) -> list[bytes]:
    """Return their rows, also of those who have none."""
    columns: list[tuple[object, None]] = [
        (numbers(ids), None),
        (ratios(ids), None),
        ([text.encode() for text in texts(ids)], None),
    ]
    times = event_micros(ids)
    return RowCodec(Schema.of(profile.features)).encode(times, times, columns)  # type: ignore[arg-type]  # as it is


def fill(client: redis.Redis | redis.RedisCluster, users: int) -> None:
    """Write the rows of users 0 to ``users`` - 1, and close the client."""
    ids = np.arange(users, dtype=np.int64)
    there = ids[has_row(ids)]
    with client:
        for start in range(0, len(there), _CHUNK):
            chunk = there[start : start + _CHUNK]
            written = dict(zip(keys(chunk), rows(chunk), strict=True))
            if isinstance(client, redis.RedisCluster):
                client.mset_nonatomic(written)
            else:
                client.mset(written)
