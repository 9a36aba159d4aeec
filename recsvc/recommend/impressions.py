"""Impressions: what was shown to whom, why, and from which values; who keeps them implements ImpressionSink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol
from uuid import UUID

from recsvc.online.answer import Column
from recsvc.recommend.experiments import Assignment

_FIXED_BYTES: Final = 1_000
_ITEM_BYTES: Final = 300
_OBJECT_BYTES: Final = 80
"""About what a Python object takes, of which an array counts the pointer alone."""


@dataclass(frozen=True, slots=True)
class ShownItem:
    """An item of a reply: its rank over all pages, from 1, its score, and the sources that brought it up."""

    id: str
    rank: int
    score: float
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Impression:
    """One reply of Recommend.

    ``user``: ids by join key, empty for an anonymous one; then ``unit`` is what decided the ``assignments``, as the
    caller sent it. ``features``: the columns that ranked the items, in their
    order, with one value for each item or one for all. ``model_version``: the model configured; ``ranked_by``: what
    really ordered them.
    """

    recommendation_id: UUID
    session_id: UUID
    time_micros: int
    placement: str
    items: Sequence[ShownItem]
    user: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""
    assignments: Sequence[Assignment] = ()
    model_version: str = ""
    ranked_by: str = ""
    registry_fingerprint: str = ""
    features: Mapping[str, Column] = field(default_factory=dict)

    @property
    def memory_bytes(self) -> int:
        """About how much memory it takes."""
        values = (c.values for c in self.features.values())
        columns = sum(v.nbytes + (v.size * _OBJECT_BYTES if v.dtype == object else 0) for v in values)
        return _FIXED_BYTES + _ITEM_BYTES * len(self.items) + columns


class ImpressionSink(Protocol):
    """Keeps impressions: a file, a log, a queue of messages."""

    async def write(self, impressions: Sequence[Impression]) -> None:
        """Keep these, in their order. Called for one batch at a time; what it raises costs that batch."""
        ...

    async def close(self) -> None:
        """Bring all to where it is safe, and let go. Nothing is written after it."""
        ...
