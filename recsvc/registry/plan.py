"""A read plan: which views to read, which columns of them, what to compute, and in what order to answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from recsvc.registry.model import Entity, FeatureView, OnDemandFeature, OnDemandView, RequestField
from recsvc.registry.schema import Schema
from recsvc.registry.types import FeatureType

_STATUS_AND_SOURCE = 2
_COLUMN_OVERHEAD = 48
"""Tags and lengths around one column, and the name's own tag, at most; in bytes."""
_VIEW_OVERHEAD = 512
"""An entry for a view that was served, and one for each of five reasons why it is degraded, at most."""
_AGE_BYTES = 8
"""A time, or an age, of one row of a view that was served."""
_REPLY_OVERHEAD = 64
"""The fingerprint, the number of rows, and their tags."""


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """A feature out of a row.

    ``read`` is the index of its view in ``ReadPlan.reads``, ``column`` that of the feature in the schema.
    """

    name: str
    type: FeatureType
    join_keys: frozenset[str]
    read: int
    column: int


@dataclass(frozen=True, slots=True)
class ComputedColumn:
    """An on-demand feature; ``inputs`` are (parameter, slot) pairs of slots before this one."""

    name: str
    type: FeatureType
    join_keys: frozenset[str]
    request_fields: frozenset[str]
    view: OnDemandView
    feature: OnDemandFeature
    inputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class RequestColumn:
    """A field of the request context."""

    name: str
    type: FeatureType
    join_keys: frozenset[str]
    field: RequestField


Slot = StoredColumn | ComputedColumn | RequestColumn


@dataclass(frozen=True, slots=True)
class ViewRead:
    """One view to read, with the features of it that are needed (indices into the schema, ascending)."""

    view: FeatureView
    schema: Schema
    columns: tuple[int, ...]

    @property
    def entities(self) -> tuple[Entity, ...]:
        """The entities whose ids make the row's key, in order."""
        return tuple(self.view.entities)


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """What one feature service, or one list of references, needs.

    ``slots`` are all columns, inputs before what is computed from them; ``outputs`` are (name as asked, slot) in the
    order asked.
    """

    reads: tuple[ViewRead, ...]
    slots: tuple[Slot, ...]
    outputs: tuple[tuple[str, int], ...]
    join_keys: frozenset[str] = field(init=False)
    request_fields: frozenset[str] = field(init=False)
    served: tuple[tuple[str, int], ...] = field(init=False)

    def __post_init__(self) -> None:
        keys = frozenset(e.join_key for r in self.reads for e in r.view.entities)
        object.__setattr__(self, "join_keys", keys)
        fields = frozenset(s.field.name for s in self.slots if isinstance(s, RequestColumn))
        object.__setattr__(self, "request_fields", fields)
        object.__setattr__(self, "served", tuple(dict.fromkeys(self._served())))

    def _served(self) -> Iterator[tuple[str, int]]:
        yield from ((r.view.name, r.view.version) for r in self.reads)
        yield from ((s.view.name, s.view.version) for s in self.slots if isinstance(s, ComputedColumn))

    def column_rows(self, slot: int, rows: int, varying: frozenset[str]) -> int:
        """How many values the column of ``slot`` has: 1 where nothing that it depends on varies by row."""
        column = self.slots[slot]
        depends = column.join_keys
        if isinstance(column, ComputedColumn):
            depends |= column.request_fields
        elif isinstance(column, RequestColumn):
            depends = frozenset({column.field.name})
        return rows if depends & varying else min(rows, 1)

    def cells(self, rows: int, varying: frozenset[str]) -> int:
        """How many values an answer of ``rows`` rows has."""
        return sum(self.column_rows(slot, rows, varying) for _, slot in self.outputs)

    def reply_bytes(self, rows: int, varying: frozenset[str]) -> int:
        """Say how many bytes an answer of ``rows`` rows can have at most, from the types' bounds.

        The event times of an answer in columns are not counted (see ``time_bytes``), the ages of stale copies are.
        """
        total = _REPLY_OVERHEAD + _VIEW_OVERHEAD * len(self.served) + self.time_bytes(rows, varying)
        for name, slot in self.outputs:
            per_value = self.slots[slot].type.max_reply_bytes + _STATUS_AND_SOURCE
            total += self.column_rows(slot, rows, varying) * per_value + len(name) + _COLUMN_OVERHEAD
        return total

    def time_bytes(self, rows: int, varying: frozenset[str]) -> int:
        """Return how many bytes one time per row of each view takes; one, where all keys of the view are broadcast."""
        keys = (frozenset(e.join_key for e in read.entities) for read in self.reads)
        return sum(_AGE_BYTES * (rows if k & varying else min(rows, 1)) for k in keys)
