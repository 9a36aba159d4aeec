"""Large answers are made in pieces, and between pieces others get their turn of the event loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from recsvc.online.answer import Bytes, Column
from recsvc.online.columns import Decoded
from recsvc.online.reader import ViewRows
from recsvc.online.row_values import Tails
from recsvc.online.tail_column import TailColumn

LARGE_CELLS: Final = 4_000
"""Answers with more values than this are made in pieces; in one piece the largest would hold the loop for 10 ms."""
CELLS_PER_PIECE: Final = 2_000
"""Values decoded at once, 0.2 ms for numbers and 1 ms for strings."""
LEAST_ROWS: Final = 64
"""Rows of a piece, at least: what a piece costs for each column is the same for one row."""
PATIENCE_S: Final = 0.1
"""How long an answer gives way to others. Copies that are to be fresh at its end must be so much younger before."""
TURN_S: Final = 0.001
"""How long one answer may hold the loop before others get their turn."""


class Turns:
    """Gives others their turn whenever this one has taken long enough, for PATIENCE_S."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._last = self._began + PATIENCE_S

    def __repr__(self) -> str:
        return f"Turns(began {self._began:.6f})"

    async def pause(self) -> None:
        """Let the loop do what else there is to do, if it is time."""
        if self._clock() - self._began > TURN_S and self._began < self._last:
            await asyncio.sleep(0)
            self._began = self._clock()


def pieces(found: ViewRows, columns: int, *, least: int = LEAST_ROWS) -> Iterator[tuple[int, ViewRows]]:
    """Yield the rows of a view in pieces of which ``columns`` are to be decoded, each with where it begins."""
    size = max(CELLS_PER_PIECE // max(columns, 1), least)
    for start in range(0, len(found.rows), size):
        end = start + size
        sources = found.sources[start:end] if isinstance(found.sources, np.ndarray) else found.sources
        yield start, ViewRows(found.rows[start:end], sources, found.reasons)


async def joined(parts: Sequence[tuple[int, Decoded]], turns: Turns) -> Decoded:
    """Return what would have been decoded in one piece, from at least one part, each with where it began."""
    all_parts = [part for _, part in parts]
    first = all_parts[0]
    if len(all_parts) == 1:
        return first
    join, columns = _Joiner(), {}
    for index in first.columns:
        columns[index] = join.column([part.columns[index] for part in all_parts])
        await turns.pause()
    return Decoded(
        columns=columns,
        event_micros=np.concatenate([part.event_micros for part in all_parts]),
        degraded=list(dict.fromkeys(reason for part in all_parts for reason in part.degraded)),
        corrupt=[start + index for start, part in parts for index in part.corrupt],
        reasons=[reason for part in all_parts for reason in part.reasons],
        defaulted=sum((Counter(part.defaulted) for part in all_parts), Counter()),
    )


class _Joiner:
    """Joins columns of one view. Most of them share their statuses and sources, which are joined once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], tuple[list[Bytes], Bytes]] = {}

    def column(self, parts: Sequence[Column]) -> Column:
        rows = [len(part) for part in parts]
        statuses = self._codes([part.statuses for part in parts], rows)
        sources = self._codes([part.sources for part in parts], rows)
        tails = [part.tails.pieces for part in parts if isinstance(part, TailColumn)]
        if tails:
            return TailColumn(Tails(parts[0].type, [piece for some in tails for piece in some]), statuses, sources)
        return Column(parts[0].type, np.concatenate([part.values for part in parts]), statuses, sources)

    def _codes(self, parts: list[Bytes], rows: Sequence[int]) -> Bytes:
        key = tuple(map(id, parts))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = parts, _joined_codes(parts, rows)  # the parts too, so that their ids stay theirs
        return known[1]


def _joined_codes(parts: Sequence[Bytes], rows: Sequence[int]) -> Bytes:
    """Join the codes of parts of so many rows; those of a part may be one for all of them."""
    one = parts[0]
    if all(len(codes) == 1 and codes[0] == one[0] for codes in parts):
        return one
    return np.concatenate([np.broadcast_to(codes, n) for codes, n in zip(parts, rows, strict=True)])
