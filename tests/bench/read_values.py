"""The rows of the read benchmarks: every value is computed from its key, so that every answer can be checked.

Feature fN of user u is ``u * 1000 + N``; ten features are a view: ``v3:f37``.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from recsvc.online.keys import KeyMaker
from recsvc.online.redis_connect import ConnectionSettings
from recsvc.online.redis_open import open_redis
from recsvc.online.row import RowCodec
from recsvc.pb import serving_pb2 as pb
from tests.bench.read_definitions import WIDTH, registry

DEFINITIONS: Final = Path(__file__).with_name("read_definitions.py")
PER_WRITE: Final = 5_000

Ints = npt.NDArray[np.int64]
Users = TypeVar("Users", int, Ints)


def value(user: Users, feature: int) -> Users:
    """Return the value that is stored."""
    return user * 1000 + feature


def references(views: int) -> list[str]:
    """Return the feature references of the first so many views, one by one."""
    return [f"v{f // WIDTH}:f{f}" for f in range(views * WIDTH)]


async def load(url: str, users: int, views: int) -> None:
    """Write the rows of users 0 … ``users`` - 1 in the first so many views."""
    async with open_redis(url, ConnectionSettings()) as store:
        writer = store.writer()
        for number in range(views):
            view = registry.view(f"v{number}")
            await writer.prepare(view, registry.schema(view))
            codec, keys = RowCodec(registry.schema(view)), KeyMaker(view)
            for start in range(0, users, PER_WRITE):
                ids = np.arange(start, min(start + PER_WRITE, users))
                done = await writer.write(view, keys.keys([list(map(str, ids))]), _rows(codec, number, ids))
                assert done.written == len(ids)


def _rows(codec: RowCodec, view: int, ids: Ints) -> list[bytes]:
    now = np.full(len(ids), time.time_ns() // 1000)
    return codec.encode(now, now, [(value(ids, view * WIDTH + f), None) for f in range(WIDTH)])


def single_request(user: int, *, features: Sequence[str] = (), fresh: bool = False) -> bytes:
    """Return GetFeatures for one user; without ``features`` the service "ten". ``fresh``: no cached copy will do."""
    message = pb.GetFeaturesRequest(entities={"user_id": str(user)})
    _select(message, features, fresh=fresh)
    return message.SerializeToString()


def batch_request(users: Sequence[int] | Ints, *, features: Sequence[str] = (), fresh: bool = False) -> bytes:
    """Return GetFeaturesBatch for many users."""
    message = pb.GetFeaturesBatchRequest()
    message.entities["user_id"].int64s.values.extend(map(int, users))
    _select(message, features, fresh=fresh)
    return message.SerializeToString()


def _select(
    message: pb.GetFeaturesRequest | pb.GetFeaturesBatchRequest, features: Sequence[str], *, fresh: bool
) -> None:
    if features:
        message.features.extend(features)
    else:
        message.feature_service = "ten"
    if fresh:
        message.max_staleness.SetInParent()


class DegradedError(AssertionError):
    """The server could not read the store in time, or did not try: not a wrong answer, but none to measure either."""


def ensure_whole(degraded: Collection[pb.Degradation]) -> None:
    """Fail where an answer says that something did not work."""
    if degraded:
        raise DegradedError(", ".join(sorted({pb.DegradationReason.Name(d.reason) for d in degraded})))


def check_single(reply: bytes, user: int, views: int) -> set[int]:
    """Fail where an answer is not what is stored; returns the sources that the values came from."""
    message = pb.GetFeaturesResponse.FromString(reply)
    ensure_whole(message.degraded)
    assert len(message.features) == views * WIDTH
    for index, found in enumerate(message.features):
        assert found.status == pb.FEATURE_STATUS_PRESENT, found
        assert found.value.int64_value == value(user, index), found
    return {found.source for found in message.features}


def check_batch(reply: bytes, users: Sequence[int] | Ints, views: int) -> set[int]:
    """Fail where an answer is not what is stored; returns the sources that the values came from."""
    message = pb.GetFeaturesBatchResponse.FromString(reply)
    ensure_whole(message.degraded)
    assert len(message.columns) == views * WIDTH
    for index, column in enumerate(message.columns):
        assert set(column.statuses) == {pb.FEATURE_STATUS_PRESENT}, column.name
        assert column.values.int64s.values == [value(int(user), index) for user in users], column.name
    return {source for column in message.columns for source in column.sources}
