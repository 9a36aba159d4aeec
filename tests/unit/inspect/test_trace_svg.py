"""The picture of a trace: well formed, within its frame, the same every time, and no markup comes from the trace."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given

from recsvc.inspect.trace_jaeger import trace_of
from recsvc.inspect.trace_spans import Span, Trace
from recsvc.inspect.trace_svg import WIDTH, svg_of
from recsvc.inspect.trace_tree import tree_of
from tests.unit.inspect.test_trace_layout import fans
from tests.unit.inspect.test_trace_tree import traces
from tests.unit.inspect.trace_samples import BEGAN, TRACE_ID, failed_batch, span, trace

SVG = "{http://www.w3.org/2000/svg}"


def picture(found: Trace) -> ET.Element:
    """Draw a trace, and read what was drawn."""
    return ET.fromstring(svg_of(tree_of(found)))  # noqa: S314  # our own


def groups(root: ET.Element) -> list[ET.Element]:
    """Return the rows."""
    return [group for group in root.iter(f"{SVG}g") if group.get("class") == "span"]


def of_class(root: ET.Element, name: str) -> list[ET.Element]:
    """Return the shapes of a class."""
    return [element for element in root.iter() if element.get("class") == name]


def texts(root: ET.Element) -> list[str]:
    """Return all texts, in order."""
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_the_picture_has_title_axis_and_a_row_for_each_span() -> None:
    """Rows are in the order of the tree; each has a name, a bar and its duration."""
    root = picture(trace_of(failed_batch(), TRACE_ID))
    assert root.tag == f"{SVG}svg"
    assert root.get("width") == str(WIDTH) == "1000"
    assert texts(root)[:2] == [
        "GET /home",
        f"trace {TRACE_ID} · 2025-11-21 18:33:20.000 UTC · 12.0 ms · 5 spans · web, recsvc",
    ]
    assert [texts(group) for group in groups(root)] == [
        ["GET /home", "12.0 ms"],
        ["recsvc.v1.ServingService/GetFeaturesBatch", "10.0 ms"],
        ["recsvc.fetch.wait", "4.50 ms"],
        ["MGET", "4.00 ms"],
        ["recsvc.encode", "2.90 ms"],
    ]
    assert [text for text in texts(root) if text.endswith(" ms")][:6] == [
        "2 ms",
        "4 ms",
        "6 ms",
        "8 ms",
        "10 ms",
        "12 ms",
    ]
    assert len(of_class(root, "tick")) == 7
    assert len(of_class(root, "background")) == 1


def test_bars_lie_where_the_spans_ran() -> None:
    """The bars of a call and of its second half end together, and the half begins in the middle."""
    whole, half = of_class(picture(trace(span("a", 0, 100), span("b", 50, 50, "a"))), "bar")
    start, width = float(whole.get("x", "")), float(whole.get("width", ""))
    assert float(half.get("x", "")) == pytest.approx(start + width / 2, abs=0.1)
    assert float(half.get("width", "")) == pytest.approx(width / 2, abs=0.1)


def test_colours_tell_kinds_and_services_and_errors_are_outlined() -> None:
    """Each kind of each service has a colour that the picture explains; only the bar that failed is outlined."""
    root = picture(trace_of(failed_batch(), TRACE_ID))
    assert [bar.get("stroke") is not None for bar in of_class(root, "bar")] == [False, False, False, True, False]
    legend = ["web server", "recsvc server", "recsvc internal", "recsvc client", "error", "event"]
    assert texts(root)[2:8] == legend
    assert len({bar.get("fill") for bar in of_class(root, "bar")}) == 4
    assert len(of_class(root, "event")) == 1
    assert texts(picture(trace(span("a", 0, 1))))[2:4] == ["internal", "0"]


def test_a_long_trace_has_one_row_for_repeated_siblings() -> None:
    """Forty waits with a command each are three rows, with how many they are."""
    assert [texts(group) for group in groups(picture(fans(40)))] == [
        ["call", "1.00 ms"],
        ["wait ×40", "240 µs"],
        ["MGET ×40", "160 µs"],
    ]


def test_more_rows_than_there_is_room_for_are_counted() -> None:
    """A picture has a bound, and says what it leaves out."""
    spans = [span(f"s{n}", n, 1, "a") for n in range(300)]
    root = picture(trace(span("a", 0, 500), *spans))
    assert len(groups(root)) == 200
    assert texts(root)[-1] == "… and 101 more spans"


def test_the_legend_stays_in_the_frame() -> None:
    """Of more kinds than there is room for, the first are explained."""
    root = picture(trace(*(span(f"s{n}", n, 1, service=f"service-{n}") for n in range(40))))
    assert 4 <= len(of_class(root, "legend")) < 40
    assert max(float(shape.get("x", "")) for shape in of_class(root, "legend")) < WIDTH - 100


def test_texts_of_the_trace_are_no_markup() -> None:
    """Names are shown as they are, and nothing but what we draw is in the picture."""
    bad = """</text><script>alert(1)</script>&amp;'">"""
    plain = {element.tag for element in picture(trace(span("a", 0, 1))).iter()}
    root = picture(trace(Span("a", bad, bad, BEGAN, 9, kind=bad), Span("b", "x", "y", BEGAN, 1)))
    assert {element.tag for element in root.iter()} == plain
    assert texts(root)[0] == bad
    assert texts(groups(root)[0])[0] == bad


def test_a_long_name_loses_its_beginning_and_is_whole_in_the_tip() -> None:
    """A name fits before the axis; the whole of it is the title of its row."""
    name = "very." * 40 + "end"
    group = groups(picture(trace(span(name, 0, 1))))[0]
    shown = texts(group)[0]
    assert shown.startswith("…")
    assert shown.endswith("very.end")
    assert len(shown) < 50
    assert (group.findtext(f"{SVG}title") or "").startswith(f"{name} · recsvc · internal")


@given(traces())
def test_every_shape_lies_in_the_frame_and_each_time_the_same(found: Trace) -> None:
    """However wrong the clocks are, nothing is drawn outside; spans in another order give the same picture."""
    tree = tree_of(found)
    drawn = svg_of(tree)
    assert drawn == svg_of(tree_of(Trace(found.id, found.spans[::-1])))
    root = ET.fromstring(drawn)  # noqa: S314  # our own
    height = float(root.get("height", ""))
    for shape in [*of_class(root, "bar"), *of_class(root, "background"), *of_class(root, "legend")]:
        x, y = (float(shape.get(name, shape.get(f"c{name}", ""))) for name in "xy")
        assert 0 <= x <= x + float(shape.get("width", "0")) <= WIDTH
        assert 0 <= y <= y + float(shape.get("height", "0")) <= height
