"""`recsvc get`: how its words are read, and how an answer is shown. Against a server: tests/e2e/test_cli.py."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.text import Text

from recsvc.cli.get import age, context_value, document, pairs, print_row, text_of
from recsvc.client import Degradation, DegradationReason, FeatureRow, FeatureValue, ServedView, Source, Status
from recsvc.errors import ConfigError

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
MICROS = round(NOW.timestamp() * 1e6)
NO_TIMES = np.zeros(0, "datetime64[us]")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("true", True),
        ("false", False),
        ('"3"', "3"),
        ("[1, 2]", [1, 2]),
        ('["a"]', ["a"]),
        ("thriller", "thriller"),
        ("", ""),
        ("null", "null"),
        ('{"a": 1}', '{"a": 1}'),
        ("007", "007"),
        ("2026-03-04T05:06:07Z", NOW),
        ("2026-03-04T05:06:07", NOW),
        ("2026-03-04T06:06:07+01:00", NOW.astimezone(timezone(timedelta(hours=1)))),
    ],
)
def test_context_has_the_type_that_its_text_looks_like(text: str, value: object) -> None:
    """JSON values are themselves, times are times (UTC unless they say another zone), and the rest is text."""
    found = context_value(text)
    assert (found, type(found)) == (value, type(value))


def test_now_is_now() -> None:
    """`now` is the present, with a time zone."""
    before = datetime.now(UTC)
    found = context_value("now")
    assert isinstance(found, datetime)
    assert before <= found <= datetime.now(UTC)


def test_pairs_are_read_once_each() -> None:
    """NAME=VALUE keeps every further `=`; without one, without a name, or twice is told."""
    assert pairs(["user_id=1", "item_id=a=b", "x="], "a join key") == {"user_id": "1", "item_id": "a=b", "x": ""}
    for words, problem in (
        (["x"], "'x' is not NAME=VALUE"),
        (["=1"], "'=1' is not"),
        (["x=1", "x=2"], "'x' is given twice"),
    ):
        with pytest.raises(ConfigError, match=problem):
            pairs(words, "--context")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (1 / 3, "0.333333"),
        (float("nan"), "nan"),
        (2**62, str(2**62)),
        (True, "True"),
        ("[bold]x[/bold]", "[bold]x[/bold]"),
        (NOW, "2026-03-04 05:06:07"),
        ((), "[]"),
        ((1.0, 2.5), "[1, 2.5]"),
        (("a", "[b]"), "[a, [b]]"),
        (tuple(range(10)), "[0, 1, 2, … 10]"),
    ],
)
def test_values_are_shown_as_they_are(value: object, shown: str) -> None:
    """Numbers have six digits, long lists are cut, and what looks like markup is text."""
    assert Text.from_markup(text_of(value)).plain == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (60, "1.0 min"),
        (5_400, "1.5 h"),
        (86_400, "1.0 d"),
        (1e9, "11574.1 d"),
        (-60, "-1.0 min"),
    ],
)
def test_age_is_in_its_largest_unit(seconds: float, shown: str) -> None:
    """An age is short; a time to come has a negative one."""
    assert age(NOW - timedelta(seconds=seconds), NOW) == shown
    assert age(None, NOW) == "-"


def row(**values: Any) -> FeatureRow:  # noqa: ANN401  # values of any type
    """Return an answer with these values."""
    features = {
        f"v:{name}": FeatureValue(f"v:{name}", value, Status.PRESENT, Source.STORE, MICROS)
        for name, value in values.items()
    }
    features["v:none"] = FeatureValue("v:none", None, Status.NOT_FOUND, Source.NONE)
    views = (ServedView("v", 1, NO_TIMES), ServedView("v", 2, NO_TIMES))
    lost = Degradation(DegradationReason.STORE_UNAVAILABLE, "v@v1")
    return FeatureRow(features, (lost,), "f00d", views)


def test_a_row_is_a_table() -> None:
    """Name, value, status, source and age of each feature, and below it who answered and what did not work."""
    file = io.StringIO()
    print_row(Console(file=file, width=100), row(city="[Ürümqi]", taste=(0.5, 1.0)), NOW + timedelta(hours=2))
    lines = [line.split() for line in file.getvalue().splitlines()]
    assert lines[0] == ["feature", "value", "status", "source", "age"]
    assert ["v:city", "[Ürümqi]", "PRESENT", "STORE", "2.0", "h"] in lines
    assert ["v:taste", "[0.5,", "1]", "PRESENT", "STORE", "2.0", "h"] in lines
    assert ["v:none", "-", "NOT_FOUND", "NONE", "-"] in lines
    assert lines[-2:] == [["registry", "f00d", "·", "v@v1,", "v@v2"], ["degraded:", "STORE_UNAVAILABLE", "v@v1"]]


def test_a_row_is_a_document() -> None:
    """--json has every fact, as JSON that any parser reads; versions of one view stand side by side."""
    found = document(
        row(number=0.5, odd=float("inf"), time=NOW, words=("a", "ö"), vector=(1.5, float("nan")), flag=True)
    )
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    features = {f["name"]: f for f in found["features"]}  # type: ignore[attr-defined]  # a list
    assert {name: f["value"] for name, f in features.items()} == {
        "v:number": 0.5,
        "v:odd": "inf",
        "v:time": "2026-03-04T05:06:07+00:00",
        "v:words": ["a", "ö"],
        "v:vector": [1.5, "nan"],
        "v:flag": True,
        "v:none": None,
    }
    assert features["v:number"]["event_time"] == "2026-03-04T05:06:07+00:00"
    assert features["v:none"] == {
        "name": "v:none",
        "value": None,
        "status": "NOT_FOUND",
        "source": "NONE",
        "event_time": None,
    }
    assert found["views"] == [{"view": "v", "version": 1}, {"view": "v", "version": 2}]
    assert found["degraded"] == [{"reason": "STORE_UNAVAILABLE", "view": "v@v1"}]
    assert found["registry_fingerprint"] == "f00d"


def test_a_copy_that_stood_in_is_told_with_its_age() -> None:
    """Table and document say how old the copy of a view is that stood in for the store, and nothing of other views."""
    ages = np.array([0, 90_000_000], "m8[us]")
    views = (ServedView("v", 1, NO_TIMES, ages), ServedView("w", 1, NO_TIMES))
    stale = FeatureRow({}, (Degradation(DegradationReason.CIRCUIT_OPEN, "v@v1"),), "f00d", views)
    file = io.StringIO()
    print_row(Console(file=file, width=100), stale, NOW)
    assert "copy of v@v1: 1.5 min old" in file.getvalue()
    assert "copy of w@v1" not in file.getvalue()
    assert document(stale)["views"] == [{"view": "v", "version": 1, "stale_age_s": 90.0}, {"view": "w", "version": 1}]
