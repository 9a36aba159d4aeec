"""A batch is nothing but a loop of single calls, value by value, status by status, source by source."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsvc.pb import serving_pb2 as pb
from tests.rpc import definitions
from tests.rpc.calling import Fact, column_facts, degraded, facts, int64s, strings
from tests.rpc.definitions import clicks, film_1, film_2, profile, rated
from tests.rpc.rows import now_micros
from tests.rpc.serving import Served
from tests.rpc.test_values import FULL, HOUR

pytestmark = pytest.mark.asyncio(loop_scope="module")

USERS: Final = range(8)
ITEMS: Final = ["a", "b", "ü", "{c}", "d e"]
REFERENCES: Final = [
    *(f"profile:{f.name}" for f in profile.features),
    *("profile", "clicks", "clicks:rate", "film", "film@v1:title", "film@v2", "film@v2:year", "rated:rating"),
    *("live:age_plus", "live:ratio_plus", "live:plus_plus", "live:pair", "live:faulty", "request:offset"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stocked(served: Served) -> AsyncIterator[Served]:
    """A server whose rows are of all kinds: full, null, short, old, deleted, corrupt and none."""
    rows = served.rows
    rows.put(profile, ["0"], FULL)
    rows.put(profile, ["1"], {**dict.fromkeys(FULL), "age": 5, "taste": [1.0, 2.0, 3.0]})
    rows.put(profile, ["2"], FULL, written=6)
    rows.put(profile, ["3"], {**FULL, "tags": [], "recent": []}, event_micros=1)
    rows.bury(profile, ["4"])
    rows.put_bytes(profile, ["5"], b"\x01\x00rubbish that is long enough for a header and more")
    for user, age in ((0, 0), (1, 3 * HOUR), (2, HOUR)):
        rows.put(clicks, [str(user)], {"today": user, "rate": 0.5}, event_micros=now_micros() - age)
    rows.put(film_1, ["a"], {"year": 1990, "title": "A"})
    rows.put(film_1, ["{c}"], {"year": None, "title": "C"})
    rows.put(film_2, ["ü"], {"year": 1.5})
    for user, item in ((0, "a"), (0, "ü"), (7, "d e")):
        rows.put(rated, [str(user), item], {"rating": user + 0.25})
    yield served


@st.composite
def columns(draw: st.DrawFn) -> tuple[int, list[int], list[str], list[int]]:
    """Draw a number of rows, and for each key and the context either one value or as many."""
    n = draw(st.integers(1, 6))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        length = draw(st.sampled_from([1, n]))
        return draw(st.lists(values, min_size=length, max_size=length))

    return n, column(st.sampled_from(USERS)), column(st.sampled_from(ITEMS)), column(st.integers(-9, 9))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=columns(), references=st.lists(st.sampled_from(REFERENCES), min_size=1, max_size=5), times=st.booleans())
async def test_a_batch_is_a_loop_of_single_calls(
    stocked: Served,
    drawn: tuple[int, list[int], list[str], list[int]],
    references: list[str],
    times: bool,  # noqa: FBT001
) -> None:
    """For any ids and references both ways say the same of every value, and what did not work is told by both."""
    _, users, items, offsets = drawn
    context = {
        "offset": pb.ColumnValues(int64s=pb.Int64Column(values=offsets)),
        "weight": pb.ColumnValues(float64s=pb.Float64Column(values=[0.5])),
        "fault": pb.ColumnValues(strings=pb.StringColumn(values=["raise"])),
    }
    batch = await stocked.caller.many(
        pb.GetFeaturesBatchRequest(
            entities={"user_id": int64s(*users), "item_id": strings(*items)},
            features=references,
            context=context,
            include_event_times=times,
        )
    )
    rows = max(len(users), len(items), len(offsets))
    assert batch.row_count == rows
    whole = [one_row(users, items, offsets, row) for row in range(rows)]
    singles = await asyncio.gather(*(single(stocked, one, references, times=times) for one in whole))
    found = column_facts(batch)
    for row, answer in enumerate(singles):
        assert {name: same(column[row]) for name, column in found.items()} == {
            name: same(fact) for name, fact in facts(answer).items()
        }
    assert degraded(batch) == set().union(*map(degraded, singles))
    if times:
        assert_same_times(batch, singles)


def one_row(users: Sequence[int], items: Sequence[str], offsets: Sequence[int], row: int) -> tuple[int, str, int]:
    """Return the ids and the context of one row."""
    return users[row % len(users)], items[row % len(items)], offsets[row % len(offsets)]


async def single(
    stocked: Served, one: tuple[int, str, int], references: list[str], *, times: bool
) -> pb.GetFeaturesResponse:
    """Ask for one row."""
    user, item, offset = one
    context = {
        "offset": pb.Value(int64_value=offset),
        "weight": pb.Value(float64_value=0.5),
        "fault": pb.Value(string_value="raise"),
    }
    return await stocked.caller.one(
        pb.GetFeaturesRequest(
            entities={"user_id": str(user), "item_id": item},
            features=references,
            context=context,
            include_event_times=times,
        )
    )


def same(fact: Fact) -> Fact:
    """Make NaN equal to itself."""
    value, status, source = fact
    return ("NaN" if isinstance(value, float) and math.isnan(value) else value), status, source


def assert_same_times(batch: pb.GetFeaturesBatchResponse, singles: Sequence[pb.GetFeaturesResponse]) -> None:
    """Compare the event times of stored features: per feature in one row, per view in columns."""
    times = {(v.view, v.version): list(v.event_time_micros) for v in batch.views}
    for row, answer in enumerate(singles):
        for feature in answer.features:
            view, _, version = feature.name.partition(":")[0].partition("@v")
            if view in {"live", "request"}:
                continue
            column = times[view, int(version or definitions.registry.active[view])]
            known = feature.event_time_micros if feature.HasField("event_time_micros") else -(2**63)
            assert column[row % len(column)] == known


async def test_a_large_answer_is_made_of_small_ones(served: Served) -> None:
    """1,000 rows of text and numbers, made in pieces, say what 10 times 100 rows say."""
    names = [f"large{i}" for i in range(1_000)]
    for i, name in enumerate(names[::3]):
        served.rows.put(film_1, [name], {"year": i, "title": None if i % 7 == 0 else f"title {i} é"})
    asked = ["film", "rated:rating", "film@v2:year"]

    def request(ids: Sequence[str]) -> pb.GetFeaturesBatchRequest:
        columns = {"user_id": strings("1"), "item_id": strings(*ids)}
        return pb.GetFeaturesBatchRequest(entities=columns, features=asked, include_event_times=True)

    large = column_facts(await served.caller.many(request(names)))
    small: dict[str, list[Fact]] = {name: [] for name in large}
    for start in range(0, len(names), 100):
        for name, some in column_facts(await served.caller.many(request(names[start : start + 100]))).items():
            small[name] += some
    assert large == small
    assert len(large["film:title"]) == len(names)
