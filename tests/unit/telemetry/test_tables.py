"""One file for names of spans and attributes, one for metrics, one README table for each."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsvc.telemetry import metrics, names
from recsvc.telemetry.metrics import INSTRUMENTS, prometheus_name
from recsvc.telemetry.series import Instrument, Kind

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OURS = re.compile(r"(recsvc|rpc|db|server|error)\.[a-z_]+(\.[a-z_]+)*")
TABLES = {"names.py", "metrics.py"}
OTHERS = {"recsvc.redis", "rpc.grpc.status_code", "server.lock"}
"""A health service, what other SDKs call a status code, a file: no names of ours."""


def literals() -> Iterator[tuple[str, str]]:
    """Yield all texts in the package that look like a name of telemetry, with where they stand."""
    for path in sorted((ROOT / "recsvc").rglob("*.py")):
        if path.parent.name == "telemetry" and path.name in TABLES:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and OURS.fullmatch(node.value):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value


def test_readme_has_the_tables() -> None:
    """What the README says of spans, attributes, events and metrics is what the code has."""
    assert names.markdown_tables() in README
    assert metrics.markdown_table() in README


def test_names_stand_in_one_file() -> None:
    """No module makes up a name of its own."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "recsvc").rglob("*.py")}
    assert [found for found in literals() if found[1] not in OTHERS | modules] == []


def test_names_are_unique() -> None:
    """Neither two metrics nor two spans, attributes or events have one name."""
    assert len({of.name for of in INSTRUMENTS}) == len({prometheus_name(of) for of in INSTRUMENTS}) == len(INSTRUMENTS)
    table = re.findall(r"^\| `([^`]+)` \|", names.markdown_tables(), re.MULTILINE)
    assert len(set(table)) == len(table)


@pytest.mark.parametrize(
    ("instrument", "expected"),
    [
        (metrics.CALL_DURATION, "rpc_server_call_duration_seconds"),
        (metrics.REQUEST_SIZE, "recsvc_request_size_bytes"),
        (metrics.CACHE_LOOKUPS, "recsvc_cache_lookups_total"),
        (metrics.CACHE_BYTES, "recsvc_cache_bytes"),
        (metrics.QUALITY, "recsvc_recommend_quality_factor_ratio"),
        (metrics.CALLS_ACTIVE, "recsvc_calls_active"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_prometheus_names_have_unit_and_total(instrument: Instrument, expected: str) -> None:
    """They are what OpenTelemetry's mapping makes of the names."""
    assert prometheus_name(instrument) == expected


def test_labels_are_attributes_of_the_table() -> None:
    """What tells series apart has the name that it has in spans; histograms have bounds that grow."""
    table = names.markdown_tables()
    for of in INSTRUMENTS:
        assert all(f"| `{label}` |" in table for label in of.labels), of
        assert (of.kind is Kind.HISTOGRAM) == bool(of.bounds)
        assert list(of.bounds) == sorted(set(of.bounds))
