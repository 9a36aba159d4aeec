"""What an answer is made of before it becomes a message: columns, what is known of each value, what did not work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from recsvc.registry.types import FeatureType

Bytes = npt.NDArray[np.uint8]


class Status(IntEnum):
    """What is known about a value; the numbers are the contract's. The larger, the worse."""

    PRESENT = 1
    NULL_VALUE = 2
    NOT_FOUND = 3
    OUTSIDE_MAX_AGE = 4
    UNAVAILABLE = 5


class Source(IntEnum):
    """Where a value came from; the numbers are the contract's."""

    STORE = 1
    CACHE = 2
    STALE_CACHE = 3
    DEFAULT = 4
    COMPUTED = 5
    REQUEST = 6
    NONE = 7


# Looked up once: numpy asks an enum for its number by attribute, time and again.
_NULL_VALUE: Final = int(Status.NULL_VALUE)
_NO_SOURCE: Final = int(Source.NONE)


class Degraded(IntEnum):
    """Why an answer is not what it should be; the numbers are the contract's."""

    STORE_UNAVAILABLE = 1
    CORRUPT_ROW = 2
    ON_DEMAND_FAILED = 3
    SATURATED = 4
    CIRCUIT_OPEN = 5


class Unread(Enum):
    """Stands for a row that was not read, and says why; the values are those of Degraded.

    NO_ANSWER: the store failed, or did not answer in time. SATURATED: too much is waiting for it already, so it was not
    asked. REFUSED: its circuit breaker is open, so it was not asked.
    """

    NO_ANSWER = Degraded.STORE_UNAVAILABLE
    SATURATED = Degraded.SATURATED
    REFUSED = Degraded.CIRCUIT_OPEN

    def __repr__(self) -> str:
        return self.name

    @property
    def degraded(self) -> Degraded:
        """What a caller is told."""
        return self.value


UNREAD = Unread.NO_ANSWER
Row = bytes | None | Unread
"""A row as it was found: its bytes, None where there is none, Unread where the store was not read."""


@dataclass(slots=True)
class Column:
    """Values of one feature.

    ``values`` has n (n × d for VECTOR; timestamps are int64 µs; strings and lists are object arrays).

    ``statuses`` and ``sources`` have n bytes, or 1 where it is the same for all. A slot without a value holds NaN, 0
    or empty.
    """

    type: FeatureType
    values: npt.NDArray[Any]
    statuses: Bytes
    sources: Bytes

    def __len__(self) -> int:
        return len(self.values)

    def has_value(self) -> npt.NDArray[np.bool_]:
        """Say of each value (or of all, in one) whether there is one."""
        there: npt.NDArray[np.bool_] = (self.statuses != _NULL_VALUE) & (self.sources != _NO_SOURCE)
        return there

    def take(self, places: npt.NDArray[np.intp]) -> Column:
        """Return the column of the rows at ``places``."""
        statuses = self.statuses if len(self.statuses) == 1 else self.statuses[places]
        sources = self.sources if len(self.sources) == 1 else self.sources[places]
        return Column(self.type, self.values[places], statuses, sources)


class Request(NamedTuple):
    """A call, checked: how many rows, the ids of each join key and the context.

    Ids and context have ``rows`` values, or 1 for all rows. ``max_staleness_s``: how old copies may be; None: as each
    view is set.
    """

    rows: int
    ids: Mapping[str, Sequence[str]]
    context: Mapping[str, Column]
    max_staleness_s: float | None = None

    @property
    def varying(self) -> frozenset[str]:
        """Join keys and context fields that differ by row."""
        ids = (k for k, v in self.ids.items() if len(v) != 1)
        return frozenset(ids) | frozenset(k for k, v in self.context.items() if len(v) != 1)


class ServedView(NamedTuple):
    """A view that answered, with the event times of its rows (µs; numpy's NaT where there is no row).

    ``stale_micros``: the ages of copies that stood in, 0 for rows that are none; None: no row is.
    """

    name: str
    version: int
    event_micros: npt.NDArray[np.int64]
    stale_micros: npt.NDArray[np.int64] | None = None


class Answer(NamedTuple):
    """The whole answer: (name as asked, column, index of its view in ``views`` or None) in the order asked."""

    rows: int
    columns: Sequence[tuple[str, Column, int | None]]
    degraded: Sequence[tuple[Degraded, str]]
    views: Sequence[ServedView]
