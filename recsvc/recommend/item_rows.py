"""Features of items, read in parts: the candidates at once, and later those that fill a slate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from recsvc.online.answer import Answer, Column, ServedView
from recsvc.recommend.copy_on_write import Places

_CODES: Final = ("statuses", "sources")


class _Where(NamedTuple):
    """Where some items are: the part of each, and its row there; ``part``: that of all, None where they differ.

    ``whole``: they are all of that part, as they were read.
    """

    parts: npt.NDArray[np.intp]
    rows: npt.NDArray[np.intp]
    part: int | None
    whole: bool = False


class ItemRows:
    """Answers for items, one after the other; the first that has an item is the one that counts."""

    def __init__(self) -> None:
        self._parts: list[Answer] = []
        self._places: list[Places] = []

    def __repr__(self) -> str:
        count = len(np.unique(np.concatenate(self._places))) if self._places else 0
        return f"ItemRows({count} items in {len(self._parts)} parts)"

    def add(self, places: Places, answer: Answer) -> None:
        """Take an answer with a row for each of ``places``."""
        self._parts.append(answer)
        self._places.append(places)

    @property
    def views(self) -> Sequence[ServedView]:
        """The views that were read, without times."""
        none = np.zeros(0, np.int64)
        named = dict.fromkeys((v.name, v.version) for part in self._parts for v in part.views)
        return [ServedView(name, version, none) for name, version in named]

    def columns(self, names: Sequence[str], places: Places) -> list[tuple[str, Column]]:
        """Return columns with a value for each of ``places``, which must be there, or with one for all.

        No columns where there are no places: maybe nothing was read that they could be of.
        """
        if not names or not len(places):
            return []
        where = self._where(places)
        if where.whole:
            read = {name: column for name, column, _ in self._parts[0].columns}
            return [(name, read[name]) for name in names]
        return [(name, self._column(name, where)) for name in names]

    def _where(self, places: Places) -> _Where:
        if self._places and np.array_equal(self._places[0][: len(places)], places):  # the candidates, as they were read
            whole = len(places) == len(self._places[0])
            return _Where(np.zeros(len(places), np.intp), np.arange(len(places)), 0, whole)
        every = np.concatenate([np.empty(0, np.int64), *self._places])
        known, first = np.unique(every, return_index=True)
        at = np.searchsorted(known, places)
        if len(at) and (at.max() >= len(known) or (known[at] != places).any()):
            raise KeyError("an item that was not read")
        starts = np.cumsum([0, *map(len, self._places)])
        parts = np.searchsorted(starts, first[at], side="right") - 1
        one = int(parts[0]) if len(parts) else 0
        return _Where(parts, first[at] - starts[parts], one if (parts == one).all() else None)

    def _column(self, name: str, where: _Where) -> Column:
        parts = [next(c for n, c, _ in part.columns if n == name) for part in self._parts]
        if where.part is not None:
            column = parts[where.part]
            return column if len(column) == 1 != len(where.rows) else _take(column, where.rows)
        used = np.unique(where.parts).tolist()
        pieces = [_spread(parts[part], where.rows[where.parts == part]) for part in used]
        order = np.argsort(np.concatenate([np.flatnonzero(where.parts == part) for part in used]))
        statuses, sources = (np.concatenate([getattr(c, code) for c in pieces])[order] for code in _CODES)
        return Column(pieces[0].type, np.concatenate([c.values for c in pieces])[order], statuses, sources)


def _take(column: Column, rows: npt.NDArray[np.intp]) -> Column:
    return column.take(rows if len(column) > 1 else rows * 0)


def _spread(column: Column, rows: npt.NDArray[np.intp]) -> Column:
    """Return the values of some rows, with a status and a source for each."""
    taken = _take(column, rows)
    statuses, sources = (np.broadcast_to(getattr(taken, code), len(rows)) for code in _CODES)
    return Column(taken.type, taken.values, statuses, sources)
