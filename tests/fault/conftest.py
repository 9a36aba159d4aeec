"""Fixtures of the fault tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.rpc.own_redis import OwnRedis, own_redis


@pytest.fixture(autouse=True)
def _every_change_of_a_breaker(caplog: pytest.LogCaptureFixture) -> None:
    """Have the log tell of each change of a breaker, of which most are of no interest to people."""
    caplog.set_level(logging.DEBUG, "recsvc.telemetry.counters")


@pytest.fixture
def store() -> Iterator[OwnRedis]:
    """A Redis of one test's own."""
    with own_redis() as own:
        yield own
