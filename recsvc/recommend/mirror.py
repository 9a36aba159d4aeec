"""Keeps a catalogue in memory as its views are in the store: a scan, then what the change feed announces."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from recsvc.errors import StoreUnavailableError
from recsvc.online.answer import Source
from recsvc.online.columns import ViewColumns
from recsvc.online.layout import FORMAT, HEADER_BYTES, TOMBSTONE
from recsvc.online.reader import ViewRows
from recsvc.online.row import RowCodec
from recsvc.online.whole_view import IdRow, WholeView
from recsvc.recommend.catalogue import Catalogue
from recsvc.recommend.catalogue_builder import CatalogueBuilder, view_of
from recsvc.registry import placement
from recsvc.registry.plan import ViewRead
from recsvc.registry.reference import parse
from recsvc.registry.registry import Registry
from recsvc.registry.types import FeatureType
from recsvc.telemetry.counters import Counters

log = logging.getLogger(__name__)

INTERVAL_S: Final = 1.0
"""How often the change feed is read, and what it told is served, at least."""
RESCAN_S: Final = 300.0
"""How often all rows are looked at again, for what no change told: rows that expired, announcements that were lost."""


class _View:
    """A view of the catalogue: where its rows come from, and what of them is kept.

    ``position``: where to go on in its feed, empty where that is unknown. ``whole``: all of its rows are in, and since
    then none was lost. ``as_of``: what was written before is in; by the mirror's clock, as ``scanned_at``.
    """

    def __init__(  # what it is of, and what it works with
        self, prefix: str, references: Sequence[str], registry: Registry, rows: WholeView, counters: Counters
    ) -> None:
        self.prefix = prefix
        self._counters = counters
        self.rows = rows
        self.position = b""
        self.whole = False
        self.as_of = 0.0
        self.scanned_at = 0.0
        self.touched: set[str] | None = None  # while it is scanned: items that have a row, or had one written
        view = registry.view(prefix)
        schema = registry.schema(view)
        indices = {schema.names.index(r.partition(":")[2]): r for r in references}
        self.references = dict(sorted(indices.items()))
        self._read = ViewRead(view, schema, tuple(self.references))
        self._columns = ViewColumns(view, RowCodec(schema))

    def __repr__(self) -> str:
        return f"_View({self.prefix}, at {self.position!r})"

    def put(self, builder: CatalogueBuilder, rows: Sequence[IdRow], now_micros: int) -> None:
        """Bring rows into the catalogue. Corrupt ones change nothing."""
        there = {item: row for item, row in rows if row is not None and not _is_tombstone(row)}
        builder.delete(self.prefix, [item for item, _ in rows if item not in there])
        if not there:
            return
        items = list(there)
        decoded = self._columns.decode(self._read, ViewRows(list(there.values()), Source.STORE), now_micros)
        if decoded.corrupt:
            self._counters.corrupt(self.prefix, len(decoded.corrupt), decoded.reasons[0])
            corrupt = set(decoded.corrupt)
            right = [i for i in range(len(items)) if i not in corrupt]
            self.put(builder, [(items[i], there[items[i]]) for i in right], now_micros)
            return
        columns = {reference: decoded.columns[index] for index, reference in self.references.items()}
        builder.put_columns(self.prefix, items, columns)


class CatalogueMirror:
    """Follows one catalogue. ``snapshot`` is the last known one; ``age_s`` says how long ago it was brought up to date.

    ``views``: rows by the view's part of the references. ``clock``: seconds of the clock that ``age_s`` is told.
    """

    def __init__(  # noqa: PLR0913  # what it works with, from outside
        self,
        definition: placement.Catalogue,
        registry: Registry,
        views: Mapping[str, WholeView],
        *,
        now_micros: Callable[[], int],
        clock: Callable[[], float],
        counters: Counters,
        prepare: Callable[[Catalogue, Catalogue], Awaitable[object]],
    ) -> None:
        """``prepare`` is awaited before a snapshot is served: it gets that one, and the one served until then."""
        self._prepare = prepare
        references = kept_references(definition)
        types = {r: feature_type(registry, r) for r in references}
        self.definition = definition
        self._builder = CatalogueBuilder(definition, types)
        self._views = [
            _View(prefix, [r for r in references if view_of(r) == prefix], registry, views[prefix], counters)
            for prefix in dict.fromkeys(map(view_of, references))
        ]
        self._now_micros = now_micros
        self._clock = clock
        self._fresh_at: float | None = None
        self._followed_at = clock()
        self.snapshot: Catalogue = self._builder.snapshot()

    def __repr__(self) -> str:
        return f"CatalogueMirror({self.snapshot!r}, {self._views})"

    def age_s(self) -> float | None:
        """Return how long ago the catalogue was known to be up to date; None: never yet."""
        return None if self._fresh_at is None else max(0.0, self._clock() - self._fresh_at)

    async def run(self) -> None:
        """Follow the store for ever; what fails is tried again."""
        failing = False
        while True:
            behind = False
            try:
                behind = await self.refresh()
            except StoreUnavailableError as error:
                if not failing:
                    log.warning("catalogue %s is not kept up to date: %s", self.definition.name, error)
                failing = True
            except Exception:  # one row or one bug must not leave the catalogue as it is for ever
                log.exception("catalogue %s is not kept up to date", self.definition.name)
                failing = True
            else:
                if failing:
                    log.info("catalogue %s is up to date again", self.definition.name)
                failing = False
            await asyncio.sleep(0.0 if behind else INTERVAL_S)

    async def refresh(self) -> bool:
        """Bring the catalogue up to date; True: as far as INTERVAL_S went, there is more to read.

        Raises StoreUnavailableError; what was known stays.
        """
        behind = await self._follow()
        due = [view for view in self._views if not view.whole or self._clock() - view.scanned_at >= RESCAN_S]
        if due and self._fresh_at is not None:
            await self._publish()  # what changes told is served also where a scan fails
        for view in due:
            await self._scan(view)
        await self._publish()
        return behind

    async def _publish(self) -> None:
        as_of = min(view.as_of for view in self._views)
        snapshot = await asyncio.to_thread(self._builder.snapshot)
        await self._prepare(snapshot, self.snapshot)
        self.snapshot, self._fresh_at = snapshot, as_of

    def _drop_untouched(self, view: _View, touched: set[str]) -> None:
        """Delete what a scan found no row of."""
        known = self._builder.snapshot()
        items = known.id_texts(known.exists.nonzero()[0])
        self._builder.delete(view.prefix, [item for item in items if item not in touched])

    async def _follow(self) -> bool:
        """Take in what was written, for INTERVAL_S at most: who writes may never pause. True: there is more."""
        began, behind = self._clock(), True
        while behind and self._clock() - began < INTERVAL_S:
            behind = any([await self._take(view) for view in self._views if view.position])
        self._followed_at = self._clock()
        return behind

    async def _take(self, view: _View) -> bool:
        """Take in the next of what was written to a view; True: there may be more."""
        began = self._clock()
        written = await view.rows.since(view.position)
        if written.gap:
            view.position, view.whole = b"", False
            return False
        await self._put(view, written.rows)
        view.position = written.position
        if view.whole and not written.more:
            view.as_of = began
        return written.more

    async def _put(self, view: _View, rows: Sequence[IdRow]) -> None:
        if not rows:
            return
        if view.touched is not None:
            view.touched.update(item for item, _ in rows)
        # In a thread: 5,000 rows take some 50 ms. The builder has one user at a time all the same.
        await asyncio.to_thread(view.put, self._builder, rows, self._now_micros())

    async def _scan(self, view: _View) -> None:
        """Take in all rows of a view, and drop what has none. Changes are followed in between, and served."""
        began = self._clock()
        if not view.whole:
            view.position = await view.rows.position()
        view.touched = set()
        try:
            async for rows in view.rows.scan():
                await self._put(view, rows)
                await self._keep_up()
            await asyncio.to_thread(self._drop_untouched, view, view.touched)
        finally:
            view.touched = None
        view.whole = bool(view.position)  # else changes were lost meanwhile: the next refresh scans again
        view.as_of = max(view.as_of, began)
        view.scanned_at = began

    async def _keep_up(self) -> None:
        """Follow changes every INTERVAL_S of something that takes long, and serve them; never half of a first scan."""
        if self._clock() - self._followed_at >= INTERVAL_S:
            await self._follow()
            if self._fresh_at is not None:
                await self._publish()


def _is_tombstone(row: bytes) -> bool:
    """Say whether a row is a whole tombstone; one that is cut, or of another format, is a corrupt row."""
    return len(row) == HEADER_BYTES and row[0] == FORMAT and row[1] == TOMBSTONE


def feature_type(registry: Registry, reference: str) -> FeatureType:
    """Return the type of a stored feature."""
    prefix, _, name = reference.partition(":")
    schema = registry.schema(registry.view(prefix))
    return schema.types[schema.names.index(name)]


def kept_references(definition: placement.Catalogue) -> list[str]:
    """Return the features that a catalogue keeps of its items, each once."""
    return [reference for reference in definition.kept if parse(reference) is not None]
