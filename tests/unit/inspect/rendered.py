"""Metrics pages as a server of ours has them, from metrics that a test has filled."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from recsvc.inspect.page_series import Page, parse
from recsvc.telemetry.metrics import Metrics
from recsvc.telemetry.prometheus import MetricsCollector


def text_of(metrics: Metrics, instance: str = "one") -> str:
    """Return the text of the page."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(MetricsCollector(metrics, {"service.instance.id": instance}))
    return generate_latest(registry).decode()


def page_of(metrics: Metrics, instance: str = "one") -> Page:
    """Return the page as it is read."""
    return parse(text_of(metrics, instance))
