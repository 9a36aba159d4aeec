"""Reloading definitions in a running server: checked first, swapped whole, and never a danger to what runs."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from recsvc.app import App, running
from recsvc.pb import serving_pb2 as pb
from tests.parts.topologies import Endpoint
from tests.parts.waiting import eventually
from tests.rpc.calling import Caller, facts
from tests.rpc.serving import settings

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
