"""Fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rpc.own_redis import OwnRedis, own_redis


@pytest.fixture
def store() -> Iterator[OwnRedis]:
    """A Redis of one test's own."""
    with own_redis() as own:
        yield own
