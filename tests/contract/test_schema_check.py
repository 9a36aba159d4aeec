"""Views are compared with the rows that are stored, on every Redis, by a user that may only read."""

from __future__ import annotations

import logging

import pytest

from recsvc import FLOAT64, INT64, STRING, Entity, Feature, FeatureView, Registry
from recsvc.errors import DefinitionError
from recsvc.online.redis_connect import ConnectionSettings
from recsvc.online.redis_open import open_redis
from recsvc.online.redis_schemas import SchemaCheck
from recsvc.registry.schema import Schema
from tests.parts.topologies import Endpoint
from tests.rpc.own_redis import own_redis

SETTINGS = ConnectionSettings(connect_timeout_s=5.0)
USER = Entity("user", "user_id", INT64)
PLAYS = [Feature("plays", INT64), Feature("name", STRING[8])]
VIEWS = [FeatureView(f"view_{i}", [USER], PLAYS) for i in range(20)]
OTHERS = [FeatureView("view_3", [USER], [Feature("plays", FLOAT64)]), FeatureView("view_4", [USER], PLAYS[:1])]
NEW = FeatureView("new", [USER], [Feature("plays", FLOAT64)])
WRONG = (
    "view 'view_3@v1': the store holds rows whose feature 1 is 'plays:INT64', here it is 'plays:FLOAT64';"
    " give the view a new version"
)


async def fill(url: str) -> None:
    """Record the features of all views."""
    async with open_redis(url, SETTINGS) as admin:
        for view in VIEWS:
            await admin.client.delete(f"fs:schema:{view.name}:v1")
            await admin.writer().prepare(view, Schema.of(view.features))


async def test_views_of_other_rows_are_told_once(store_endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    """A line for the view of other features; none where features were appended, dropped or never stored."""
    await fill(store_endpoint.admin_url)
    async with open_redis(store_endpoint.url, SETTINGS) as store:
        check = SchemaCheck(store.client)
        assert await check.stored([*VIEWS, NEW]) == {(v.name, 1): ["plays:INT64", "name:STRING"] for v in VIEWS}
        assert await check.tell(Registry(views=VIEWS))
        assert caplog.record_tuples == []
        for _ in range(2):
            assert await check.tell(Registry(views=[*OTHERS, NEW, *VIEWS[5:]]))
    told = [(r.levelno, r.getMessage()) for r in caplog.records]
    assert told == [(logging.ERROR, f"stored rows cannot be served: {WRONG}")]


async def test_a_record_that_is_none_is_told(redis_8: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever spoilt a record reads what to do; who must know it is told by an error."""
    async with open_redis(redis_8.url, SETTINGS) as store:
        await store.client.set("fs:schema:new:v1", "garbage")
        check = SchemaCheck(store.client)
        with pytest.raises(DefinitionError, match="fs:schema:new:v1 in the store is not a JSON list"):
            await check.stored([NEW])
        assert await check.tell(Registry(views=[NEW]))
        await store.client.delete("fs:schema:new:v1")
    assert "view new@v1: fs:schema:new:v1 in the store is not a JSON list of 'name:TYPE'; delete it" in caplog.text


@pytest.mark.parametrize("how", ["killed", "silent"])
async def test_of_a_store_that_is_away_nothing_is_told(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """A store that does not answer holds nobody up, and says neither yes nor no."""
    with own_redis() as own:
        async with open_redis(own.url, SETTINGS) as store:
            check = SchemaCheck(store.client)
            if how == "killed":
                own.kill()
                assert await _is_unknown(check)
            else:
                with own.paused():
                    assert await _is_unknown(check)
    assert caplog.record_tuples == []


async def _is_unknown(check: SchemaCheck) -> bool:
    return await check.stored(VIEWS) is None and not await check.tell(Registry(views=VIEWS))
