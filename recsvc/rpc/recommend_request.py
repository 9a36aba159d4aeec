"""RecommendRequest to what the pipeline takes. Everything that is wrong with a call is found here, and told at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

from recsvc.errors import LimitError, RequestError, UnknownNameError, Violation
from recsvc.online.answer import Column
from recsvc.pb import serving_pb2 as pb
from recsvc.recommend.asked import Asked, Explain
from recsvc.recommend.filter_checks import checked
from recsvc.recommend.mirror import feature_type, kept_references
from recsvc.registry import ids as ids_of
from recsvc.registry.conditions import Condition, IsPresent, IsTrue, Predicate, Range
from recsvc.registry.model import Entity
from recsvc.registry.placement import Placement
from recsvc.registry.predicates import PATHS, element
from recsvc.registry.registry import Registry
from recsvc.registry.types import FeatureType
from recsvc.registry.validate_placements import MAX_LIMIT
from recsvc.rpc.convert_context import KINDS, from_value, is_taken
from recsvc.rpc.limits import Limits

MAX_EXCLUSIONS: Final = 10_000
MAX_SEEDS: Final = 100
MAX_FILTERS: Final = 32
MAX_VALUES: Final = 1_000
"""Of one filter."""
MAX_UNIT_BYTES: Final = 512
LARGE: Final = 2_000
"""Excluded ids and values of filters that are checked in half a millisecond."""
CATEGORY: Final = "category"
"""What a filter may call the feature that the catalogue has as its category."""
_LISTS: Final = {path: predicate for predicate, path in PATHS.items()}
_FIELDS: Final = {kind: name for name, kind in KINDS.items()}


@dataclass(slots=True)
class _Call:
    registry: Registry
    violations: list[Violation] = field(default_factory=list)
    over: list[LimitError] = field(default_factory=list)

    def wrong(self, where: str, description: str, *, unknown: bool = False) -> None:
        self.violations.append(Violation(where, description, unknown=unknown))

    def too_many(self, where: str, what: str, actual: int, allowed: int) -> None:
        facts = {"limit": where, "allowed": str(allowed), "actual": str(actual)}
        text = f"asks for {actual} {what}, at most {allowed} are allowed"
        self.over.append(LimitError([Violation(where, text)], facts))

    def failed(self, error: RequestError) -> None:
        """Take in what a check of others raised."""
        if isinstance(error, LimitError):
            self.over.append(error)
        else:
            self.violations += error.violations

    def check(self) -> None:
        """Raise all that is wrong."""
        over = [violation for error in self.over for violation in error.violations]
        if self.violations:
            unknown = not over and all(v.unknown for v in self.violations)
            raise (UnknownNameError if unknown else RequestError)([*over, *self.violations])
        if over:
            names = ("limit", "actual", "allowed")
            raise LimitError(over, {name: ",".join(error.metadata[name] for error in self.over) for name in names})


@dataclass(frozen=True, slots=True)
class _Foreign:
    """A value of a type that does not go with the feature; what is said of it is its repr."""

    what: str

    def __repr__(self) -> str:
        return self.what


def is_large(message: pb.RecommendRequest) -> bool:
    """Say whether a request is to be checked in another thread than that of the event loop."""
    values = sum(len(getattr(f, name).values) for f in message.filters[:MAX_FILTERS] for name in _LISTS)
    return len(message.exclude_item_ids) + values > LARGE


def recommend(message: pb.RecommendRequest, registry: Registry, limits: Limits, *, overrides: bool) -> Asked:
    """Return the request; raises RequestError, UnknownNameError or LimitError. ``overrides``: whether these may be."""
    call = _Call(registry)
    placement = registry.placements.get(message.placement)
    if placement is None:
        listed = ", ".join(sorted(registry.placements)) or "none"
        call.wrong("placement", f"there is no placement {message.placement[:64]!r}; there is {listed}", unknown=True)
        call.check()
        raise AssertionError("an unknown placement is wrong")
    item = registry.catalogues[placement.catalogue].item
    exclude, seeds = _ids(call, placement, item, message, limits.id_bytes)
    features = _features(call, placement, message, limits)
    context = _context(call, placement, features, message.context)
    filters = _filters(call, placement, message.filters)
    _small_fields(call, message, overrides=overrides)
    staleness = message.max_staleness
    call.check()
    return Asked(
        placement=placement,
        limit=message.limit or placement.limit,
        user=message.user_id or None,
        filters=filters,
        exclude=exclude,
        seeds=seeds,
        features=features,
        context=context,
        explain=Explain(message.explain or Explain.NONE),
        unit=message.randomization_unit,
        overrides=dict(message.experiment_overrides),
        page_token=message.page_token,
        max_staleness_s=staleness.seconds + staleness.nanos / 1e9 if message.HasField("max_staleness") else None,
    )


def _ids(
    call: _Call, placement: Placement, item: Entity, message: pb.RecommendRequest, max_bytes: int
) -> tuple[list[str], list[str]]:
    """Return the excluded items and the seeds."""
    if message.user_id and placement.user is None:
        call.wrong("user_id", f"the placement {placement.name!r} knows no users; leave it empty")
    elif message.user_id and placement.user is not None:
        problem = ids_of.problem(placement.user, message.user_id, max_bytes)
        if problem is not None:
            call.wrong("user_id", problem)
    exclude = _items(call, item, "exclude_item_ids", message.exclude_item_ids, MAX_EXCLUSIONS, max_bytes)
    return exclude, _items(call, item, "seed_item_ids", message.seed_item_ids, MAX_SEEDS, max_bytes)


def _items(call: _Call, item: Entity, name: str, given: Sequence[str], most: int, max_bytes: int) -> list[str]:  # noqa: PLR0913, PLR0917  # a field, and what it may hold
    if len(given) > most:
        call.too_many(name, "ids", len(given), most)
        return []
    ids = list(given)  # once: each look at a message's texts makes them anew
    for index, problem in ids_of.problems(item, ids, max_bytes):
        call.wrong(f"{name}[{index}]", problem)
    return ids


def _features(call: _Call, placement: Placement, message: pb.RecommendRequest, limits: Limits) -> tuple[str, ...]:
    """Return the features to return, each by its full reference."""
    registry = call.registry
    if message.feature_service and message.features:
        call.wrong("feature_service", "at most one of feature_service and features can be set, both are")
        return ()
    if not message.feature_service and not message.features:
        return ()
    try:
        limits.check_references(len(message.features))
        service = message.feature_service
        plan = registry.service_plan(service) if service else registry.plan(tuple(message.features))
        rows = min(message.limit or placement.limit, MAX_LIMIT)
        limits.check(plan, rows, frozenset({registry.catalogues[placement.catalogue].item.join_key}), event_times=False)
    except RequestError as error:
        call.failed(error)
        return ()
    item = registry.catalogues[placement.catalogue].item.join_key
    users = {placement.user.join_key} if placement.user is not None and message.user_id else set()
    unknown = plan.join_keys - users - {item}
    if unknown:
        call.wrong("features", f"need {', '.join(sorted(unknown))}, of which this call says nothing")
    return tuple(name for name, _ in plan.outputs)


def _context(
    call: _Call, placement: Placement, features: tuple[str, ...], given: Mapping[str, pb.Value]
) -> dict[str, Column]:
    """Return the request context that rankers' services and the features to return need.

    Whichever variant of an experiment is to answer, its context is there.
    """
    registry = call.registry
    variants = [variant.placement for experiment in placement.experiments for variant in experiment.variants]
    may_answer = [placement, *(registry.placements[name] for name in variants if name is not None)]
    services = {p.service for p in may_answer if p.service is not None}
    needed: frozenset[str] = frozenset().union(*(registry.service_plan(name).request_fields for name in services))
    if features:
        needed |= registry.plan(features).request_fields
    context: dict[str, Column] = {}
    for name in sorted(set(given) - registry.request.keys()):
        listed = ", ".join(sorted(registry.request)) or "none"
        call.wrong(f"context[{name[:64]!r}]", f"there is no context field {name[:64]!r}; there is {listed}")
    for name in sorted(needed):
        where = f"context[{name!r}]"
        if name not in given:
            call.wrong(where, f"context field {name!r} is needed by this placement, and missing")
            continue
        found = from_value(given[name], registry.request[name].type)
        if isinstance(found, str):
            call.wrong(where, found)
        else:
            context[name] = found
    return context


def _filters(call: _Call, placement: Placement, given: Sequence[pb.Filter]) -> tuple[Condition, ...]:
    """Return the conditions, checked against what the placement's catalogue keeps."""
    if not given:
        return ()
    registry = call.registry
    definition = registry.catalogues[placement.catalogue]
    filterable = {r: feature_type(registry, r) for r in definition.filterable if r in kept_references(definition)}
    if len(given) > MAX_FILTERS:
        call.too_many("filters", "filters", len(given), MAX_FILTERS)
    conditions = []
    for index, message in enumerate(given[:MAX_FILTERS]):
        feature = message.feature
        if feature == CATEGORY and definition.category is not None:
            feature = definition.category
        predicate = _predicate(call, f"filters[{index}]", message, filterable.get(feature))
        conditions.append(Condition(feature, predicate or IsPresent()))  # its feature may be wrong too
    try:
        return checked(conditions, filterable)
    except RequestError as error:
        call.failed(error)
        return ()


def _predicate(call: _Call, where: str, message: pb.Filter, of: FeatureType | None) -> Predicate | None:
    match message.WhichOneof("predicate"):
        case "any_of" | "all_of" | "none_of" as which:
            given = getattr(message, which).values
            if len(given) > MAX_VALUES:
                call.too_many(f"{where}.{which}", "values", len(given), MAX_VALUES)
            return _LISTS[which](_values(given[:MAX_VALUES], of))
        case "range":
            low, high = message.range.min, message.range.max
            return Range(
                _value(low.value, of) if message.range.HasField("min") else None,
                _value(high.value, of) if message.range.HasField("max") else None,
                low.exclusive,
                high.exclusive,
            )
        case "is_true":
            return IsTrue()
        case "is_present":
            return IsPresent()
        case _:
            call.wrong(where, "has no predicate that this server knows")
            return None


def _values(messages: Sequence[pb.Value], of: FeatureType | None) -> list[Any]:
    """Return values as ``_value`` does, all at once: of the feature's own kind is what is not 0 or empty as such."""
    if of is None:
        return [_value(message, of) for message in messages]
    of_kind = map(attrgetter(_FIELDS[element(of).kind]), messages)
    return [value or _value(message, of) for value, message in zip(of_kind, messages, strict=True)]


def _value(message: pb.Value, of: FeatureType | None) -> Any:  # noqa: ANN401  # of the feature's type, or _Foreign
    """Return a value as Python has it; ``of``: the feature's type, None where there is no such feature."""
    which = message.WhichOneof("kind")
    if which is None:
        return _Foreign("no value")
    kind = KINDS[which]
    if of is None or not is_taken(kind, element(of)):
        return _Foreign(f"a value of type {kind.value}")
    return getattr(message, which)


def _small_fields(call: _Call, message: pb.RecommendRequest, *, overrides: bool) -> None:
    if message.limit > MAX_LIMIT:
        call.too_many("limit", "items", message.limit, MAX_LIMIT)
    if message.explain not in {0, *map(int, Explain)}:
        call.wrong("explain", f"is {message.explain}, which this server does not know")
    if len(message.randomization_unit.encode()) > MAX_UNIT_BYTES:
        call.wrong("randomization_unit", f"has more than {MAX_UNIT_BYTES} bytes")
    if message.experiment_overrides and not overrides:
        call.wrong("experiment_overrides", "are not allowed on this server (--experiment-overrides)")
    if message.HasField("max_staleness") and (message.max_staleness.seconds < 0 or message.max_staleness.nanos < 0):
        call.wrong("max_staleness", "must not be negative")
