"""A view with its change feed in memory, whose store can be down; and a catalogue of two such views."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any, Final

import numpy as np

from recsvc import BOOL, FLOAT64, STRING_LIST, TIMESTAMP, Entity, Feature, FeatureView, Registry
from recsvc.errors import StoreUnavailableError
from recsvc.online.row import RowCodec, pack_strings, tombstone
from recsvc.online.whole_view import IdRow, Written
from recsvc.recommend.catalogue import Catalogue
from recsvc.recommend.mirror import CatalogueMirror
from recsvc.registry import placement
from recsvc.registry.schema import Schema
from recsvc.telemetry.counters import Counters

NOW: Final = 1_800_000_000_000_000
ITEM: Final = Entity("item", "item_id")
FILM: Final = FeatureView(
    "film",
    [ITEM],
    [
        Feature("available", BOOL),
        Feature("genres", STRING_LIST[4, 16], default=()),
        Feature("out", TIMESTAMP),
    ],
    mirrored=True,
    freshness=timedelta(days=1),
)
COUNTS: Final = FeatureView("counts", [ITEM], [Feature("pop", FLOAT64)], mirrored=True, freshness=timedelta(days=1))
REGISTRY: Final = Registry(views=[FILM, COUNTS])
FILMS: Final = placement.Catalogue(
    "films",
    ITEM,
    popularity="counts:pop",
    available="film:available",
    created_at="film:out",
    category="film:genres",
)
BURIED: Final = tombstone(NOW, NOW)


def film(*genres: str, available: bool = True, out: int | None = None) -> bytes:
    """Return a row of FILM."""
    codec = RowCodec(Schema.of(FILM.features))
    lists = np.empty(1, object)
    lists[0] = pack_strings(genres)
    times = np.array([out or 0]), np.array([out is not None])
    return codec.encode(np.array([NOW]), np.array([NOW]), [(np.array([available]), None), (lists, None), times])[0]


def counts(pop: float) -> bytes:
    """Return a row of COUNTS."""
    codec = RowCodec(Schema.of(COUNTS.features))
    return codec.encode(np.array([NOW]), np.array([NOW]), [(np.array([pop]), None)])[0]


class MemoryView:
    """See WholeView. ``down``: every call fails; ``scans``: how many there were.

    ``during`` is called between the pieces of each scan, ``asked`` when changes are read.
    """

    def __init__(self, **rows: bytes) -> None:
        self.rows: dict[str, bytes] = dict(rows)
        self.down = False
        self.scans = 0
        self.during: list[Any] = []
        self.asked: list[Any] = []
        self._log: list[str] = ["", *rows]
        self._lost = 0

    def __repr__(self) -> str:
        return f"MemoryView({len(self.rows)} rows, {len(self._log)} changes)"

    def write(self, item: str, row: bytes) -> None:
        """Write a row, and announce it."""
        self.rows[item] = row
        self._log.append(item)

    def expire(self, item: str) -> None:
        """Let a row go without a word, as a TTL does."""
        del self.rows[item]

    def lose(self) -> None:
        """Trim the feed: nobody can go on where they were, but from its end."""
        self._lost = len(self._log)
        self._log.append("")

    async def position(self) -> bytes:
        """See WholeView.position."""
        self._check()
        return b"%d" % (len(self._log) - 1)

    async def scan(self) -> AsyncIterator[Sequence[IdRow]]:
        """See WholeView.scan; two rows in a piece."""
        self._check()
        self.scans += 1
        items = list(self.rows)
        for start in range(0, len(items), 2):
            yield [(item, self.rows.get(item)) for item in items[start : start + 2]]
            for what in self.during:
                what()
            self._check()

    async def since(self, position: bytes) -> Written:
        """See WholeView.since; up to two changes at a time."""
        self._check()
        for what in self.asked:
            what()
        after = int(position)
        new = self._log[after + 1 : after + 3]
        rows = [(item, self.rows.get(item)) for item in dict.fromkeys(new) if item]
        return Written(rows, b"%d" % (after + len(new)), after < self._lost, len(new) == 2)

    def _check(self) -> None:
        if self.down:
            raise StoreUnavailableError("down")


class Mirrored:
    """A mirror of FILMS over two views in memory, with a clock that the test moves."""

    def __init__(self, films: dict[str, bytes], pops: dict[str, bytes]) -> None:
        self.films = MemoryView(**films)
        self.counts = MemoryView(**pops)
        self.now_s = 100.0
        self.prepared: Catalogue | None = None
        views = {"film": self.films, "counts": self.counts}
        counters = Counters(monotonic=lambda: self.now_s)
        self.mirror = CatalogueMirror(
            FILMS,
            REGISTRY,
            views,
            now_micros=lambda: NOW + 1,
            clock=lambda: self.now_s,
            counters=counters,
            prepare=self._prepare,
        )

    def __repr__(self) -> str:
        return f"Mirrored({self.mirror!r})"

    async def _prepare(self, snapshot: Catalogue, served: Catalogue) -> None:
        """Have nothing to prepare; what is served until then is what the mirror has."""
        assert served is self.mirror.snapshot
        self.prepared = snapshot

    def allowed(self) -> list[str]:
        """Return the items that may be recommended, the most popular first."""
        known = self.mirror.snapshot
        return known.id_texts(known.ranked.order[known.allowed[known.ranked.order]])

    def items(self) -> set[str]:
        """Return the items that there are."""
        known = self.mirror.snapshot
        return set(known.id_texts(np.flatnonzero(known.exists)))


TWO: Final = {"a": film("drama"), "b": film("comedy")}
POPS: Final = {"a": counts(1.0), "b": counts(2.0)}


async def loaded() -> Mirrored:
    """Return a mirror of two films that is up to date."""
    of = Mirrored(TWO, POPS)
    await of.mirror.refresh()
    return of
