"""What keeps a whole view in memory: a scan of its rows, then what was written since."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

IdRow = tuple[str, bytes | None]
"""The id of the view's one entity, and its row; None: there is none any more."""


class Written(NamedTuple):
    """Rows that were written since a position, in order; ``gap``: others were lost, so a new scan is due.

    ``more``: these are as many as come at once, so there may be others; else they are all that there were.
    """

    rows: Sequence[IdRow]
    position: bytes
    gap: bool
    more: bool


class WholeView(Protocol):
    """All rows of one view of one entity. Methods raise StoreUnavailableError."""

    async def position(self) -> bytes:
        """Return where to go on with ``since`` after a scan that begins now."""
        ...

    def scan(self) -> AsyncIterator[Sequence[IdRow]]:
        """Yield all rows, in pieces that may be empty; what is written meanwhile may be missed, or come twice."""
        ...

    async def since(self, position: bytes) -> Written:
        """Return what was written after ``position``, as the rows are now; without waiting for more."""
        ...
