"""Messages to requests: everything that is wrong with a call is found here, and all of it is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from recsvc.errors import RequestError, UnknownNameError, Violation
from recsvc.online.answer import Column, Request
from recsvc.pb import serving_pb2 as pb
from recsvc.registry import ids as ids_of
from recsvc.registry.model import Entity, RequestField
from recsvc.registry.plan import ReadPlan
from recsvc.registry.reference import parse
from recsvc.registry.registry import Registry
from recsvc.rpc.convert_context import from_column, from_value, length
from recsvc.rpc.limits import Limits

_BARE_VIEWS: Final = 8
"""Where a call names more whole views than this, what they hold is counted before it is planned: it may be millions."""
_LISTED_NAMES: Final = 1_000
"""A map with more entries than this is not told name by name: they may be hundreds of thousands."""
_NONE: Final = np.zeros(0, np.intp)


@dataclass(slots=True)
class _Call:
    """What has been found out about a call."""

    registry: Registry
    violations: list[Violation] = field(default_factory=list)
    plan: ReadPlan | None = None

    def wrong(self, where: str, description: str) -> None:
        self.violations.append(Violation(where, description))

    def right(self) -> ReadPlan:
        """Return the plan, or raise all that is wrong."""
        if self.violations or self.plan is None:
            unknown = all(v.unknown for v in self.violations)
            raise (UnknownNameError if unknown else RequestError)(self.violations)
        return self.plan


def single(message: pb.GetFeaturesRequest, registry: Registry, limits: Limits) -> tuple[ReadPlan, Request]:
    """Return plan and request of GetFeatures; raises RequestError, UnknownNameError or LimitError."""
    call = _Call(registry)
    _select(call, message.feature_service, message.features, limits)
    staleness = _staleness(call, message)
    ids: dict[str, Sequence[str]] = {}
    for entity in _needed_entities(call, message.entities):
        ids[entity.join_key] = [message.entities[entity.join_key]]
        _check_ids(call, entity, ids[entity.join_key], limits.id_bytes)
    context: dict[str, Column] = {}
    for needed in _needed_fields(call, message.context):
        _keep(call, context, needed, from_value(message.context[needed.name], needed.type))
    plan = call.right()
    limits.check(plan, 1, frozenset(), event_times=message.include_event_times)
    return plan, Request(1, ids, context, staleness)


def batch(message: pb.GetFeaturesBatchRequest, registry: Registry, limits: Limits) -> tuple[ReadPlan, Request]:
    """Return plan and request of GetFeaturesBatch; raises RequestError, UnknownNameError or LimitError."""
    call = _Call(registry)
    _select(call, message.feature_service, message.features, limits)
    staleness = _staleness(call, message)
    entities = _needed_entities(call, message.entities)
    fields = _needed_fields(call, message.context)
    # Of columns that are not needed too: how many rows there are does not depend on what a service happens to read.
    id_lengths = {k: _id_count(message.entities[k]) for k in registry.join_keys if k in message.entities}
    field_lengths = {k: length(message.context[k]) for k in registry.request if k in message.context}
    rows = _rows(call, id_lengths, field_lengths)
    ids: dict[str, Sequence[str]] = {}
    context: dict[str, Column] = {}
    # Over the limit it is the length that is wrong: the values may be a million, and are not looked at.
    if max((*id_lengths.values(), *field_lengths.values()), default=0) <= limits.rows:
        for entity in entities:
            ids[entity.join_key] = _ids(call, entity, message.entities[entity.join_key])
            _check_ids(call, entity, ids[entity.join_key], limits.id_bytes)
        for needed in fields:
            _keep(call, context, needed, from_column(message.context[needed.name], needed.type, rows))
    plan = call.right()
    varying = frozenset(name for name, n in (id_lengths | field_lengths).items() if n != 1)
    limits.check(plan, rows, varying, event_times=message.include_event_times)
    if rows == 0:  # nothing is asked for, so nothing is read: not what is broadcast either
        ids, context = dict.fromkeys(ids, ()), {name: column.take(_NONE) for name, column in context.items()}
    return plan, Request(rows, ids, context, staleness)


def _select(call: _Call, service: str, references: Sequence[str], limits: Limits) -> None:
    if bool(service) == bool(references):
        both = "both are set" if service else "neither is set"
        call.wrong("feature_service", f"exactly one of feature_service and features must be set, {both}")
        return
    limits.check_references(_named(call.registry, references))
    try:
        call.plan = call.registry.service_plan(service) if service else call.registry.plan(tuple(references))
    except RequestError as error:
        call.violations += error.violations


def _named(registry: Registry, references: Sequence[str]) -> int:
    """Return how many features the references name; a few whole views count as one each."""
    bare = [text for text in references if ":" not in text]
    count = len(references)
    if len(bare) > _BARE_VIEWS:
        views = (registry.features_of(reference) for reference in map(parse, bare) if reference is not None)
        count += sum(len(features) - 1 for features in views if features is not None)
    return count


def _staleness(call: _Call, message: pb.GetFeaturesRequest | pb.GetFeaturesBatchRequest) -> float | None:
    """Return how old copies may be, in seconds; None: the call does not say."""
    if not message.HasField("max_staleness"):
        return None
    staleness = message.max_staleness
    if staleness.seconds < 0 or staleness.nanos < 0:
        call.wrong("max_staleness", "must not be negative")
    return staleness.seconds + staleness.nanos / 1e9


def _needed_entities(call: _Call, given: Mapping[str, object]) -> Sequence[Entity]:
    """Return the entities whose ids are needed and given; unknown and missing ones are violations."""
    known = call.registry.join_keys
    _unknown(call, "entities", "join key", given, known)
    needed = call.plan.join_keys if call.plan else frozenset()
    return [known[k] for k in sorted(needed) if _is_given(call, "entities", "join key", k, given)]


def _needed_fields(call: _Call, given: Mapping[str, object]) -> Sequence[RequestField]:
    known = call.registry.request
    _unknown(call, "context", "context field", given, known)
    needed = call.plan.request_fields if call.plan else frozenset()
    return [known[k] for k in sorted(needed) if _is_given(call, "context", "context field", k, given)]


def _unknown(call: _Call, where: str, what: str, given: Mapping[str, object], known: Mapping[str, object]) -> None:
    unknown = set(given) - known.keys()
    if not unknown:
        return
    listed = ", ".join(sorted(known)) or "none"
    if len(unknown) > _LISTED_NAMES:
        call.wrong(where, f"has {len(unknown)} unknown names; there is {listed}")
        return
    for name in sorted(unknown):
        shown = name[: ids_of.SHOWN]
        call.wrong(f"{where}[{shown!r}]", f"there is no {what} {shown!r}; there is {listed}")


def _is_given(call: _Call, where: str, what: str, name: str, given: Mapping[str, object]) -> bool:
    if name in given:
        return True
    call.wrong(f"{where}[{name!r}]", f"{what} {name!r} is needed by the features asked for, and missing")
    return False


def _check_ids(call: _Call, entity: Entity, texts: Sequence[str], max_bytes: int) -> None:
    for index, problem in ids_of.problems(entity, texts, max_bytes):
        place = f"entities[{entity.join_key!r}]"
        call.wrong(place if len(texts) == 1 else f"{place}[{index}]", problem)


def _keep(call: _Call, context: dict[str, Column], needed: RequestField, found: Column | str) -> None:
    """Keep a column of request context, or say what is wrong with it."""
    if isinstance(found, str):
        call.wrong(f"context[{needed.name!r}]", found)
    else:
        context[needed.name] = found


def _id_count(column: pb.KeyColumn) -> int:
    """Return how many ids a column has; one without any kind of ids has 1, which fits all others."""
    kind = column.WhichOneof("ids")
    if kind is None:
        return 1
    return len(column.strings.values if kind == "strings" else column.int64s.values)


def _ids(call: _Call, entity: Entity, column: pb.KeyColumn) -> Sequence[str]:
    kind = column.WhichOneof("ids")
    if kind is None:
        call.wrong(f"entities[{entity.join_key!r}]", "has neither strings nor int64s set")
        return []
    return column.strings.values if kind == "strings" else list(map(str, column.int64s.values))


def _rows(call: _Call, ids: Mapping[str, int], fields: Mapping[str, int]) -> int:
    """Return the number of rows that column lengths agree on: the one that is not 1, else 1; 0 without any column."""
    other = {n for n in (*ids.values(), *fields.values()) if n != 1}
    if len(other) > 1:
        places = [(f"entities[{k!r}]", n) for k, n in ids.items()] + [(f"context[{k!r}]", n) for k, n in fields.items()]
        listed = ", ".join(f"{place} has {n}" for place, n in places if n != 1)
        for place, n in places:
            if n != 1:
                call.wrong(place, f"column lengths must be equal, or 1: {listed}")
        return max(other)
    return other.pop() if other else min(len(ids) + len(fields), 1)
