"""Spans to a tree: parents, missing ones, circles, several roots, and clocks that differ."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recsvc.inspect.trace_spans import Span, Trace
from recsvc.inspect.trace_tree import Tree, tree_of
from tests.unit.inspect.trace_samples import BEGAN, TRACE_ID, span, trace


def drawn(tree: Tree) -> list[str]:
    """Return a line for each span: indented by depth, and when it began."""
    return [f"{'  ' * placed.depth}{placed.span.name} {placed.start}" for placed in tree.spans]


def test_children_stand_below_their_parents_by_start() -> None:
    """The order in which spans arrive does not matter; of two that begin together, the longer is first."""
    spans = [span("c", 30, 5, "a"), span("d", 31, 2, "c"), span("b", 10, 5, "a"), span("b2", 10, 9, "a")]
    tree = tree_of(trace(*spans, span("a", 0, 100)))
    assert drawn(tree) == ["a 0", "  b2 10", "  b 10", "  c 30", "    d 31"]
    assert tree == tree_of(trace(span("a", 0, 100), *reversed(spans)))
    assert (tree.trace_id, tree.began, tree.duration, tree.shifted) == (TRACE_ID, BEGAN, 100, {})
    assert [placed.parent for placed in tree.spans] == [None, 0, 0, 0, 3]


def test_a_span_whose_parent_is_not_there_is_a_root() -> None:
    """A caller's span may be elsewhere, or not there yet."""
    tree = tree_of(trace(span("b", 5, 1, "gone"), span("c", 5, 1, "b"), span("a", 20, 1)))
    assert drawn(tree) == ["b 0", "  c 0", "a 15"]


def test_a_circle_is_cut_at_its_earliest_span() -> None:
    """Spans that are each other's parents, or their own, are there once, and nothing hangs."""
    spans = (span("a", 2, 1, "c"), span("b", 1, 1, "a"), span("c", 3, 1, "b"), span("d", 4, 1, "a"))
    assert drawn(tree_of(trace(*spans, span("own", 9, 1, "own")))) == [
        "b 0", "  c 2", "    a 1", "      d 3", "own 8",
    ]  # fmt: skip


def test_spans_of_one_id_are_all_there() -> None:
    """Where an id is not unique no span is lost; children stand below the first."""
    twins = [Span("a", name, "recsvc", BEGAN, 1) for name in ("x", "y")]
    assert sorted(drawn(tree_of(trace(*twins, span("z", 0, 1, "a"))))) == ["  z 0", "x 0", "y 0"]


def test_a_very_deep_trace_is_no_problem() -> None:
    """Depth costs no recursion."""
    spans = [span(str(n), n, 10, str(n - 1)) for n in range(5000)]
    assert tree_of(trace(*spans)).spans[-1].depth == 4999


def test_a_server_does_not_begin_before_its_client() -> None:
    """Where another service's clock is slow, its spans are moved into the middle of the call, and it is said."""
    tree = tree_of(
        trace(
            span("call", 1000, 400, kind="client", service="web"),
            span("serve", 200, 300, "call", kind="server"),
            span("part", 250, 10, "serve"),
        )
    )
    assert drawn(tree) == ["call 0", "  serve 50", "    part 100"]
    assert tree.shifted == {"recsvc": 850}


def test_a_server_that_ends_late_stays_where_it_is() -> None:
    """A client may give up before its server ends: that is no matter of clocks."""
    tree = tree_of(
        trace(span("call", 0, 400, kind="client", service="web"), span("serve", 300, 300, "call", kind="server"))
    )
    assert drawn(tree) == ["call 0", "  serve 300"]
    assert tree.duration == 600
    assert tree.shifted == {}


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Draw spans with parents, times and services of all kinds."""
    names = [str(n) for n in range(draw(st.integers(1, 12)))]
    return trace(
        *(
            span(
                name,
                draw(st.integers(0, 50)),
                draw(st.integers(0, 20)),
                draw(st.sampled_from([None, "gone", *names])),
                kind=draw(st.sampled_from(["server", "client", "internal"])),
                service=draw(st.sampled_from(["web", "recsvc"])),
            )
            for name in names
        )
    )


@given(traces())
def test_every_span_is_in_the_tree_once_and_in_time(found: Trace) -> None:
    """However spans refer to each other: each is there once, after its parent, and within the time of the trace."""
    tree = tree_of(found)
    assert sorted(placed.span.id for placed in tree.spans) == sorted(s.id for s in found.spans)
    for index, placed in enumerate(tree.spans):
        assert 0 <= placed.start <= placed.end <= tree.duration
        if placed.parent is None:
            assert placed.depth == 0
        else:
            assert placed.parent < index
            assert placed.depth == tree.spans[placed.parent].depth + 1
            assert placed.span.parent == tree.spans[placed.parent].span.id
