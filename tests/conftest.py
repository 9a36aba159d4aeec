"""Fixtures for all tests: real Redis servers, started when first asked for and kept until the end of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import redis
from hypothesis import settings

from recsvc.demo.synthetic import write_dataset
from tests.e2e.demo_server import DemoServer, running_demo
from tests.e2e.movielens import movielens
from tests.parts.topologies import TOPOLOGIES, Endpoint, unix_socket, with_search

settings.register_profile("recsvc", deadline=None)  # a test that takes long is not wrong: the machine may be busy
settings.load_profile("recsvc")


@pytest.fixture(scope="session")
def redis_8() -> Iterator[Endpoint]:
    """A Redis 8.2 on a unix socket, shared by all tests: use keys of your own or flush it first."""
    with unix_socket() as endpoint:
        yield endpoint


@pytest.fixture
def no_records(redis_8: Endpoint) -> None:
    """Forget which features the rows in `redis_8` have: servers compare their views with what other tests wrote."""
    with redis.Redis.from_url(redis_8.admin_url) as client:
        for key in client.scan_iter("fs:schema:*"):
            client.delete(key)


@pytest.fixture(scope="session")
def redis_search() -> Iterator[Endpoint]:
    """A Redis 8.2 with the Query Engine, shared like `redis_8`."""
    with with_search() as (endpoint, _):
        yield endpoint


@pytest.fixture(scope="session")
def redis_endpoint() -> Iterator[Callable[[str], Endpoint]]:
    """Return the endpoint of a name in `TOPOLOGIES`, started at the first call, one per run."""
    started: dict[str, Endpoint] = {}
    with ExitStack() as stack:

        def endpoint(name: str) -> Endpoint:
            if name not in started:
                started[name] = stack.enter_context(TOPOLOGIES[name]())
            return started[name]

        yield endpoint


@pytest.fixture(params=list(TOPOLOGIES))
def store_endpoint(request: pytest.FixtureRequest, redis_endpoint: Callable[[str], Endpoint]) -> Endpoint:
    """Each Redis that recsvc serves from, one after another; shared like `redis_8`."""
    return redis_endpoint(request.param)


@pytest.fixture(scope="session", params=["made-up", "movielens"])
def demo_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    """A running `recsvc demo` on each data set, for as long as the tests need it."""
    if request.param == "movielens":
        directory = movielens()
    else:
        directory = tmp_path_factory.mktemp("made-up")
        write_dataset(directory, seed=20)
    with running_demo(directory) as server:
        yield server
