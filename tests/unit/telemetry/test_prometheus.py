"""The page that Prometheus scrapes: where it is, and what it tells."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse

import pytest

from recsvc.telemetry.metrics import Metrics
from recsvc.telemetry.prometheus import MetricsPage


@pytest.fixture
def page() -> Iterator[MetricsPage]:
    """A page."""
    made = MetricsPage(Metrics(), {"service.instance.id": "one"}, "127.0.0.1", 0)
    yield made
    made.close()


def asked(page: MetricsPage, path: str) -> tuple[HTTPResponse, str]:
    """Return what is answered for a path."""
    connection = HTTPConnection(page.address)
    connection.request("GET", path)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer, text


@pytest.mark.parametrize("path", ["/metrics", "/metrics?name[]=target_info"])
def test_the_page_is_at_its_path(page: MetricsPage, path: str) -> None:
    """Where Prometheus looks for it; parameters of a scrape do not matter."""
    assert asked(page, path)[0].status == 200
    assert 'target_info{service_instance_id="one"} 1.0' in asked(page, "/metrics")[1]


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics/", "/favicon.ico"])
def test_nothing_else_is_there(page: MetricsPage, path: str) -> None:
    """A probe that is pointed there by mistake is not green."""
    answer, text = asked(page, path)
    assert (answer.status, text) == (404, "metrics are at /metrics\n")


@pytest.mark.parametrize("path", ["/metrics", "/"])
def test_no_versions_are_told(page: MetricsPage, path: str) -> None:
    """Neither of Python nor of its server."""
    assert asked(page, path)[0].headers.get_all("Server") == ["recsvc"]
