"""Where the time of a trace went."""

from __future__ import annotations

import pytest
from hypothesis import given

from recsvc.inspect.trace_spans import Trace
from recsvc.inspect.trace_time import covered, own_times, shares
from recsvc.inspect.trace_tree import tree_of
from tests.unit.inspect.test_trace_tree import traces
from tests.unit.inspect.trace_samples import span, trace


def test_time_belongs_to_the_innermost_span() -> None:
    """A span has the time in which none of its children ran."""
    tree = tree_of(trace(span("a", 0, 100), span("b", 10, 50, "a"), span("c", 20, 10, "b"), span("d", 70, 5, "a")))
    assert own_times(tree) == [45, 40, 10, 5]


def test_what_runs_side_by_side_shares_the_time() -> None:
    """Ten microseconds in which two run are five for each, so that all together are as long as the trace."""
    tree = tree_of(trace(span("a", 0, 40), span("b", 0, 30, "a"), span("c", 0, 20, "a"), span("d", 30, 10, "a")))
    assert own_times(tree) == [0, 20, 10, 10]


def test_a_child_that_outlives_its_parent_keeps_its_time() -> None:
    """What goes on after its parent has ended has that time for itself."""
    tree = tree_of(trace(span("a", 0, 10), span("b", 5, 20, "a")))
    assert own_times(tree) == [5, 20]


def test_shares_are_by_name_and_the_largest_first() -> None:
    """Spans of one name are one share; of another service, they are another."""
    spans = [span("get", 0, 10, "all"), span("all", 0, 100)]
    spans += [span(f"get{n}", 10 * n, 10, "all") for n in (1, 2)]
    named = [s if s.name == "all" else type(s)(s.id, "get", s.service, s.start, s.duration, s.parent) for s in spans]
    found = shares(tree_of(trace(*named, span("rank", 50, 20, "all", service="other"))))
    assert [(s.span.service, s.span.name, s.count, s.micros, s.parts) for s in found] == [
        ("recsvc", "all", 1, 50, True),
        ("recsvc", "get", 3, 30, False),
        ("other", "rank", 1, 20, False),
    ]


@given(traces())
def test_shares_are_the_time_in_which_any_span_ran(found: Trace) -> None:
    """No time is counted twice and none is lost, whatever the spans."""
    tree = tree_of(found)
    own = own_times(tree)
    assert min(own) >= -1e-9
    assert sum(own) == pytest.approx(covered((placed.start, placed.end) for placed in tree.spans))


def test_covered_time_counts_overlaps_once() -> None:
    """Intervals may overlap, touch, and lie within each other."""
    assert covered([]) == 0
    assert covered([(0, 10), (5, 8), (8, 12), (20, 21), (21, 21)]) == 13
