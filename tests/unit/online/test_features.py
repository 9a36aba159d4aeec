"""A read plan becomes keys, one read of the store, and columns in the order asked."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc import (
    BOOL,
    FLOAT64,
    INT64,
    INT64_LIST,
    STRING,
    STRING_LIST,
    VECTOR,
    Entity,
    Feature,
    FeatureService,
    FeatureView,
    OnDemandFeature,
    OnDemandView,
    Registry,
    RequestField,
)
from recsvc.errors import LimitError, StoreUnavailableError
from recsvc.online.answer import UNREAD, Answer, Column, Degraded, Request, Row, Source, Status
from recsvc.online.features import FeatureReader
from recsvc.online.keys import KeyMaker
from recsvc.online.row import NO_TIME, RowCodec, tombstone
from recsvc.pb import serving_pb2 as pb
from recsvc.rpc import convert_reply
from recsvc.telemetry.counters import Counters
from tests.unit.online.strategies import FEW, NOW

USER = Entity("user", "user_id", INT64)
ITEM = Entity("item", "item_id", spread=4)


def difference(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a - b."""
    return np.asarray(a - b)


def broken(a: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Fail."""
    raise ZeroDivisionError(a)


def half(a: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return too few."""
    return a[: len(a) // 2]


REGISTRY = Registry(
    views=[
        FeatureView(
            "profile", [USER], [Feature("age", INT64, -1), Feature("mean", FLOAT64)], max_age=timedelta(days=1)
        ),
        FeatureView("profile", [USER], [Feature("age", FLOAT64, -2.0)], version=2),
        FeatureView("film", [ITEM], [Feature("mean", FLOAT64, 3.0), Feature("year", INT64)]),
        FeatureView("rated", [USER, ITEM], [Feature("stars", FLOAT64, 0.0)]),
    ],
    on_demand=[
        OnDemandView(
            "live",
            [
                OnDemandFeature("gap", FLOAT64, {"a": "profile:mean", "b": "film:mean"}, difference, 0.0),
                OnDemandFeature("idle", FLOAT64, {"a": "request:now", "b": "live:gap"}, difference, 0.0),
                OnDemandFeature("broken", FLOAT64, {"a": "film:mean"}, broken, 9.0),
                OnDemandFeature("half", FLOAT64, {"a": "film:mean"}, half),
                OnDemandFeature("spoilt", FLOAT64, {"a": "live:broken", "b": "film:mean"}, difference),
            ],
        )
    ],
    request=[RequestField("now", FLOAT64)],
    services=[FeatureService("model", ["film:mean", "profile:age", "rated:stars", "live:gap"])],
    active={"profile": 1},
)


class Rows:
    """A reader over a dictionary: what it was asked for is kept. With ``down`` it does not answer."""

    def __init__(self, rows: Mapping[bytes, Row], *, down: bool = False) -> None:
        self.rows = rows
        self.down = down
        self.asked: list[list[bytes]] = []

    async def read(self, keys: Sequence[bytes], timeout_s: float) -> Sequence[Row]:
        """See RowReader.read."""
        assert timeout_s == 1.0
        self.asked.append(list(keys))
        if self.down:
            raise StoreUnavailableError("down")
        return [self.rows.get(k) for k in keys]


def stored(view: str, ids: Sequence[str], *values: Any, event: int = NOW) -> dict[bytes, Row]:  # noqa: ANN401  # of any type
    """Return one row under its key."""
    of = REGISTRY.view(view)
    columns = [
        (np.array([v]), np.array([v is not None])) if v is not None else (np.zeros(1), np.zeros(1, bool))
        for v in values
    ]
    (row,) = RowCodec(REGISTRY.schema(of)).encode(np.array([event]), np.array([event]), columns)
    return {KeyMaker(of).keys([[i] for i in ids])[0]: row}


def counters() -> Counters:
    """Return counters whose clock stands still."""
    return Counters(monotonic=lambda: 0.0)


def reader(rows: Rows, counts: Counters | None = None, max_keys: int = 100) -> FeatureReader:
    """Return a reader of REGISTRY at the time NOW."""
    return FeatureReader(REGISTRY, rows, counts or counters(), now_micros=lambda: NOW, max_keys=max_keys)


def request(rows: int = 1, now: list[float] | None = None, **ids: list[str]) -> Request:
    """Return a request of ids, and of the context field now."""
    context = {}
    if now is not None:
        given = [np.array([c], np.uint8) for c in (Status.PRESENT, Source.REQUEST)]
        context["now"] = Column(FLOAT64, np.array(now), *given)
    return Request(rows, ids, context)


def told(answer: Answer) -> dict[str, tuple[list[Any], list[int], list[int]]]:
    """Return values, statuses and sources of each column by name."""
    return {n: (c.values.tolist(), c.statuses.tolist(), c.sources.tolist()) for n, c, _ in answer.columns}


async def test_columns_come_in_the_order_asked() -> None:
    """A service's features come in its order, with the view that each is from."""
    rows = Rows(stored("profile", ["7"], 30, 3.5) | stored("film", ["a"], 4.0, 1999) | stored("rated", ["7", "a"], 5.0))
    answer = await reader(rows).read(REGISTRY.service_plan("model"), request(user_id=["7"], item_id=["a"]), 1.0)
    assert [(n, c.values.tolist()) for n, c, _ in answer.columns] == [
        ("film:mean", [4.0]),
        ("profile:age", [30]),
        ("rated:stars", [5.0]),
        ("live:gap", [-0.5]),
    ]
    names = [None if v is None else answer.views[v].name for _, _, v in answer.columns]
    assert names == ["film", "profile", "rated", None]
    assert {(v.name, v.version) for v in answer.views} == {("film", 1), ("profile", 1), ("rated", 1), ("live", 1)}
    assert not answer.degraded


async def test_one_read_has_each_row_once() -> None:
    """All views are read at once; a repeated id is read once and answered each time."""
    rows = Rows(stored("film", ["a"], 4.0, 1) | stored("film", ["b"], 2.0, 2) | stored("rated", ["7", "b"], 1.0))
    plan = REGISTRY.plan(("film", "rated", "profile:age"))
    asked = request(4, user_id=["7"], item_id=["a", "b", "a", "c"])
    answer = await reader(rows).read(plan, asked, 1.0)
    (keys,) = rows.asked
    assert len(keys) == len(set(keys)) == 3 + 3 + 1
    values = told(answer)
    assert values["film:mean"] == ([4.0, 2.0, 4.0, 3.0], [1, 1, 1, 3], [1, 1, 1, 4])
    assert values["rated:stars"] == ([0.0, 1.0, 0.0, 0.0], [3, 1, 3, 3], [4, 1, 4, 4])
    assert values["profile:age"] == ([-1], [3], [4])
    times = {v.name: v.event_micros.tolist() for v in answer.views}
    assert times == {"film": [NOW, NOW, NOW, NO_TIME], "rated": [NO_TIME, NOW, NO_TIME, NO_TIME], "profile": [NO_TIME]}


async def test_no_rows_are_a_valid_request() -> None:
    """An empty column beside broadcast ones gives empty columns, and still the broadcast ones once."""
    rows = Rows({})
    plan = REGISTRY.plan(("film:mean", "rated", "profile:age", "live:gap"))
    answer = await reader(rows).read(plan, request(0, user_id=["7"], item_id=[]), 1.0)
    assert answer.rows == 0
    assert [len(c) for _, c, _ in answer.columns] == [0, 0, 1, 0]


async def test_nothing_asked_reads_nothing() -> None:
    """A plan of request context alone does not trouble the store."""
    rows = Rows({}, down=True)
    answer = await reader(rows).read(REGISTRY.plan(("request:now",)), request(now=[1.5]), 1.0)
    assert rows.asked == []
    assert told(answer) == {"request:now": ([1.5], [Status.PRESENT], [Source.REQUEST])}


async def test_context_reaches_on_demand_features() -> None:
    """A value per row of context gives a result per row, through other on-demand features too."""
    rows = Rows(stored("profile", ["7"], 30, 3.5) | stored("film", ["a"], 4.0, 1))
    plan = REGISTRY.plan(("live:idle",))
    answer = await reader(rows).read(plan, request(2, now=[10.0, 20.0], user_id=["7"], item_id=["a"]), 1.0)
    assert told(answer) == {"live:idle": ([10.5, 20.5], [1, 1], [5, 5])}


async def test_pinned_versions_are_read_beside_the_active_one() -> None:
    """Two versions of a view are two rows under two keys, and the reply says which were served."""
    rows = Rows(stored("profile", ["7"], 30, 3.5) | stored("profile@v2", ["7"], 30.5))
    plan = REGISTRY.plan(("profile:age", "profile@v2:age", "profile@v1:age"))
    answer = await reader(rows).read(plan, request(user_id=["7"]), 1.0)
    assert [(n, c.values.tolist()) for n, c, _ in answer.columns] == [
        ("profile:age", [30]),
        ("profile@v2:age", [30.5]),
        ("profile@v1:age", [30]),
    ]
    assert [(v.name, v.version) for v in answer.views] == [("profile", 1), ("profile", 2)]
    assert len(rows.asked[0]) == 2


async def test_a_store_that_is_down_is_still_an_answer() -> None:
    """Nothing read gives defaults, UNAVAILABLE for each, and says once per view that it is degraded."""
    plan = REGISTRY.plan(("profile", "film:mean", "live:gap"))
    answer = await reader(Rows({}, down=True)).read(plan, request(2, user_id=["7"], item_id=["a", "b"]), 1.0)
    assert told(answer)["profile:age"] == ([-1], [Status.UNAVAILABLE], [Source.DEFAULT])
    assert told(answer)["film:mean"] == ([3.0, 3.0], [5, 5], [4, 4])
    assert told(answer)["profile:mean"][1:] == ([Status.UNAVAILABLE], [Source.NONE])
    assert told(answer)["live:gap"] == ([0.0, 0.0], [5, 5], [4, 4])
    assert answer.degraded == [(Degraded.STORE_UNAVAILABLE, "profile@v1"), (Degraded.STORE_UNAVAILABLE, "film@v1")]


async def test_rows_that_were_not_read_degrade_their_view_alone() -> None:
    """Where a part of the store does not answer, the other rows are answered."""
    found = stored("film", ["a"], 4.0, 1)
    lost = dict.fromkeys(stored("film", ["b"], 0.0, 0), UNREAD)
    plan = REGISTRY.plan(("film:mean", "profile:age"))
    answer = await reader(Rows(found | lost)).read(plan, request(2, user_id=["7"], item_id=["a", "b"]), 1.0)
    assert told(answer)["film:mean"] == ([4.0, 3.0], [1, 5], [1, 4])
    assert answer.degraded == [(Degraded.STORE_UNAVAILABLE, "film@v1")]


@pytest.mark.parametrize("garbage", [b"", b"garbage", tombstone(1, 1) + b"!", b"\x02" + bytes(40)])
async def test_corrupt_rows_are_counted_and_logged_once(garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A corrupt row costs its own values, is counted each time and logged once per interval."""
    rows = Rows(dict.fromkeys(stored("film", ["a"], 0.0, 0), garbage) | stored("film", ["b"], 2.0, 2))
    counts = counters()
    plan = REGISTRY.plan(("film:mean",))
    for _ in range(3):
        answer = await reader(rows, counts).read(plan, request(2, item_id=["a", "b"]), 1.0)
    assert told(answer)["film:mean"] == ([3.0, 2.0], [5, 1], [4, 1])
    assert answer.degraded == [(Degraded.CORRUPT_ROW, "film@v1")]
    assert counts.corrupt_rows == {"film@v1": 3}
    assert [r.levelno for r in caplog.records] == [logging.ERROR]


async def test_a_function_that_fails_costs_its_own_column(caplog: pytest.LogCaptureFixture) -> None:
    """A raise, a wrong shape: default and UNAVAILABLE for that feature and those made of it; the others are right."""
    rows, counts = Rows(stored("film", ["a"], 4.0, 1) | stored("film", ["b"], 2.0, 1)), counters()
    plan = REGISTRY.plan(("live:broken", "live:half", "live:spoilt", "film:mean"))
    answer = await reader(rows, counts).read(plan, request(2, item_id=["a", "b"]), 1.0)
    values = told(answer)
    assert values["live:broken"] == ([9.0, 9.0], [Status.UNAVAILABLE], [Source.DEFAULT])
    assert values["live:half"][1:] == ([Status.UNAVAILABLE], [Source.NONE])
    assert values["live:spoilt"] == ([5.0, 7.0], [5, 5], [Source.COMPUTED] * 2)
    assert values["film:mean"] == ([4.0, 2.0], [Status.PRESENT], [Source.STORE])
    assert answer.degraded == [(Degraded.ON_DEMAND_FAILED, "live@v1")]
    assert counts.on_demand_failures == {"live@v1:broken": 1, "live@v1:half": 1}
    assert len(caplog.records) == 2


async def test_too_many_rows_are_refused_before_the_store_is_asked() -> None:
    """The limit is on distinct rows; the error has limit and actual value."""
    rows = Rows({})
    plan = REGISTRY.plan(("film:mean", "rated"))
    many = [str(i) for i in range(51)]
    with pytest.raises(LimitError, match="102 distinct rows of the store, at most 100"):
        await reader(rows).read(plan, request(51, user_id=["7"], item_id=many), 1.0)
    assert rows.asked == []
    await reader(rows).read(plan, request(50, user_id=["7"], item_id=many[:50]), 1.0)
    same = ["a"] * 1_000
    assert (await reader(rows).read(plan, request(1_000, user_id=["7"], item_id=same), 1.0)).rows == 1_000


EVERY = Registry(
    views=[
        FeatureView(
            "every",
            [ITEM],
            [
                Feature("b", BOOL, default=True),
                Feature("s", STRING[8], ""),
                Feature("l", INT64_LIST[4]),
                Feature("t", STRING_LIST[4, 8], ["x"]),
                Feature("v", VECTOR[2]),
                Feature("i", INT64, 0),
            ],
        )
    ]
)


@given(st.binary(max_size=120), st.lists(st.integers(0, 8 * 60 - 1), max_size=3))
@FEW
def test_whatever_the_store_has_is_a_reply_that_parses(garbage: bytes, flips: list[int]) -> None:
    """Bytes in the store never break the message, for a caller that parses it with the public classes."""
    view = EVERY.view("every")
    (key,) = KeyMaker(view).keys([["a"]])
    header = RowCodec(EVERY.schema(view)).encode(
        np.array([NOW]),
        np.array([NOW]),
        [
            (np.array([True]), None),
            ([b"text"], None),
            ([bytes(16)], None),
            ([b"\1\0\0\0\1\0\0\0y"], None),
            (np.ones((1, 2)), None),
            (np.array([5]), None),
        ],
    )[0]
    row = bytearray(header)
    for bit in flips:
        row[bit // 8] ^= 1 << bit % 8
    for stored_bytes in (bytes(row), header[:25] + garbage, garbage):
        columns = _columns_of(EVERY, {key: stored_bytes})
        reply = pb.GetFeaturesBatchResponse.FromString(convert_reply.batch(columns, "", event_times=True))
        assert reply.row_count == 1
        assert len(reply.columns[0].values.bools.values) == 1
        single = pb.GetFeaturesResponse.FromString(convert_reply.single(columns, "", event_times=True))
        assert len(single.features) == 6


def _columns_of(registry: Registry, rows: Mapping[bytes, Row]) -> Answer:
    """Run the reader to its end; it never really waits."""
    of = FeatureReader(registry, Rows(rows), counters(), now_micros=lambda: NOW, max_keys=10)
    step = of.read(registry.plan(("every",)), Request(1, {"item_id": ["a"]}, {}), 1.0)
    try:
        step.send(None)
    except StopIteration as done:
        answer: Answer = done.value
        return answer
    raise AssertionError("the reader waits for something")


def test_a_reader_shows_what_it_reads() -> None:
    """repr() names the registry and the store."""
    assert "Registry(" in repr(reader(Rows({})))
