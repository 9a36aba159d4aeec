"""Reloading definitions in a running server: checked first, swapped whole, and never a danger to what runs."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import redis.asyncio

from recsvc.app import App, running
from recsvc.pb import serving_pb2 as pb
from tests.parts.topologies import Endpoint
from tests.parts.waiting import eventually
from tests.rpc.calling import Caller, facts
from tests.rpc.own_redis import own_redis
from tests.rpc.serving import settings

pytestmark = pytest.mark.usefixtures("no_records")

TEXT = """
from recsvc import *
user = Entity("user", "user_id", INT64)
registry = Registry(views=[FeatureView("profile", [user], [Feature("age", INT64, default=1)])])
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of definitions."""
    written = tmp_path / "definitions.py"
    written.write_text(TEXT)
    return written


@pytest.fixture
async def app(file: Path, redis_8: Endpoint, caplog: pytest.LogCaptureFixture) -> AsyncIterator[App]:
    """A server of those definitions."""
    with caplog.at_level(logging.INFO):
        async with running(settings(redis_8.url), str(file)) as server:
            yield server


async def age(app: App) -> object:
    """Return what a server answers for a user that it does not know: the default."""
    async with Caller(app.address) as caller:
        row = await caller.one(pb.GetFeaturesRequest(entities={"user_id": "404"}, features=["profile:age"]))
    return facts(row)["profile:age"][0]


async def test_changed_definitions_are_served(app: App, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After a reload calls are answered by the new definitions, and the log says what has changed."""
    assert await age(app) == 1
    file.write_text(TEXT.replace("default=1", "default=2"))  # noqa: ASYNC240  # a few bytes
    before = app.registry
    app.reload()
    await eventually(lambda: app.registry is not before)
    assert await age(app) == 2
    assert f"reloaded: registry {app.registry.fingerprint}, 1 changes; " in caplog.text
    assert "default 1 -> 2" in caplog.text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            TEXT.replace("INT64, default", "FLOAT64, default"),
            "reload refused, the old definitions stay: view 'profile@v1'",
        ),
        (TEXT.replace("profile", "Profile"), "reload refused, the old definitions stay: view 'Profile'"),
        ("1 / 0", "reload refused, the old definitions stay: definitions: "),
        (f"{TEXT}\ndel registry.entities", "reload failed, the old definitions stay\nTraceback"),
    ],
    ids=["breaking", "wrong", "raising", "odd"],
)
async def test_what_cannot_be_served_is_refused(
    app: App, file: Path, caplog: pytest.LogCaptureFixture, text: str, told: str
) -> None:
    """Definitions that break, are wrong or fail in whatever way leave the old ones, and can be mended."""
    file.write_text(text)  # noqa: ASYNC240  # a few bytes
    before = app.registry
    app.reload()
    await eventually(lambda: told in caplog.text)
    assert (app.registry is before, await age(app)) == (True, 1)
    file.write_text(TEXT)  # noqa: ASYNC240  # a few bytes
    app.reload()
    await eventually(lambda: f"reloaded: registry {before.fingerprint}, 0 changes" in caplog.text)


async def record(url: str, *lines: str) -> None:
    """Record that the store has rows of the view profile with these features."""
    async with redis.asyncio.Redis.from_url(url) as client:
        await client.set("fs:schema:profile:v1", json.dumps(lines))


@pytest.fixture
async def recorded(redis_8: Endpoint, no_records: None) -> str:
    """A store with rows of the view profile that have an age and a year."""
    await record(redis_8.url, "age:INT64", "year:INT64")
    return redis_8.url


OTHER = TEXT.replace("INT64, default=1", "FLOAT64, default=1")
WRONG: Final = (
    "view 'profile@v1': the store holds rows whose feature 1 is 'age:INT64', here it is 'age:FLOAT64';"
    " give the view a new version"
)


async def reloaded(app: App, file: Path, text: str) -> None:
    """Change the definitions, and wait until they are served."""
    before = app.registry
    file.write_text(text)  # noqa: ASYNC240  # a few bytes
    app.reload()
    await eventually(lambda: app.registry is not before)


async def test_a_start_on_other_rows_is_told_and_can_be_mended(
    recorded: str, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server starts, for other views may be right, and says which is not; what fits the store may be loaded."""
    file.write_text(OTHER)  # noqa: ASYNC240  # a few bytes
    async with running(settings(recorded), str(file)) as app:
        await eventually(lambda: f"stored rows cannot be served: {WRONG}" in caplog.text)
        await reloaded(app, file, TEXT)
        assert await age(app) == 1
    assert caplog.text.count(WRONG) == 1


async def test_two_reloads_carry_no_other_rows_past_the_store(
    recorded: str, app: App, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A view that was taken away, and comes with another type, is judged by its stored rows."""
    await reloaded(app, file, TEXT.replace("profile", "other"))
    assert "callers may break: view 'profile@v1': removed" in caplog.text
    file.write_text(OTHER)  # noqa: ASYNC240  # a few bytes
    app.reload()
    await eventually(lambda: f"reload refused, the old definitions stay: {WRONG}" in caplog.text)
    await reloaded(app, file, TEXT)
    assert await age(app) == 1


async def test_an_appended_feature_can_be_taken_back(
    recorded: str, app: App, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Readers ignore what rows have at their end; another feature in its place is refused, as rows have the first."""
    more = '[Feature("age", INT64, default=1), Feature("year", INT64)]'
    appended = TEXT.replace('[Feature("age", INT64, default=1)]', more)
    await reloaded(app, file, appended)
    await reloaded(app, file, TEXT)
    assert "reloaded: callers may break: view 'profile@v1': feature 'year' dropped from the end" in caplog.text
    file.write_text(appended.replace('"year", INT64', '"year", FLOAT64'))  # noqa: ASYNC240  # a few bytes
    app.reload()
    await eventually(lambda: "feature 2 is 'year:INT64', here it is 'year:FLOAT64'" in caplog.text)
    assert await age(app) == 1


async def test_a_store_that_comes_back_is_looked_at(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without a store the server starts and reloads, and says nothing of rows until there are any."""
    file.write_text(OTHER)  # noqa: ASYNC240  # a few bytes
    with own_redis() as own:
        own.kill()
        async with running(settings(own.url, redis_at_start="optional"), str(file)) as app:
            await reloaded(app, file, OTHER.replace("default=1", "default=2"))
            assert "stored rows" not in caplog.text
            own.start()
            await record(own.url, "age:INT64")
            await eventually(lambda: WRONG in caplog.text)
