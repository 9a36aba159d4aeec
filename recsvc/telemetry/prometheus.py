"""The page that Prometheus scrapes: all metrics, with names as the OpenTelemetry specification maps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, make_wsgi_app, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from recsvc.telemetry.metrics import Metrics, prometheus_name
from recsvc.telemetry.series import Distribution, Instrument, Kind, Labels, Value

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

PATH: Final = "/metrics"
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class MetricsCollector(Collector):
    """Gives all metrics to prometheus_client. ``facts`` are those of the process, in the metric target_info."""

    def __init__(self, metrics: Metrics, facts: Mapping[str, str]) -> None:
        self._metrics = metrics
        self._facts = {_label(name): value for name, value in facts.items()}

    def __repr__(self) -> str:
        return f"MetricsCollector({self._metrics!r})"

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand."""
        return []

    def collect(self) -> Iterable[Metric]:
        """See Collector."""
        yield InfoMetricFamily("target", "what this process is", value=self._facts)
        for instrument, points in self._metrics.collect():
            family = _family(instrument)
            for labels, value in points:
                _add(family, labels, value)
            yield family


def _family(of: Instrument) -> Family:
    name, labels = prometheus_name(of), [_label(label) for label in of.labels]
    match of.kind:
        case Kind.COUNTER:
            return CounterMetricFamily(name.removesuffix("_total"), of.text, labels=labels)
        case Kind.GAUGE | Kind.UP_DOWN:
            return GaugeMetricFamily(name, of.text, labels=labels)
        case Kind.HISTOGRAM:
            return HistogramMetricFamily(name, of.text, labels=labels)


def _add(family: Family, labels: Labels, value: Value) -> None:
    if isinstance(value, Distribution):
        bounds = [*map(floatToGoString, value.bounds), "+Inf"]
        buckets = list(zip(bounds, map(float, accumulate(value.counts)), strict=True))
        if isinstance(family, HistogramMetricFamily):
            family.add_metric(labels, buckets, sum_value=value.sum)
    elif not isinstance(family, HistogramMetricFamily):
        family.add_metric(labels, value)


def _label(name: str) -> str:
    return name.replace(".", "_").replace("-", "_")


def _at_path(page: WSGIApplication) -> WSGIApplication:
    """Return an application that has the page at its path alone, and tells nobody which versions run here."""

    def application(asked: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        server = ("Server", "recsvc")
        if asked["PATH_INFO"] == PATH:
            return page(asked, lambda status, headers, *error: start(status, [*headers, server], *error))
        start("404 Not Found", [("Content-Type", "text/plain"), server])
        return [f"metrics are at {PATH}\n".encode()]

    return application


class MetricsPage:
    """Serves the page on ``host``:``port``, in a thread, until ``close``. Raises OSError where that cannot be."""

    def __init__(self, metrics: Metrics, facts: Mapping[str, str], host: str, port: int) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(MetricsCollector(metrics, facts))
        self._server, self._thread = start_http_server(port, host, registry)
        self._server.set_app(_at_path(make_wsgi_app(registry)))
        self.address = f"[{host}]:{self._server.server_port}" if ":" in host else f"{host}:{self._server.server_port}"

    def __repr__(self) -> str:
        return f"MetricsPage({self.address})"

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
