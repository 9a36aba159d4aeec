"""A catalogue as simple as can be, random changes of it, and filters as their words have them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from recsvc import BOOL, FLOAT32, FLOAT64, INT64, INT64_LIST, STRING, STRING_LIST, TIMESTAMP, Entity
from recsvc.online.answer import Column, Source, Status
from recsvc.recommend.catalogue import Catalogue
from recsvc.recommend.catalogue_builder import CatalogueBuilder
from recsvc.registry import placement
from recsvc.registry.conditions import AllOf, AnyOf, Condition, IsPresent, IsTrue, NoneOf, Range
from recsvc.registry.predicates import element
from recsvc.registry.types import INT64_MAX, INT64_MIN, FeatureType, Kind

TYPES: dict[str, FeatureType] = {
    "film:available": BOOL,
    "film:year": INT64,
    "film:price": FLOAT32,
    "film:length": FLOAT64,
    "film:out": TIMESTAMP,
    "film:lang": STRING[8],
    "film:genres": STRING_LIST[4, 8],
    "counts:pop": FLOAT64,
    "counts:tags": INT64_LIST[4],
}
DEFINITION = placement.Catalogue(
    "films",
    Entity("film_id", "film", STRING),
    popularity="counts:pop",
    created_at="film:out",
    available="film:available",
    category="film:genres",
    filterable=tuple(TYPES),
)
_SCALARS: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.BOOL: st.booleans(),
    Kind.INT64: st.integers(-2, 3) | st.sampled_from([127, 128, -129, 40_000, 2**31, INT64_MIN, INT64_MAX]),
    Kind.TIMESTAMP: st.integers(0, 3) | st.sampled_from([INT64_MIN + 1, INT64_MAX]),
    Kind.FLOAT32: st.sampled_from([0.0, -0.0, 0.1, 0.5, -1.0, float("inf"), 16_777_217.0]),
    Kind.FLOAT64: st.sampled_from([0.0, 0.1, 0.5, -1.0, float("inf"), float("-inf"), 1e300]),
    Kind.STRING: st.sampled_from(["", "a", "b", "c", "é"]) | st.text("xyz", max_size=3),
}
ITEMS = st.sampled_from([f"i{n}" for n in range(12)])
Row = dict[str, Any]


def values(of: FeatureType) -> st.SearchStrategy[Any]:
    """Draw what an item may have: NaN and None among it."""
    if of.kind in (Kind.INT64_LIST, Kind.STRING_LIST):
        return st.none() | st.lists(_SCALARS[element(of).kind], max_size=4).map(tuple)
    nan = st.just(float("nan")) if of.kind in (Kind.FLOAT32, Kind.FLOAT64) else st.nothing()
    return st.none() | _SCALARS[of.kind] | nan


def rows(view: str) -> st.SearchStrategy[Row]:
    """Draw a row of a view; features may be left out."""
    types = {r: values(t) for r, t in TYPES.items() if r.startswith(f"{view}:")}
    return st.fixed_dictionaries({}, optional=types)


def column(of: FeatureType, values: list[Any], *missing: int) -> Column:
    """Return a column as it is read; the values at ``missing`` are null."""
    array = np.empty(len(values), object)
    array[:] = values
    statuses = np.full(len(values), Status.PRESENT, np.uint8)
    statuses[list(missing)] = Status.NULL_VALUE
    return Column(of, array, statuses, np.array([Source.STORE], np.uint8))


@dataclass
class Model:
    """Rows by view and item, beside the builder that is to hold the same."""

    builder: CatalogueBuilder = field(default_factory=lambda: CatalogueBuilder(DEFINITION, TYPES, spare=3))
    views: dict[str, dict[str, Row]] = field(default_factory=lambda: {"film": {}, "counts": {}})

    def put(self, view: str, item: str, row: Row) -> None:
        """Put a row into both."""
        self.builder.put(view, item, row)
        self.views[view][item] = row

    def delete(self, view: str, items: list[str]) -> None:
        """Delete rows from both."""
        self.builder.delete(view, items)
        for item in items:
            self.views[view].pop(item, None)

    def items(self) -> dict[str, Row]:
        """Return all features of all items that have a row."""
        film, counts = self.views["film"], self.views["counts"]
        return {item: {**film.get(item, {}), **counts.get(item, {})} for item in {*film, *counts}}


CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("film"), ITEMS, rows("film")),
        st.tuples(st.just("counts"), ITEMS, rows("counts")),
        st.tuples(st.sampled_from(["film", "counts"]), st.lists(ITEMS, max_size=8), st.none()),
    ),
    max_size=25,
)


def apply(model: Model, change: tuple[str, Any, Row | None]) -> None:
    """Make one drawn change."""
    view, items, row = change
    if row is None:
        model.delete(view, items)
    else:
        model.put(view, items, row)


def shown(catalogue: Catalogue) -> dict[str, Row]:
    """Read a whole snapshot, item by item, with values that compare (NaN is text)."""
    found = {}
    for place in np.flatnonzero(catalogue.exists).tolist():
        row = {r: c.value(place) for r, c in catalogue.columns.items()}
        found[catalogue.ids[place]] = comparable(row)
    return found


def comparable(row: Row) -> Row:
    """Return all features of a row as a column has them."""
    return {r: _as_kept(row.get(r), of) for r, of in TYPES.items()}


def _as_kept(value: Any, of: FeatureType) -> Any:  # noqa: ANN401  # of any type
    if of.kind is Kind.FLOAT32 and value is not None:
        value = float(np.float32(value))
    return "nan" if isinstance(value, float) and np.isnan(value) else value


def _predicates(of: FeatureType) -> st.SearchStrategy[Any]:
    scalar = _SCALARS[element(of).kind]
    wanted = st.lists(scalar, min_size=1, max_size=12).map(tuple)
    found = [wanted.map(AnyOf), wanted.map(AllOf), wanted.map(NoneOf), st.just(IsPresent())]
    if of.kind is Kind.BOOL:
        found.append(st.just(IsTrue()))
    elif of.kind in (Kind.INT64, Kind.FLOAT32, Kind.FLOAT64, Kind.TIMESTAMP):
        ends = st.tuples(scalar, scalar).map(sorted)
        found.append(st.builds(lambda e, a, b: Range(e[0], e[1], a, b), ends, st.booleans(), st.booleans()))
        found.append(st.builds(lambda e, a: Range(min=e, min_exclusive=a), scalar, st.booleans()))
    return st.one_of(found)


CONDITIONS = st.one_of([st.builds(Condition, st.just(r), _predicates(t)) for r, t in TYPES.items()])


def passes(row: Row, condition: Condition) -> bool:  # noqa: PLR0911  # one for each predicate
    """Say whether an item passes, as the issue words it."""
    of = TYPES[condition.feature]
    value = row.get(condition.feature)
    if value is None:
        return isinstance(condition.predicate, NoneOf)
    elements = {_as_kept(v, of) for v in (value if isinstance(value, tuple) else (value,))}
    match condition.predicate:
        case AnyOf(wanted):
            return any(_as_kept(v, of) in elements for v in wanted)
        case AllOf(wanted):
            return all(_as_kept(v, of) in elements for v in wanted)
        case NoneOf(wanted):
            return not any(_as_kept(v, of) in elements for v in wanted)
        case Range() as wanted:
            return _within(_as_kept(value, of), wanted, of)
        case IsTrue():
            return bool(value)
        case IsPresent():
            return True


def _within(value: Any, wanted: Range, of: FeatureType) -> bool:  # noqa: ANN401  # a number
    low, high = _as_kept(wanted.min, of), _as_kept(wanted.max, of)
    if value == "nan":
        return False
    above = low is None or (value > low if wanted.min_exclusive else value >= low)
    return above and (high is None or (value < high if wanted.max_exclusive else value <= high))
