"""Asking for a slate, and what comes: items with ranks, sources and reasons, and their features in columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import numpy as np

from recsvc.client.columns import Column, read_column
from recsvc.client.context import ContextValue, to_value
from recsvc.client.errors import bad_argument
from recsvc.client.replies import Degradation, read_degradations
from recsvc.client.requests import Given, Id, Sent, converted, converted_one, to_id
from recsvc.client.vocabulary import AssignmentSource, Explain, RankedBy, ReasonCode, SlateRule
from recsvc.errors import Violation
from recsvc.pb import serving_pb2

Scalar = ContextValue
"""A value that a filter compares with: int, float, bool, str or datetime."""
MAX_UINT32: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on items; make one with `any_of`, `all_of`, `none_of`, `between`, `is_true` or `is_present`."""

    feature: str
    kind: str
    values: Sequence[Scalar] = ()
    ends: Mapping[str, tuple[Scalar, bool]] = field(default_factory=dict)

    def message(self) -> serving_pb2.Filter:
        """Return it as the contract has it; raises ValueError for a value that cannot be sent."""
        if isinstance(self.values, str):
            raise ValueError(f"{self.kind} has the string {self.values!r}; give a list of values")  # noqa: TRY004  # one kind of error
        message = serving_pb2.Filter(feature=self.feature)
        target = getattr(message, self.kind)
        target.SetInParent()
        if self.values:
            target.values.extend(to_value(value) for value in self.values)
        for name, (value, exclusive) in self.ends.items():
            end = getattr(target, name)
            end.value.CopyFrom(to_value(value))
            end.exclusive = exclusive
        return message


def any_of(feature: str, values: Sequence[Scalar]) -> Filter:
    """Let items pass whose value is one of ``values``; of a list, an element is."""
    return Filter(feature, "any_of", _listed(values))


def all_of(feature: str, values: Sequence[Scalar]) -> Filter:
    """Let items pass whose list has all of ``values``."""
    return Filter(feature, "all_of", _listed(values))


def none_of(feature: str, values: Sequence[Scalar]) -> Filter:
    """Let items pass whose value is none of ``values``, or that have none."""
    return Filter(feature, "none_of", _listed(values))


def _listed(values: Sequence[Scalar]) -> Sequence[Scalar]:
    """Return the values as they will stay; a string, which is no list of values, for the request to refuse."""
    return values if isinstance(values, str) else tuple(values)


def between(
    feature: str,
    low: Scalar | None = None,
    high: Scalar | None = None,
    *,
    low_out: bool = False,
    high_out: bool = False,
) -> Filter:
    """Let items pass whose number or time lies between; None: no end there. ``…_out``: the end itself is outside."""
    given = {"min": (low, low_out), "max": (high, high_out)}
    return Filter(feature, "range", ends={name: (v, out) for name, (v, out) in given.items() if v is not None})


def is_true(feature: str) -> Filter:
    """Let items pass whose value is true."""
    return Filter(feature, "is_true")


def is_present(feature: str) -> Filter:
    """Let items pass that have a value."""
    return Filter(feature, "is_present")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an item is in a slate: a code, and the item or category that it speaks of."""

    code: ReasonCode
    item_id: str
    category: str


@dataclass(frozen=True, slots=True)
class SlateItem:
    """An item: its rank over all pages, its score (NaN where it was not ranked), where it came from and why.

    ``title``: what people call it, in explained slates of catalogues that have titles; else empty.
    """

    id: str
    rank: int
    score: float
    sources: Mapping[str, int]
    reasons: tuple[Reason, ...]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which variant of an experiment answered, and how it was chosen."""

    experiment: str
    variant: str
    source: AssignmentSource


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Slate(Sequence[SlateItem]):
    """The answer to recommend: the items, best first. ``columns``: features asked for, a row per item.

    ``message`` is the whole reply as it came (the twin of recsvc/pb/packed.py), with diagnostics where asked for.
    """

    items: tuple[SlateItem, ...]
    columns: Mapping[str, Column]
    recommendation_id: str
    session_recommendation_id: str
    assignments: tuple[Assignment, ...]
    model_version: str
    ranked_by: RankedBy
    index_versions: Mapping[str, str]
    registry_fingerprint: str
    degraded: tuple[Degradation, ...]
    relaxed: tuple[SlateRule, ...]
    next_page_token: str
    message: Any

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401  # an item, or a slice of them
        return self.items[index]

    def __iter__(self) -> Iterator[SlateItem]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return f"Slate({len(self)} items by {self.ranked_by.name}, {len(self.degraded)} degraded)"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a slate is to be: the fields of the request. See the methods of Client."""

    user: Id | None = None
    limit: int = 0
    context: Mapping[str, ContextValue] | None = None
    filters: Sequence[Filter] = ()
    exclude: Sequence[Id] = ()
    seeds: Sequence[Id] = ()
    service: str | None = None
    features: Sequence[str] = ()
    explain: Explain = Explain.NONE
    unit: str = ""
    overrides: Mapping[str, str] | None = None
    page_token: str = ""
    max_staleness: timedelta | None = None


def slate_request(placement: str, wish: Wish) -> serving_pb2.RecommendRequest:
    """Return the request. ClientError (INVALID_ARGUMENT) names all that cannot be sent."""
    wrong: list[Violation] = []
    texts = (
        ("placement", "placement", placement),
        ("feature_service", "service", wish.service or ""),
        ("randomization_unit", "unit", wish.unit),
        ("page_token", "page_token", wish.page_token),
    )
    fields: dict[str, Any] = {
        **{field: converted_one(name, given, _text, wrong) for field, name, given in texts},
        "user_id": None if wish.user is None else converted_one("user", wish.user, to_id, wrong),
        "limit": converted_one("limit", wish.limit, _count, wrong),
        "context": converted("context", wish.context or {}, to_value, wrong),
        "filters": _each("filters", wish.filters, _filter, wrong),
        "exclude_item_ids": _each("exclude", wish.exclude, to_id, wrong),
        "seed_item_ids": _each("seeds", wish.seeds, to_id, wrong),
        "features": _each("features", wish.features, _text, wrong),
        "experiment_overrides": converted("overrides", wish.overrides or {}, _text, wrong),
        "max_staleness": wish.max_staleness,
    }
    if wrong:
        raise bad_argument(wrong)
    return serving_pb2.RecommendRequest(explain=serving_pb2.ExplainLevel.ValueType(int(wish.explain)), **fields)


def _each(name: str, given: Sequence[Given], convert: Callable[[Given], Sent], wrong: list[Violation]) -> list[Sent]:
    """Return what ``convert`` makes of each; what it refuses goes to ``wrong``, by its index."""
    if isinstance(given, str):
        wrong.append(Violation(name, f"is the string {given!r}; give a list"))
        return []
    return list(converted(name, dict(enumerate(given)), convert, wrong).values())


def _text(given: object) -> str:
    if not isinstance(given, str):
        raise ValueError(f"{type(given).__name__} is no text; give a str")  # noqa: TRY004  # one kind of error
    given.encode()  # what cannot be sent is told here, by its name
    return given


def _count(given: object) -> int:
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or not 0 <= given <= MAX_UINT32:
        raise ValueError(f"{given!r} is no number of items; give 1 or more, or 0 for as many as the placement says")
    return int(given)


def _filter(given: object) -> serving_pb2.Filter:
    if not isinstance(given, Filter):
        raise ValueError(f"{type(given).__name__} is no filter; make one with any_of, between, is_true, ...")  # noqa: TRY004  # one kind of error
    return given.message()


def read_slate(reply: Any) -> Slate:  # noqa: ANN401  # the twin
    """Return the slate that a reply (the twin) holds. Raises ClientError where a column cannot be read."""
    return Slate(
        items=tuple(_item(item) for item in reply.items),
        columns={column.name: read_column(column) for column in reply.columns},
        recommendation_id=reply.recommendation_id,
        session_recommendation_id=reply.session_recommendation_id,
        assignments=tuple(Assignment(a.experiment, a.variant, AssignmentSource(a.source)) for a in reply.assignments),
        model_version=reply.model_version,
        ranked_by=RankedBy(reply.ranked_by),
        index_versions=dict(reply.index_versions),
        registry_fingerprint=reply.registry_fingerprint,
        degraded=read_degradations(reply.degraded),
        relaxed=tuple(map(SlateRule, reply.relaxed)),
        next_page_token=reply.next_page_token,
        message=reply,
    )


def _item(item: Any) -> SlateItem:  # noqa: ANN401  # a message of the twin
    return SlateItem(
        id=item.item_id,
        rank=item.rank,
        score=item.score,
        sources={s.source: s.rank for s in item.sources},
        reasons=tuple(Reason(ReasonCode(r.code), r.item_id, r.category) for r in item.reasons),
        title=item.title,
    )
