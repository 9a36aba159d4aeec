"""Rows that cannot be read: UNAVAILABLE with the default, counted, logged now and then; other rows are fine."""

from __future__ import annotations

import logging
from typing import Final

import pytest

from recsvc.pb import serving_pb2 as pb
from recsvc.telemetry.repeats import Repeats
from tests.rpc.calling import column_facts, degraded, facts, int64s
from tests.rpc.definitions import profile, rated
from tests.rpc.serving import Served
from tests.rpc.test_values import DEFAULTS, FULL

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNAVAILABLE: Final = {
    f"profile:{name}": (value, "UNAVAILABLE", "NONE" if value is None else "DEFAULT")
    for name, value in DEFAULTS.items()
}
CORRUPT: Final = {("CORRUPT_ROW", "profile@v1")}


def spoilt(served: Served, how: str) -> bytes:
    """Return a right row with something wrong."""
    key = served.rows.put(profile, ["1"], FULL)
    row = served.rows.client.get(key)
    assert isinstance(row, bytes)
    ways = {
        "empty": b"",
        "cut": row[:-1],
        "newer format": bytes([row[0] + 1]) + row[1:],
        "another schema": row[:4] + bytes([row[4] ^ 1]) + row[5:],
        "JSON": b'{"age": 7}',
        "one byte": row[:1],
        "a string that is no UTF-8": row.replace("Ürümqi".encode(), b"\xff\xfer\xffmq!"),
    }
    return ways[how]


@pytest.mark.parametrize(
    "how", ["empty", "cut", "newer format", "another schema", "JSON", "one byte", "a string that is no UTF-8"]
)
async def test_a_corrupt_row_is_unavailable(served: Served, how: str) -> None:
    """However a row is spoilt, its features are UNAVAILABLE with their defaults, and `degraded` names the view."""
    served.rows.put_bytes(profile, ["1"], spoilt(served, how))
    row = await served.caller.one(pb.GetFeaturesRequest(entities={"user_id": "1"}, features=["profile"]))
    assert facts(row) == UNAVAILABLE
    assert degraded(row) == CORRUPT


async def test_a_corrupt_row_costs_no_other(served: Served) -> None:
    """Beside a corrupt row the others are served, and event times do not come from it."""
    served.rows.put_bytes(profile, ["1"], b"rubbish")
    served.rows.put(profile, ["2"], FULL, event_micros=22)
    request = pb.GetFeaturesBatchRequest(
        entities={"user_id": int64s(1, 2, 404)}, features=["profile:age", "clicks:today"], include_event_times=True
    )
    batch = await served.caller.many(request)
    found = column_facts(batch)
    assert found["profile:age"] == [
        (-1, "UNAVAILABLE", "DEFAULT"),
        (FULL["age"], "PRESENT", "STORE"),
        (-1, "NOT_FOUND", "DEFAULT"),
    ]
    assert {fact[1] for fact in found["clicks:today"]} == {"NOT_FOUND"}
    assert degraded(batch) == CORRUPT
    assert list(batch.views[0].event_time_micros) == [-(2**63), 22, -(2**63)]


async def test_corrupt_rows_are_counted_and_logged_once_per_interval(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """Every corrupt row counts; the log says so once per view and minute, with the view and never with an id."""
    now = 1_000.0
    counters = served.counters
    counters._repeats = Repeats(lambda: now, 60.0)
    before = counters.corrupt_rows["profile@v1"]
    for user in ("1234567", "7654321"):
        served.rows.put_bytes(profile, [user], b"rubbish")
    request = pb.GetFeaturesBatchRequest(entities={"user_id": int64s(1234567, 7654321)}, features=["profile:age"])
    logged = []
    with caplog.at_level(logging.ERROR):
        for now in (1_000.0, 1_000.0, 1_059.9, 1_060.0, 1_060.0):  # noqa: B007  # read by the clock above
            caplog.clear()
            await served.caller.many(request)
            logged.append([r.getMessage() for r in caplog.records])
    assert counters.corrupt_rows["profile@v1"] == before + 10
    assert [len(lines) for lines in logged] == [1, 0, 0, 1, 0]
    assert "profile@v1" in logged[0][0]
    assert "1234567" not in caplog.text + logged[0][0]


async def test_a_view_of_the_wrong_kind_of_value_is_unavailable(served: Served) -> None:
    """Where another program put something that is no string under a row's key, there is no row."""
    key = served.rows.put(rated, ["1", "x"], {"rating": 1.0})
    served.rows.client.delete(key)
    served.rows.client.rpush(key, "x")
    request = pb.GetFeaturesRequest(entities={"user_id": "1", "item_id": "x"}, features=["rated"])
    assert facts(await served.caller.one(request))["rated:rating"][1] == "NOT_FOUND"  # what MGET says of it
