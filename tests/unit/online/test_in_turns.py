"""A large answer is made in pieces, is the same as in one, and lets others have their turn in between."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Final

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recsvc import FLOAT64, STRING, Feature, FeatureView
from recsvc.online.answer import Bytes, Column, Row, Source, Unread
from recsvc.online.columns import Decoded, ViewColumns
from recsvc.online.in_turns import CELLS_PER_PIECE, LEAST_ROWS, PATIENCE_S, TURN_S, Turns, joined, pieces
from recsvc.online.reader import ViewRows
from recsvc.online.row import RowCodec, tombstone
from recsvc.registry.plan import ViewRead
from recsvc.registry.schema import Schema
from tests.unit.online.strategies import NOW, Table, tables
from tests.unit.online.test_columns import HOUR, USER, default_of


def view_of(table: Table) -> FeatureView:
    """Return a view of the table's features, with a default for each."""
    features = [Feature(f"f{i}", t, default=default_of(t)) for i, t in enumerate(table.schema.types)]
    return FeatureView("profile", [USER], features, max_age=HOUR)


def spread(codes: Bytes, rows: int) -> list[int]:
    """Return one code per row."""
    return [int(code) for code in np.broadcast_to(codes, rows)]


def facts(column: Column) -> tuple[list[str], list[int], list[int]]:
    """Return values, statuses and sources of each row; values as text, for NaN is not itself."""
    n = len(column)
    return [repr(v) for v in column.values.tolist()], spread(column.statuses, n), spread(column.sources, n)


def told(decoded: Decoded) -> object:
    """Return all that was decoded."""
    columns = {index: facts(column) for index, column in decoded.columns.items()}
    return columns, decoded.event_micros.tolist(), set(decoded.degraded), sorted(decoded.corrupt)


NEVER: Final = Turns(lambda: 0.0)
"""Gives nobody a turn, for no time goes by."""
OTHERS: Final = st.sampled_from([None, Unread.NO_ANSWER, Unread.REFUSED, b"no row", tombstone(NOW, NOW)])


@given(tables(max_rows=9), st.data())
def test_pieces_joined_are_the_whole(table: Table, data: st.DataObject) -> None:
    """Rows of every kind, decoded in pieces of any size: the same values, codes, times and corrupt rows."""
    view = view_of(table)
    schema = Schema.of(view.features)
    rows: list[Row] = [data.draw(OTHERS) if data.draw(st.booleans()) else row for row in table.encode()]
    rows += [data.draw(OTHERS)]
    each = np.array([data.draw(st.sampled_from([Source.STORE, Source.CACHE])) for _ in rows], np.uint8)
    found = ViewRows(rows, Source.STORE if data.draw(st.booleans()) else each)
    read = ViewRead(view, schema, tuple(range(len(schema))))
    columns = ViewColumns(view, RowCodec(schema))
    size = data.draw(st.integers(1, len(rows)))
    parts = [
        (start, columns.decode(read, piece, NOW)) for start, piece in pieces(found, CELLS_PER_PIECE // size, least=1)
    ]
    assert told(asyncio.run(joined(parts, NEVER))) == told(columns.decode(read, found, NOW))


def test_pieces_are_as_large_as_they_may_be() -> None:
    """A piece has some 2,000 values, and at least 64 rows."""
    found = ViewRows([None] * 5_000, Source.STORE)
    assert [(start, len(piece.rows)) for start, piece in pieces(found, 1)] == [
        (0, 2_000),
        (2_000, 2_000),
        (4_000, 1_000),
    ]
    assert [start for start, _ in pieces(ViewRows([None] * 100, Source.STORE), 10_000)] == [0, LEAST_ROWS]


def test_uniform_pieces_stay_uniform() -> None:
    """Where all rows are present and from one source, a column has one code for all of them, joined or not."""
    view = FeatureView("v", [USER], [Feature("n", FLOAT64), Feature("s", STRING)])
    schema = Schema.of(view.features)
    row = RowCodec(schema).encode(
        np.array([NOW]), np.array([NOW]), [(np.array([1.0]), None), (np.array([b"x"], object), None)]
    )
    read = ViewRead(view, schema, (0, 1))
    parts = [
        (start, ViewColumns(view, RowCodec(schema)).decode(read, piece, NOW))
        for start, piece in pieces(ViewRows([*row] * 3, Source.CACHE), CELLS_PER_PIECE, least=1)
    ]
    assert len(parts) == 3
    whole = asyncio.run(joined(parts, NEVER))
    assert [len(column) for column in whole.columns.values()] == [3, 3]
    assert [(column.statuses.tolist(), column.sources.tolist()) for column in whole.columns.values()] == [
        ([1], [2])
    ] * 2


async def test_others_get_their_turn_when_it_is_time() -> None:
    """A pause is none before a millisecond is over, and then lets everything else that is ready run first."""
    clock = count(0.0, TURN_S * 0.75)
    turns = Turns(lambda: next(clock))
    order: list[str] = []
    asyncio.get_running_loop().call_soon(order.append, "another")
    await turns.pause()
    order.append("first")
    await turns.pause()
    order.append("second")
    assert order == ["first", "another", "second"]
    assert repr(turns).startswith("Turns(began")


async def test_an_answer_gives_way_only_so_long() -> None:
    """After a tenth of a second an answer is made to its end, so that its copies are as young as they have to be."""
    clock = count(0.0, PATIENCE_S / 4)
    turns = Turns(lambda: next(clock))
    ran: list[int] = []
    for number in range(6):
        asyncio.get_running_loop().call_soon(ran.append, number)
        await turns.pause()
    assert 0 < len(ran) < 6
