"""A read plan becomes keys, one read of the store, and columns in the order asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from random import Random
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
from recsvc.online.answer import UNREAD, Answer, Column, Degraded, Request, Row, Source, Status, Unread
from recsvc.online.chain import ChainSettings, NamedStore, ReadChain, Surroundings
from recsvc.online.features import FeatureReader
from recsvc.online.in_turns import Turns
from recsvc.online.keys import KeyMaker
from recsvc.online.policy import ViewPolicy
from recsvc.online.row import NO_TIME, RowCodec, tombstone
from recsvc.pb import serving_pb2 as pb
from recsvc.registry.plan import ReadPlan
from recsvc.rpc import convert_reply
from recsvc.telemetry.counters import Counters
from tests.simulation.loop import VirtualLoop
from tests.unit.online.held_reader import in_virtual_time, now
from tests.unit.online.strategies import FEW, NOW, Table, tables
from tests.unit.online.test_columns import default_of
from tests.unit.rpc.columns_reply import columns_reply

USER = Entity("user", "user_id", INT64)
ITEM = Entity("item", "item_id", spread=4)
POLICY = ViewPolicy(5.0, 300.0)


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
    """A RowReader over a dictionary: what it was asked for is kept. With ``down`` it does not answer."""

    def __init__(self, rows: Mapping[bytes, Row], *, down: bool = False) -> None:
        self.rows = rows
        self.down = down
        self.asked: list[list[bytes]] = []

    def refuses(self) -> Unread | None:
        """See RowReader.refuses."""
        return None

    async def read(self, keys: Sequence[bytes], until: float) -> Sequence[Row]:
        """See RowReader.read."""
        assert until > now()
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


def reader(
    rows: Rows,
    counts: Counters | None = None,
    max_keys: int = 100,
    registry: Registry = REGISTRY,
    policy: ViewPolicy = POLICY,
) -> FeatureReader:
    """Return a reader of a registry at the time NOW, through a chain of its own."""
    chain = ReadChain(ChainSettings(), Surroundings(now, Random(5), lambda _: None), NamedStore("memory", rows))
    return FeatureReader(
        registry, chain, counts or counters(), now_micros=lambda: NOW, max_keys=max_keys, policy=policy
    )


async def ask(of: FeatureReader, plan: ReadPlan, asked: Request) -> Answer:
    """Return the answer to a request that comes now."""
    return await of.read(plan, asked, now(), now() + 1.0)


def request(
    rows: int = 1, context: list[float] | None = None, most_s: float | None = None, **ids: list[str]
) -> Request:
    """Return a request of ids, of values of the context field now, and of copies up to ``most_s`` seconds old."""
    fields = {}
    if context is not None:
        given = [np.array([c], np.uint8) for c in (Status.PRESENT, Source.REQUEST)]
        fields["now"] = Column(FLOAT64, np.array(context), *given)
    return Request(rows, ids, fields, most_s)


def told(answer: Answer) -> dict[str, tuple[list[Any], list[int], list[int]]]:
    """Return values, statuses and sources of each column by name."""
    return {n: (c.values.tolist(), c.statuses.tolist(), c.sources.tolist()) for n, c, _ in answer.columns}


@in_virtual_time
async def test_columns_come_in_the_order_asked() -> None:
    """A service's features come in its order, with the view that each is from."""
    rows = Rows(stored("profile", ["7"], 30, 3.5) | stored("film", ["a"], 4.0, 1999) | stored("rated", ["7", "a"], 5.0))
    answer = await ask(reader(rows), REGISTRY.service_plan("model"), request(user_id=["7"], item_id=["a"]))
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


@in_virtual_time
async def test_one_read_has_each_row_once() -> None:
    """All views are read at once; a repeated id is read once and answered each time."""
    rows = Rows(stored("film", ["a"], 4.0, 1) | stored("film", ["b"], 2.0, 2) | stored("rated", ["7", "b"], 1.0))
    plan = REGISTRY.plan(("film", "rated", "profile:age"))
    asked = request(4, user_id=["7"], item_id=["a", "b", "a", "c"])
    answer = await ask(reader(rows), plan, asked)
    (keys,) = rows.asked
    assert len(keys) == len(set(keys)) == 3 + 3 + 1
    values = told(answer)
    assert values["film:mean"] == ([4.0, 2.0, 4.0, 3.0], [1, 1, 1, 3], [1, 1, 1, 4])
    assert values["rated:stars"] == ([0.0, 1.0, 0.0, 0.0], [3, 1, 3, 3], [4, 1, 4, 4])
    assert values["profile:age"] == ([-1], [3], [4])
    times = {v.name: v.event_micros.tolist() for v in answer.views}
    assert times == {"film": [NOW, NOW, NOW, NO_TIME], "rated": [NO_TIME, NOW, NO_TIME, NO_TIME], "profile": [NO_TIME]}


@in_virtual_time
async def test_no_rows_are_a_valid_request() -> None:
    """An empty column beside broadcast ones gives empty columns, and still the broadcast ones once."""
    rows = Rows({})
    plan = REGISTRY.plan(("film:mean", "rated", "profile:age", "live:gap"))
    answer = await ask(reader(rows), plan, request(0, user_id=["7"], item_id=[]))
    assert answer.rows == 0
    assert [len(c) for _, c, _ in answer.columns] == [0, 0, 1, 0]


@in_virtual_time
async def test_nothing_asked_reads_nothing() -> None:
    """A plan of request context alone does not trouble the store."""
    rows = Rows({}, down=True)
    answer = await ask(reader(rows), REGISTRY.plan(("request:now",)), request(context=[1.5]))
    assert rows.asked == []
    assert told(answer) == {"request:now": ([1.5], [Status.PRESENT], [Source.REQUEST])}


@in_virtual_time
async def test_context_reaches_on_demand_features() -> None:
    """A value per row of context gives a result per row, through other on-demand features too."""
    rows = Rows(stored("profile", ["7"], 30, 3.5) | stored("film", ["a"], 4.0, 1))
    plan = REGISTRY.plan(("live:idle",))
    answer = await ask(reader(rows), plan, request(2, context=[10.0, 20.0], user_id=["7"], item_id=["a"]))
    assert told(answer) == {"live:idle": ([10.5, 20.5], [1, 1], [5, 5])}


@in_virtual_time
async def test_pinned_versions_are_read_beside_the_active_one() -> None:
    """Two versions of a view are two rows under two keys, and the reply says which were served."""
    rows = Rows(stored("profile", ["7"], 30, 3.5) | stored("profile@v2", ["7"], 30.5))
    plan = REGISTRY.plan(("profile:age", "profile@v2:age", "profile@v1:age"))
    answer = await ask(reader(rows), plan, request(user_id=["7"]))
    assert [(n, c.values.tolist()) for n, c, _ in answer.columns] == [
        ("profile:age", [30]),
        ("profile@v2:age", [30.5]),
        ("profile@v1:age", [30]),
    ]
    assert [(v.name, v.version) for v in answer.views] == [("profile", 1), ("profile", 2)]
    assert len(rows.asked[0]) == 2


@in_virtual_time
async def test_a_store_that_is_down_is_still_an_answer() -> None:
    """Nothing read gives defaults, UNAVAILABLE for each, and says once per view that it is degraded."""
    plan = REGISTRY.plan(("profile", "film:mean", "live:gap"))
    answer = await ask(reader(Rows({}, down=True)), plan, request(2, user_id=["7"], item_id=["a", "b"]))
    assert told(answer)["profile:age"] == ([-1], [Status.UNAVAILABLE], [Source.DEFAULT])
    assert told(answer)["film:mean"] == ([3.0, 3.0], [5, 5], [4, 4])
    assert told(answer)["profile:mean"][1:] == ([Status.UNAVAILABLE], [Source.NONE])
    assert told(answer)["live:gap"] == ([0.0, 0.0], [5, 5], [4, 4])
    assert answer.degraded == [(Degraded.STORE_UNAVAILABLE, "profile@v1"), (Degraded.STORE_UNAVAILABLE, "film@v1")]


@in_virtual_time
async def test_rows_that_were_not_read_degrade_their_view_alone() -> None:
    """Where a part of the store does not answer, the other rows are answered."""
    found = stored("film", ["a"], 4.0, 1)
    lost = dict.fromkeys(stored("film", ["b"], 0.0, 0), UNREAD)
    plan = REGISTRY.plan(("film:mean", "profile:age"))
    answer = await ask(reader(Rows(found | lost)), plan, request(2, user_id=["7"], item_id=["a", "b"]))
    assert told(answer)["film:mean"] == ([4.0, 3.0], [1, 5], [1, 4])
    assert answer.degraded == [(Degraded.STORE_UNAVAILABLE, "film@v1")]


@pytest.mark.parametrize("garbage", [b"", b"garbage", tombstone(1, 1) + b"!", b"\x02" + bytes(40)])
@in_virtual_time
async def test_corrupt_rows_are_counted_and_logged_once(garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A corrupt row costs its own values, is counted each time and logged once per interval."""
    rows = Rows(dict.fromkeys(stored("film", ["a"], 0.0, 0), garbage) | stored("film", ["b"], 2.0, 2))
    counts = counters()
    plan = REGISTRY.plan(("film:mean",))
    of = reader(rows, counts)
    for _ in range(3):
        answer = await ask(of, plan, request(2, item_id=["a", "b"]))
    assert told(answer)["film:mean"] == ([3.0, 2.0], [5, 1], [Source.DEFAULT, Source.CACHE])
    assert answer.degraded == [(Degraded.CORRUPT_ROW, "film@v1")]
    assert len(rows.asked) == 3
    assert counts.corrupt_rows == {"film@v1": 3}
    assert [r.levelno for r in caplog.records] == [logging.ERROR]


@in_virtual_time
async def test_a_function_that_fails_costs_its_own_column(caplog: pytest.LogCaptureFixture) -> None:
    """A raise, a wrong shape: default and UNAVAILABLE for that feature and those made of it; the others are right."""
    rows, counts = Rows(stored("film", ["a"], 4.0, 1) | stored("film", ["b"], 2.0, 1)), counters()
    plan = REGISTRY.plan(("live:broken", "live:half", "live:spoilt", "film:mean"))
    answer = await ask(reader(rows, counts), plan, request(2, item_id=["a", "b"]))
    values = told(answer)
    assert values["live:broken"] == ([9.0, 9.0], [Status.UNAVAILABLE], [Source.DEFAULT])
    assert values["live:half"][1:] == ([Status.UNAVAILABLE], [Source.NONE])
    assert values["live:spoilt"] == ([5.0, 7.0], [5, 5], [Source.COMPUTED] * 2)
    assert values["film:mean"] == ([4.0, 2.0], [Status.PRESENT], [Source.STORE])
    assert answer.degraded == [(Degraded.ON_DEMAND_FAILED, "live@v1")]
    assert counts.on_demand_failures == {"live@v1:broken": 1, "live@v1:half": 1}
    assert len(caplog.records) == 2


@in_virtual_time
async def test_too_many_rows_are_refused_before_the_store_is_asked() -> None:
    """The limit is on distinct rows; the error has limit and actual value."""
    rows = Rows({})
    plan = REGISTRY.plan(("film:mean", "rated"))
    many = [str(i) for i in range(51)]
    with pytest.raises(LimitError, match="102 distinct rows of the store, at most 100"):
        await ask(reader(rows), plan, request(51, user_id=["7"], item_id=many))
    assert rows.asked == []
    await ask(reader(rows), plan, request(50, user_id=["7"], item_id=many[:50]))
    same = ["a"] * 1_000
    assert (await ask(reader(rows), plan, request(1_000, user_id=["7"], item_id=same))).rows == 1_000


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
        reply = pb.GetFeaturesBatchResponse.FromString(columns_reply(columns, "", event_times=True))
        assert reply.row_count == 1
        assert len(reply.columns[0].values.bools.values) == 1
        single = pb.GetFeaturesResponse.FromString(convert_reply.single(columns, "", event_times=True))
        assert len(single.features) == 6


def _columns_of(registry: Registry, rows: Mapping[bytes, Row]) -> Answer:
    """Return the answer for one row of the view every."""

    async def read() -> Answer:
        of = reader(Rows(rows), registry=registry)
        return await ask(of, registry.plan(("every",)), Request(1, {"item_id": ["a"]}, {}))

    loop = VirtualLoop()
    answer = loop.run_until_complete(read())
    loop.close()
    return answer


@in_virtual_time
async def test_a_reader_shows_what_it_reads() -> None:
    """repr() names the registry and the chain."""
    shown = repr(reader(Rows({})))
    assert "Registry(" in shown
    assert "ReadChain(" in shown


@in_virtual_time
async def test_copies_answer_while_they_are_fresh() -> None:
    """A call whose rows are all there does not wait; one whose copies are too old reads the store."""
    rows = Rows(stored("film", ["a"], 4.0, 1999))
    of, plan = reader(rows), REGISTRY.plan(("film:mean", "film:year"))
    asked = request(2, item_id=["a", "nobody"])
    first, second = await ask(of, plan, asked), await ask(of, plan, asked)
    assert told(first)["film:mean"] == ([4.0, 3.0], [1, 3], [Source.STORE, Source.DEFAULT])
    assert told(second)["film:mean"] == ([4.0, 3.0], [1, 3], [Source.CACHE, Source.DEFAULT])
    assert told(second)["film:year"] == ([1999, 0], [1, 3], [Source.CACHE, Source.NONE])
    assert [v.event_micros.tolist() for v in second.views] == [v.event_micros.tolist() for v in first.views]
    reads = of.reads(plan, asked)
    found = of.hit(reads, now())
    assert found is not None
    assert told(of.answer(plan, asked, reads, found)) == told(second)
    assert len(rows.asked) == 1
    await asyncio.sleep(5)
    assert of.hit(reads, now()) is None
    assert told(await ask(of, plan, asked)) == told(first)


@in_virtual_time
async def test_a_call_may_want_fresher_rows() -> None:
    """max_staleness bounds the age of copies, 0 reads the store each time; a longer one than the view's is no more."""
    rows = Rows(stored("film", ["a"], 4.0, 1999))
    of, plan = reader(rows), REGISTRY.plan(("film:mean",))
    for wait_s, most_s, reads in ((0, None, 1), (1, 2.0, 1), (1, 1.5, 2), (0, 0.0, 3), (1, 1e9, 3), (5, 1e9, 4)):
        await asyncio.sleep(wait_s)
        await ask(of, plan, request(item_id=["a"], most_s=most_s))
        assert len(rows.asked) == reads


@in_virtual_time
async def test_each_view_has_its_own_settings() -> None:
    """One that is never cached is read each time, together with what is missing of others; its copies stand in."""
    registry = Registry(
        views=[
            FeatureView("live", [ITEM], [Feature("mean", FLOAT64, 3.0)], cache=timedelta(0)),
            FeatureView("slow", [ITEM], [Feature("mean", FLOAT64, 3.0)], cache=timedelta(hours=1)),
            FeatureView("strict", [ITEM], [Feature("mean", FLOAT64, 3.0)], stale_if_error=timedelta(0)),
            FeatureView("lazy", [ITEM], [Feature("mean", FLOAT64, 3.0)], serve_default=False),
        ]
    )
    rows = Rows({})
    of, plan = reader(rows, registry=registry), registry.plan(("live", "slow", "strict", "lazy"))
    names = ["live", "slow", "strict", "lazy"]
    keys = {n: KeyMaker(registry.view(n)).keys([["a"]])[0] for n in names}
    codec = RowCodec(registry.schema(registry.view("live")))
    (row,) = codec.encode(np.array([NOW]), np.array([NOW]), [(np.array([4.0]), None)])
    rows.rows = dict.fromkeys(keys.values(), row)
    for expected in (names, ["live"]):
        await ask(of, plan, request(item_id=["a"]))
        assert rows.asked[-1] == [keys[n] for n in expected]
    await asyncio.sleep(20)
    rows.down = True
    answer = await ask(of, plan, request(2, item_id=["a", "b"]))
    assert told(answer) == {
        "live:mean": ([4.0, 3.0], [1, 5], [Source.STALE_CACHE, Source.DEFAULT]),
        "slow:mean": ([4.0, 3.0], [1, 5], [Source.CACHE, Source.DEFAULT]),
        "strict:mean": ([3.0, 3.0], [5, 5], [Source.DEFAULT] * 2),
        "lazy:mean": ([4.0, pytest.approx(np.nan, nan_ok=True)], [1, 5], [Source.STALE_CACHE, Source.NONE]),
    }
    assert [name for _, name in answer.degraded] == [f"{n}@v1" for n in names]


@in_virtual_time
async def test_stale_copies_are_told_with_their_age() -> None:
    """Each row of a view that has some says how old it is, 0 where it is none, and the reply says why."""
    rows = Rows(stored("film", ["a"], 4.0, 1999) | stored("profile", ["7"], 30, 3.5))
    of, plan = reader(rows), REGISTRY.plan(("film:mean", "profile:age", "live:gap"))
    await ask(of, plan, request(user_id=["7"], item_id=["a"]))
    await asyncio.sleep(100)
    rows.down = True
    answer = await ask(of, plan, request(4, user_id=["7"], item_id=["a", "b", "a", "c"]))
    assert told(answer)["film:mean"] == ([4.0, 3.0, 4.0, 3.0], [1, 5, 1, 5], [3, 4, 3, 4])
    assert told(answer)["profile:age"] == ([30], [1], [Source.STALE_CACHE])
    ages = {v.name: v.stale_micros for v in answer.views}
    assert ages["film"] is not None
    assert ages["film"].tolist() == [pytest.approx(100e6, rel=1e-3), 0] * 2
    assert ages["profile"] is not None
    assert len(ages["profile"]) == 1
    assert ages["live"] is None
    reasons = [(Degraded.STORE_UNAVAILABLE, "profile@v1"), (Degraded.STORE_UNAVAILABLE, "film@v1")]
    assert sorted(answer.degraded) == sorted(reasons)
    fresh = await ask(of, plan, request(user_id=["7"], item_id=["a"], most_s=50.0))
    assert told(fresh)["film:mean"] == ([3.0], [5], [Source.DEFAULT])
    assert all(v.stale_micros is None for v in fresh.views)


class OutOfReach(Rows):
    """A store that is not asked, and why."""

    why = Unread.REFUSED

    def refuses(self) -> Unread | None:
        """See RowReader.refuses."""
        return self.why


@in_virtual_time
async def test_why_rows_are_missing_is_told_per_view() -> None:
    """A store that is not asked is told apart from one that does not answer."""
    answer = await ask(
        reader(OutOfReach({})), REGISTRY.plan(("film:mean", "profile:age")), request(user_id=["7"], item_id=["a"])
    )
    assert sorted(answer.degraded) == [(Degraded.CIRCUIT_OPEN, "film@v1"), (Degraded.CIRCUIT_OPEN, "profile@v1")]
    assert told(answer)["film:mean"] == ([3.0], [Status.UNAVAILABLE], [Source.DEFAULT])


@in_virtual_time
async def test_a_corrupt_copy_is_read_again() -> None:
    """What turned out to be corrupt is kept by nobody: the next call finds what the store has by then."""
    (key,) = stored("film", ["a"], 0.0, 0)
    rows = Rows({key: b"garbage"})
    of, plan = reader(rows), REGISTRY.plan(("film:mean",))
    assert told(await ask(of, plan, request(item_id=["a"])))["film:mean"] == ([3.0], [5], [4])
    rows.rows = stored("film", ["a"], 4.0, 1)
    assert told(await ask(of, plan, request(item_id=["a"])))["film:mean"] == ([4.0], [1], [Source.STORE])
    assert told(await ask(of, plan, request(item_id=["a"])))["film:mean"] == ([4.0], [1], [Source.CACHE])


@given(tables(max_rows=5), st.lists(st.integers(0, 8), max_size=12))
@FEW
def test_copies_and_batches_change_nothing(table: Table, places: list[int]) -> None:
    """Cached or not, in a batch or one by one: the same values, statuses and event times, bit for bit."""
    features = [Feature(f"f{i}", t, default_of(t) if i % 2 else None) for i, t in enumerate(table.schema.types)]
    view = FeatureView("any", [ITEM], features, max_age=timedelta(days=365))
    registry = Registry(views=[view])
    stock: list[Row] = [*table.encode(), None, b"garbage", tombstone(NOW, NOW), *table.encode(1)[:1]]
    ids = [str(i) for i in places]
    rows = dict(zip(KeyMaker(view).keys([[str(i) for i in range(len(stock))]]), stock, strict=True))
    loop = VirtualLoop()
    loop.run_until_complete(_compare(registry, rows, ids))
    loop.close()


async def _compare(registry: Registry, rows: dict[bytes, Row], ids: list[str]) -> None:
    of, plan = reader(Rows(rows), registry=registry), registry.plan(("any",))
    uncached, first, second = [await ask(of, plan, request(len(ids), item_id=ids, most_s=m)) for m in (0.0, None, None)]
    expected = bits(uncached)
    assert bits(first) == bits(second) == expected
    for most_s in (0.0, None):
        singles = [await ask(of, plan, request(item_id=[i], most_s=most_s)) for i in ids]
        assert [row for single in singles for row in bits(single)] == expected
    swapped = {int(Source.STORE): int(Source.CACHE)}
    found = [[swapped.get(s, s) for s in sources] for _, _, sources in told(uncached).values()]
    hits = await ask(of, plan, request(len(ids), item_id=ids))
    corrupt = {Degraded.CORRUPT_ROW} <= {reason for reason, _ in uncached.degraded}
    assert corrupt or [sources for _, _, sources in told(hits).values()] == found


@pytest.mark.parametrize("size", [1, 4, 1_000])
@pytest.mark.parametrize("busy", [True, False])
@in_virtual_time
async def test_an_answer_in_pieces_is_the_answer(size: int, busy: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001  # a parameter of the test
    """However a large answer is cut, it is what it would have been in one piece; others get their turn in between."""
    monkeypatch.setattr("recsvc.online.in_turns.CELLS_PER_PIECE", size)
    kept = [stored("film", [i], float(ord(i)), None if i == "b" else 1) for i in "abcdef"]
    rows = Rows(
        {k: r for row in kept for k, r in row.items()} | dict.fromkeys(stored("film", ["g"], 0.0, 0), b"garbage")
    )
    plan = REGISTRY.plan(("film", "rated", "profile:age", "live:gap"))
    asked = request(12, user_id=["7"], item_id=[*"abcdefgabxyz"])
    counts, ticks = counters(), iter(range(1_000))
    of = reader(rows, counts)
    await ask(of, plan, request(2, user_id=["7"], item_id=["a", "c"]))
    reads = of.reads(plan, asked)
    found = await of.fetch(reads, now(), now() + 1.0)
    whole = of.answer(plan, asked, reads, found)
    turns = Turns(lambda: float(next(ticks)) if busy else 0.0)
    others: list[bool] = []
    asyncio.get_running_loop().call_soon(others.append, True)  # noqa: FBT003  # a mark
    cut = await of.answer_in_turns(plan, asked, reads, found, turns)
    assert spread(cut) == spread(whole)
    assert [v.event_micros.tolist() for v in cut.views] == [v.event_micros.tolist() for v in whole.views]
    assert cut.degraded == whole.degraded == [(Degraded.CORRUPT_ROW, "film@v1")]
    assert counts.corrupt_rows == {"film@v1": 2}
    assert bool(others) == busy
    assert repr(turns).startswith("Turns(began ")


@in_virtual_time
async def test_strings_and_lists_are_put_together_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of columns whose values have lengths of their own are one column in the order asked."""
    monkeypatch.setattr("recsvc.online.in_turns.CELLS_PER_PIECE", 6)
    view, ids = EVERY.view("every"), ["a", "b", "none", "c"]
    texts: list[Any] = [
        [b"a", b"", b"ccc"],
        [bytes(8), b"", bytes(16)],
        [b"\1\0\0\0\1\0\0\0" + c for c in (b"x", b"y", b"z")],
    ]
    numbers = [(np.array([True, False, True]), None), (np.ones((3, 2)), None), (np.array([5, 6, 7]), None)]
    columns = [numbers[0], *((text, None) for text in texts), *numbers[1:]]
    times = np.full(3, NOW)
    rows = RowCodec(EVERY.schema(view)).encode(times, times, columns)
    keys = KeyMaker(view).keys([["a", "b", "c"]])
    of, plan = reader(Rows(dict(zip(keys, rows, strict=True))), registry=EVERY), EVERY.plan(("every",))
    asked = request(4, item_id=ids)
    reads = of.reads(plan, asked)
    found = await of.fetch(reads, now(), now() + 1.0)
    cut = await of.answer_in_turns(plan, asked, reads, found, Turns(now))
    assert bits(cut) == bits(of.answer(plan, asked, reads, found))
    assert told(cut)["every:s"][0] == ["a", "", "", "ccc"]


@in_virtual_time
async def test_forgotten_plans_are_prepared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of plans has a bound; beyond it each still reads its own views."""
    monkeypatch.setattr("recsvc.online.features.PLANS_KEPT", 2)
    of, asked = reader(Rows({})), request(user_id=["7"], item_id=["a"])
    for names in (("film:mean",), ("profile:age",), ("rated",), ("film:mean",), ("film:year", "rated")):
        assert list(told(await ask(of, REGISTRY.plan(names), asked))) == list(
            told(await ask(reader(Rows({})), REGISTRY.plan(names), asked))
        )


def spread(answer: Answer) -> dict[str, list[tuple[str, int, int]]]:
    """Return value, status and source of each row of each column, also where one code stands for all."""
    columns = told(answer).items()
    return {n: [(repr(v), s[i % len(s)], c[i % len(c)]) for i, v in enumerate(values)] for n, (values, s, c) in columns}


def bits(answer: Answer) -> list[tuple[Any, ...]]:
    """Return of each row its event time, and the bytes and status of each value."""
    (view,) = answer.views
    columns = []
    for _, column, _ in answer.columns:
        values = [
            repr(v.tolist() if hasattr(v, "tolist") else v) if column.values.dtype == object else v.tobytes()
            for v in column.values
        ]
        columns.append(zip(values, np.broadcast_to(column.statuses, len(values)).tolist(), strict=True))
    return list(zip(view.event_micros.tolist(), *columns, strict=True))
