"""Features of items, read in parts: the candidates at once, and later those that fill a slate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsvc.online.answer import Answer, Column, Degraded, ServedView
from recsvc.recommend.copy_on_write import Places


class ItemRows:
    """Answers for items, one after the other; the first that has an item is the one that counts."""

    def __init__(self) -> None:
        self._parts: list[Answer] = []
        self._where: dict[int, tuple[int, int]] = {}

    def __repr__(self) -> str:
        return f"ItemRows({len(self._where)} items in {len(self._parts)} parts)"

    def add(self, places: Places, answer: Answer) -> None:
        """Take an answer with a row for each of ``places``."""
        part = len(self._parts)
        self._parts.append(answer)
        for row, place in enumerate(places.tolist()):
            self._where.setdefault(place, (part, row))

    @property
    def degraded(self) -> Sequence[tuple[Degraded, str]]:
        """What did not work in any of the reads, each once."""
        return list(dict.fromkeys(flaw for part in self._parts for flaw in part.degraded))

    @property
    def views(self) -> Sequence[ServedView]:
        """The views that were read, without times."""
        none = np.zeros(0, np.int64)
        named = dict.fromkeys((v.name, v.version) for part in self._parts for v in part.views)
        return [ServedView(name, version, none) for name, version in named]

    def columns(self, names: Sequence[str], places: Places) -> list[tuple[str, Column]]:
        """Return columns with a value for each of ``places``, which must be there, or with one for all."""
        where = [self._where[place] for place in places.tolist()]
        return [(name, self._column(name, where)) for name in names]

    def _column(self, name: str, where: Sequence[tuple[int, int]]) -> Column:
        parts = [next(c for n, c, _ in part.columns if n == name) for part in self._parts]
        rows = np.array([row for _, row in where], np.intp)
        if len({part for part, _ in where}) <= 1:
            column = parts[where[0][0] if where else 0]
            return column if len(column) == 1 != len(rows) else column.take(rows if len(column) > 1 else rows * 0)
        ones = [parts[part].take(np.array([row if len(parts[part]) > 1 else 0])) for part, row in where]
        statuses, sources = (np.concatenate([getattr(c, code) for c in ones]) for code in ("statuses", "sources"))
        return Column(ones[0].type, np.concatenate([c.values for c in ones]), statuses, sources)
