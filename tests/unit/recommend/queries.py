"""Small catalogues with vectors, users, and queries that candidate sources are asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsvc import INT64_LIST, STRING_LIST, VECTOR
from recsvc.online.answer import Answer, Column, Source, Status
from recsvc.recommend.candidates import Query
from recsvc.recommend.catalogue import Catalogue
from recsvc.recommend.catalogue_builder import CatalogueBuilder
from recsvc.recommend.index.exact import ExactIndex
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.protocol import Allowed, Hits
from recsvc.recommend.index.table import vector_table
from recsvc.recommend.quality_factor import Narrowing
from recsvc.recommend.snapshot import Indexed, Snapshot
from recsvc.recommend.user_facts import UserFacts
from recsvc.registry.types import FeatureType
from tests.unit.recommend.catalogue_model import DEFINITION, TYPES

ALL = Narrowing(1.0, 0)
NOW: Final = 1_800_000_000_000_000
GENRES: Final = ("drama", "comedy", "crime")
TASTE: Final = "user:taste"
RECENT: Final = "user:recent"


def name(number: int) -> str:
    """Return the id of an item."""
    return f"i{number}"


def builder_of(count: int) -> CatalogueBuilder:
    """Return items: the higher its number the less popular, the older, and one of three genres."""
    builder = CatalogueBuilder(DEFINITION, TYPES)
    for number in range(count):
        item = name(number)
        out = NOW - number * 1_000_000
        film: dict[str, Any] = {"film:available": True, "film:genres": (GENRES[number % 3],), "film:out": out}
        builder.put("film", item, film)
        builder.put("counts", item, {"counts:pop": float(count - number)})
    return builder


def on_a_line(ids: Sequence[str], *, version: str = "v1") -> ExactIndex:
    """Return an index where an item is near those of the next numbers."""
    numbers = np.array([float(i.removeprefix("i")) for i in ids])
    vectors = np.stack([numbers, np.ones(len(ids))], axis=1) if len(ids) else np.zeros((0, 2))
    return ExactIndex(vector_table(list(ids), vectors, Metric.L2), version=version)


def one(of: FeatureType, value: object, *, status: Status = Status.PRESENT, source: Source = Source.STORE) -> Column:
    """Return a column of one value."""
    if of.kind is VECTOR[2].kind:
        values: NDArray[Any] = np.array([value], np.float32)
    else:
        values = np.empty(1, object)
        values[0] = np.array(value, np.int64) if of.kind is INT64_LIST[1].kind else value
    return Column(of, values, np.array([status], np.uint8), np.array([source], np.uint8))


def answer(columns: Mapping[str, Column]) -> Answer:
    """Return what a read of one row gives."""
    return Answer(1, [(reference, column, 0) for reference, column in columns.items()], [], [])


def user(taste: Sequence[float] | None = None, recent: Sequence[str] = ()) -> UserFacts:
    """Return what is known of a user."""
    columns = {RECENT: one(STRING_LIST[50, 16], tuple(recent))}
    if taste is not None:
        columns[TASTE] = one(VECTOR[2], taste)
    return UserFacts(answer(columns))


def query(  # noqa: PLR0913  # what a test cares for
    catalogue: Catalogue,
    *,
    mask: NDArray[np.bool_] | None = None,
    facts: UserFacts | None = None,
    seeds: Sequence[str] = (),
    seed: int = 20,
    index: Any = None,  # noqa: ANN401  # an index, or what stands for one
    narrowing: Narrowing = ALL,
) -> Query:
    """Return a query with an index ``line`` of all items, where no other is given."""
    index = on_a_line(catalogue.ids.tolist()) if index is None else index
    return Query(
        snapshot=Snapshot(catalogue, {"line": Indexed.of(index, catalogue)}, 0.0),
        allowed=Allowed.by(catalogue.allowed.copy() if mask is None else mask),
        facts=user() if facts is None else facts,
        seeds=catalogue.places(seeds),
        seed=seed,
        now_micros=NOW,
        created_at="film:out",
        narrowing=narrowing,
    )


class ScriptedIndex(ExactIndex):
    """An index on a line that answers as a test says."""

    def __init__(self, ids: Sequence[str], places: Sequence[int], scores: Sequence[float]) -> None:
        super().__init__(on_a_line(ids).table, version="v1")
        self._hits = Hits(np.array(places, np.int64), np.array(scores, np.float32))

    def search(
        self,
        query: NDArray[np.float32],  # noqa: ARG002  # as in VectorIndex
        k: int,  # noqa: ARG002
        allowed: NDArray[np.bool_] | None = None,  # noqa: ARG002
    ) -> Hits:
        """Return what was said."""
        return self._hits
