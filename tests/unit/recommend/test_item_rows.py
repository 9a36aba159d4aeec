"""Features of items that were read in parts are as those of one read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc import FLOAT64, INT64_LIST, STRING_LIST, VECTOR
from recsvc.online.answer import Answer, Column, ServedView, Source, Status
from recsvc.online.row import pack_strings
from recsvc.online.row_values import Tails
from recsvc.online.tail_column import TailColumn
from recsvc.recommend.item_rows import ItemRows

NAMES = ["number", "constant", "vector", "tags", "genres"]


def read(places: Sequence[int], *, same: bool = True) -> Answer:
    """Return what a read of the items at ``places`` answers; each value, status and source tells its place.

    ``same``: the column "constant" is one value for all.
    """
    n = len(places)
    statuses = np.array([Status.NULL_VALUE if p % 3 == 0 else Status.PRESENT for p in places], np.uint8)
    sources = np.array([Source.STORE if p % 2 else Source.CACHE for p in places], np.uint8)
    present, stored = np.array([Status.PRESENT], np.uint8), np.array([Source.STORE], np.uint8)
    tags = np.empty(n, object)
    for i, place in enumerate(places):
        tags[i] = np.arange(place)
    genres = Tails(STRING_LIST[9, 9], [pack_strings([str(p), "x"]) for p in places])
    columns = {
        "number": Column(FLOAT64, np.array(places, np.float64), statuses, sources),
        "constant": Column(FLOAT64, np.full(1 if same else n, 7.0), present, stored),
        "vector": Column(VECTOR[2], np.array([[p, 1] for p in places], np.float32).reshape(n, 2), present, sources),
        "tags": Column(INT64_LIST[99], tags, statuses, stored),
        "genres": TailColumn(genres, present, stored),
    }
    views = [ServedView("film", 1, np.zeros(n, np.int64)), ServedView("counts", 2, np.zeros(n, np.int64))]
    return Answer(n, [(name, columns[name], 0) for name in NAMES], [], views)


def shown(column: Column, n: int) -> list[tuple[Any, int, int]]:
    """Return each value with its status and source."""
    values = column.values if len(column) == n else np.repeat(column.values, n, axis=0)
    codes = (np.broadcast_to(c, n).tolist() for c in (column.statuses, column.sources))
    return [
        (v.tolist() if isinstance(v, np.ndarray) else v, status, source)
        for v, status, source in zip(values, *codes, strict=True)
    ]


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=20, unique=True),
    st.lists(st.integers(0, 19), max_size=3),
    st.booleans(),
    st.data(),
)
def test_columns_over_parts_are_those_of_one_read(
    places: list[int],
    cuts: list[int],
    same: bool,  # noqa: FBT001  # drawn
    data: st.DataObject,
) -> None:
    """However items were split, any of them in any order have the values, statuses and sources of one read of them."""
    wanted = np.array(data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=20)), np.int64)
    rows = ItemRows()
    ends = sorted({*(c for c in cuts if 0 < c < len(places)), len(places)})
    for start, end in zip([0, *ends], ends, strict=False):
        rows.add(np.array(places[start:end], np.int64), read(places[start:end], same=same))
    found = rows.columns(NAMES, wanted)
    assert [name for name, _ in found] == NAMES
    expected = read(wanted.tolist(), same=False)
    for (_, column), (_, other, _) in zip(found, expected.columns, strict=True):
        assert len(column) in (len(wanted), 1)
        assert column.type == other.type
        assert shown(column, len(wanted)) == shown(other, len(wanted))


def test_the_first_read_of_an_item_counts() -> None:
    """An item that is read again keeps the row that ranked it."""
    rows = ItemRows()
    rows.add(np.array([1, 2]), read([1, 2]))
    rows.add(np.array([2, 3]), read([20, 3]))
    (_, column), *_ = rows.columns(["number"], np.array([3, 2, 1]))
    assert column.values.tolist() == [3.0, 2.0, 1.0]


def test_views_are_told_once() -> None:
    """The views of all reads are told, each once, without times."""
    rows = ItemRows()
    rows.add(np.array([1]), read([1]))
    rows.add(np.array([2]), read([2]))
    assert [(v.name, v.version, len(v.event_micros)) for v in rows.views] == [("film", 1, 0), ("counts", 2, 0)]


def test_an_item_that_was_not_read_is_a_mistake() -> None:
    """Asking for an item that no part has is an error of ours, not a made-up row."""
    rows = ItemRows()
    rows.add(np.array([1]), read([1]))
    with pytest.raises(KeyError):
        rows.columns(["number"], np.array([2]))


def test_item_rows_show_how_many_they_are() -> None:
    """repr() tells items and parts."""
    rows = ItemRows()
    rows.add(np.array([1, 2]), read([1, 2]))
    assert repr(rows) == "ItemRows(2 items in 1 parts)"


def test_no_columns_are_asked_of_items_that_were_not_read() -> None:
    """Where nothing is wanted of items, or of no item, nothing need have been read."""
    assert ItemRows().columns([], np.array([3, 5], np.int64)) == []
    assert ItemRows().columns(["number"], np.empty(0, np.int64)) == []
