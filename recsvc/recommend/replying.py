"""Makes the recommendation of a slate: what each item says about itself, and what all of it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import numpy as np

from recsvc.recommend.asked import Degradation, Diagnostics, Explain, Reason, Recommendation, SlateItem
from recsvc.recommend.candidates import Found
from recsvc.recommend.explaining import Explainer, is_sensitive
from recsvc.recommend.item_hashes import hashes
from recsvc.recommend.item_reader import ItemReader
from recsvc.recommend.masking import Masking
from recsvc.recommend.ordering import Ordered, Ordering
from recsvc.recommend.page_token import Page, returned_hashes
from recsvc.recommend.ranking.card import Floats
from recsvc.recommend.slate_rules import Slate
from recsvc.recommend.snapshot import Snapshot
from recsvc.recommend.surroundings import Call, Shared
from recsvc.recommend.uuid7 import RANDOM_BITS, uuid7
from recsvc.registry.placement import Nearest, Placement, SimilarToRecent, SimilarToSeeds


class Made(NamedTuple):
    """A slate, and what it was made of. ``seed``: of what was drawn at random."""

    slate: Slate
    ordered: Ordered
    found: Sequence[Found]
    masking: Masking
    snapshot: Snapshot
    degraded: Sequence[Degradation]
    seed: int


class Replying:
    """Replies to one request, with what ``reader`` has read and ``ordering`` has ordered for it."""

    def __init__(self, of: Shared, call: Call, placement: Placement, reader: ItemReader, ordering: Ordering) -> None:
        self._of = of
        self._asked, self._paged, self._page, self._assigned = call
        self._placement = placement
        self._registry = reader.registry
        self._reader = reader
        self._ordering = ordering

    def __repr__(self) -> str:
        return f"Replying({self._placement.name!r}, {self._reader!r})"

    def reply(self, made: Made, now_micros: int) -> Recommendation:
        """Return the recommendation, with an id of this moment."""
        asked, around, rows = self._asked, self._of.around, self._reader.rows
        catalogue, places = made.snapshot.catalogue, made.slate.places
        ids = catalogue.id_texts(places)
        name = uuid7(now_micros // 1_000, around.random.getrandbits(RANDOM_BITS))
        session = name if self._page is None else self._page.session
        service = self._reader.service
        diagnostics = self._diagnostics(made)
        return Recommendation(
            id=name,
            session=session,
            items=self._items(made, ids, diagnostics),
            columns=rows.columns(asked.features, places),
            assignments=self._assigned.assignments,
            model_version=self._ordering.model_version,
            ranked_by=made.ordered.by,
            registry_fingerprint=self._registry.fingerprint,
            index_versions={n: made.snapshot.indexes[n].index.version for n in self._searched(made.found)},
            degraded=made.degraded,
            relaxed=made.slate.relaxed,
            next_page_token=self._next_page(made, ids, session, now_micros),
            diagnostics=diagnostics,
            views=self._reader.views,
            ranked_columns=rows.columns(service, places) if self._of.impressions else [],
        )

    def _items(self, made: Made, ids: Sequence[str], diagnostics: Diagnostics) -> list[SlateItem]:
        asked, slate, ordered = self._asked, made.slate, made.ordered
        before = 0 if self._page is None else len(self._page.returned)
        explainer = Explainer(made.snapshot.catalogue, self._placement, made.found)
        names, values = self._contributed(diagnostics)
        titles = self._titles(made.slate)
        items = []
        for index, (item, place, row) in enumerate(zip(ids, slate.places.tolist(), slate.rows.tolist(), strict=True)):
            ranked = row >= 0
            candidate = int(ordered.rows[row]) if ranked else -1
            origins = ordered.merged.origins(candidate) if ranked else ()
            reasons: tuple[Reason, ...] = ()
            if asked.explain >= Explain.REASONS:
                boosted = ranked and len(ordered.boosted) > 0 and bool(ordered.boosted[row])
                reasons = explainer.reasons(place, origins, slate.standings[index], boosted=boosted)
            items.append(
                SlateItem(
                    item,
                    before + index + 1,
                    float(ordered.scores[row]) if ranked else float("nan"),
                    origins,
                    reasons,
                    float(ordered.merged.scores[candidate]) if ranked else float("nan"),
                    list(zip(names, values[candidate].tolist(), strict=True)) if ranked and values is not None else (),
                    titles[index] if titles else "",
                )
            )
        return items

    def _titles(self, slate: Slate) -> Sequence[str]:
        """Return what the items are called, empty where nobody knows; nothing where it is not asked."""
        named = () if self._reader.title is None else (self._reader.title,)
        columns = [column for _, column in self._reader.rows.columns(named, slate.places)]
        if not columns:
            return ()
        titles, there = columns[0].values, columns[0].has_value()
        known = np.broadcast_to(there, len(titles))
        return [title if is_known else "" for title, is_known in zip(titles.tolist(), known.tolist(), strict=True)]

    def _diagnostics(self, made: Made) -> Diagnostics:
        counts = {f.candidates.source: len(f.candidates.places) for f in made.found}
        return Diagnostics(made.masking.drops, made.masking.passed, counts)

    def _contributed(self, diagnostics: Diagnostics) -> tuple[Sequence[str], Floats | None]:
        """Return what features added to the score of each candidate; those that are sensitive stay with us."""
        if self._asked.explain is not Explain.DIAGNOSTICS:
            return (), None
        values, diagnostics.no_contributions = self._ordering.contributions()
        service = self._reader.service
        shown = [i for i, name in enumerate(service) if not is_sensitive(self._registry, name)]
        return [service[i] for i in shown], None if values is None else values[:, shown]

    def _searched(self, found: Sequence[Found]) -> set[str]:
        """Return the names of the indexes that candidates were looked for in."""
        asked = {outcome.candidates.source for outcome in found}
        searching = (s for s in self._placement.sources if isinstance(s, Nearest | SimilarToRecent | SimilarToSeeds))
        return {source.index for source in searching if source.name in asked}

    def _next_page(self, made: Made, ids: Sequence[str], session: UUID, now_micros: int) -> str:
        """Return the token of the next page; empty where nothing more passes, or there were too many items."""
        if len(ids) < self._asked.limit or made.masking.passed <= len(ids):
            return ""
        returned = returned_hashes(self._page, hashes(ids))
        page = Page(session, made.seed, self._assigned.assignments, returned)
        return self._of.tokens.encode(self._paged, page, now_s=now_micros / 1e6) or ""
