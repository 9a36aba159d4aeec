"""On-demand functions that fail cost their own column, and tell callers nothing but that."""

from __future__ import annotations

import logging

import pytest

from recsvc.pb import serving_pb2 as pb
from recsvc.telemetry.repeats import Repeats
from tests.rpc.calling import BATCH, SINGLE, column_facts, degraded, facts, int64s
from tests.rpc.definitions import SECRET
from tests.rpc.serving import Served

pytestmark = pytest.mark.asyncio(loop_scope="module")

FEATURES = ["live:faulty", "profile:age", "live:faulty_bare", "request:fault"]
FAULTS = ["raise", "shape", "dtype", "list", "write"]


def single(fault: str) -> pb.GetFeaturesRequest:
    """Ask for features that fail as told, among others."""
    context = {"fault": pb.Value(string_value=fault)}
    return pb.GetFeaturesRequest(entities={"user_id": "404"}, features=FEATURES, context=context)


def batch(fault: str) -> pb.GetFeaturesBatchRequest:
    """Ask for the same of two users, with the context per row."""
    context = {"fault": pb.ColumnValues(strings=pb.StringColumn(values=[fault, fault]))}
    return pb.GetFeaturesBatchRequest(entities={"user_id": int64s(404, 405)}, features=FEATURES, context=context)


async def test_functions_that_work_are_not_degraded(served: Served) -> None:
    """Told nothing, the functions answer."""
    row = await served.caller.one(single("none"))
    assert (facts(row)["live:faulty"], degraded(row)) == ((0.25, "PRESENT", "COMPUTED"), set())


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_failing_function_costs_only_its_column(served: Served, fault: str) -> None:
    """UNAVAILABLE with the default, or with nothing; the other columns are as ever, and `degraded` names the view."""
    failed = {"live:faulty": (9.0, "UNAVAILABLE", "DEFAULT"), "live:faulty_bare": (None, "UNAVAILABLE", "NONE")}
    others = {"profile:age": (-1, "NOT_FOUND", "DEFAULT"), "request:fault": (fault, "PRESENT", "REQUEST")}
    row = await served.caller.one(single(fault))
    assert facts(row) == failed | others
    columns = await served.caller.many(batch(fault))
    assert column_facts(columns) == {name: [fact] * 2 for name, fact in (failed | others).items()}
    assert degraded(row) == degraded(columns) == {("ON_DEMAND_FAILED", "live@v1")}


async def test_failures_are_counted_and_logged_once(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Each failure counts under its feature; the log has the exception, once per interval."""
    before = served.counters.on_demand_failures["live@v1:faulty"]
    served.counters._repeats = Repeats(lambda: 0.0, 60.0)
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            await served.caller.one(single("raise"))
    assert served.counters.on_demand_failures["live@v1:faulty"] == before + 5
    lines = [r for r in caplog.records if "live@v1:faulty " in r.getMessage()]
    assert len(lines) == 1
    assert SECRET in caplog.text


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_exception_text_reaches_a_caller(served: Served, fault: str) -> None:
    """What a function's exception says stays with us."""
    answers = [
        await served.caller.raw(SINGLE, single(fault).SerializeToString()),
        await served.caller.raw(BATCH, batch(fault).SerializeToString()),
    ]
    for answer in answers:
        assert isinstance(answer, bytes)
        assert SECRET.encode() not in answer
