"""Columns of strings and lists as their rows have them: bytes, which go on to a reply as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from recsvc.online.answer import Bytes, Column
from recsvc.online.row_values import Tails


class TailColumn(Column):
    """A column whose ``values`` are made when somebody asks for them: on-demand functions do, replies do not."""

    __slots__ = ("_made", "tails")

    def __init__(self, tails: Tails, statuses: Bytes, sources: Bytes) -> None:
        self.type = tails.type
        self.tails = tails
        self.statuses = statuses
        self.sources = sources
        self._made: npt.NDArray[Any] | None = None

    def __repr__(self) -> str:
        return f"TailColumn({len(self)} × {self.type})"

    def __len__(self) -> int:
        return len(self.tails)

    @property
    def values(self) -> npt.NDArray[Any]:  # type: ignore[override]  # nobody sets the values of a column that was read
        """See Column."""
        if self._made is None:
            self._made = self.tails.array()
        return self._made

    def take(self, places: npt.NDArray[np.intp]) -> TailColumn:
        """Return the column of the rows at ``places``."""
        pieces = self.tails.pieces
        statuses = self.statuses if len(self.statuses) == 1 else self.statuses[places]
        sources = self.sources if len(self.sources) == 1 else self.sources[places]
        return TailColumn(Tails(self.type, [pieces[i] for i in places.tolist()]), statuses, sources)
