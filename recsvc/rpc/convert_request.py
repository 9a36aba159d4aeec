"""Messages to requests: everything that is wrong with a call is found here, and all of it is said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration

from recsvc.errors import RequestError, UnknownNameError, Violation
from recsvc.online import ids as ids_of
from recsvc.online.answer import Column, Request
from recsvc.pb import serving_pb2 as pb
from recsvc.registry.model import Entity, RequestField
from recsvc.registry.plan import ReadPlan
from recsvc.registry.registry import Registry
from recsvc.rpc.convert_context import from_column, from_value
from recsvc.rpc.limits import Limits

_T = TypeVar("_T")


@dataclass(slots=True)
class _Call:
    """What has been found out about a call."""

    registry: Registry
    violations: list[Violation] = field(default_factory=list)
    plan: ReadPlan | None = None

    def wrong(self, where: str, description: str) -> None:
        self.violations.append(Violation(where, description))

    def finish(self, rows: int, ids: Mapping[str, Sequence[str]], context: Mapping[str, Column]) -> tuple[ReadPlan, Request]:
        if self.violations or self.plan is None:
            unknown = all(v.unknown for v in self.violations)
            raise (UnknownNameError if unknown else RequestError)(self.violations)
        return self.plan, Request(rows, ids, context)


def single(message: pb.GetFeaturesRequest, registry: Registry, limits: Limits) -> tuple[ReadPlan, Request]:
    """Return plan and request of GetFeatures; raises RequestError, UnknownNameError or LimitError."""
    call = _Call(registry)
    _select(call, message.feature_service, message.features, limits)
    _staleness(call, message.max_staleness)
    ids: dict[str, Sequence[str]] = {}
    for entity in _needed_entities(call, message.entities):
        text = message.entities[entity.join_key]
        ids[entity.join_key] = [text]
        _check_ids(call, entity, [text])
    context = {}
    for needed in _needed_fields(call, message.context):
        value = from_value(message.context[needed.name], needed.type)
        if isinstance(value, str):
            call.wrong(f"context[{needed.name!r}]", value)
        else:
            context[needed.name] = value
    plan, request = call.finish(1, ids, context)
    limits.check(plan, request)
    return plan, request


def batch(message: pb.GetFeaturesBatchRequest, registry: Registry, limits: Limits) -> tuple[ReadPlan, Request]:
    """Return plan and request of GetFeaturesBatch; raises RequestError, UnknownNameError or LimitError."""
    call = _Call(registry)
    _select(call, message.feature_service, message.features, limits)
    _staleness(call, message.max_staleness)
    columns = {name: _id_column(call, name, column) for name, column in message.entities.items()}
    needed_entities = list(_needed_entities(call, message.entities))
    context = {}
    for needed in _needed_fields(call, message.context):
        column = from_column(message.context[needed.name], needed.type)
        if isinstance(column, str):
            call.wrong(f"context[{needed.name!r}]", column)
        else:
            context[needed.name] = column
    known = {f"entities[{k!r}]": len(v) for k, v in columns.items() if k in registry.join_keys}
    rows = _rows(call, known | {f"context[{k!r}]": len(v) for k, v in context.items()})
    if rows <= limits.rows and max(known.values(), default=0) <= limits.rows:
        for entity in needed_entities:
            _check_ids(call, entity, columns[entity.join_key])
    plan, request = call.finish(rows, {e.join_key: columns[e.join_key] for e in needed_entities}, context)
    limits.check(plan, request)
    return plan, request


def _select(call: _Call, service: str, references: Sequence[str], limits: Limits) -> None:
    if bool(service) == bool(references):
        both = "both are set" if service else "neither is set"
        call.wrong("feature_service", f"exactly one of feature_service and features must be set, {both}")
        return
    limits.check_references(len(references))
    try:
        call.plan = call.registry.service_plan(service) if service else call.registry.plan(tuple(references))
    except RequestError as error:
        call.violations += error.violations


def _staleness(call: _Call, staleness: Duration) -> None:
    if staleness.seconds < 0 or staleness.nanos < 0:
        call.wrong("max_staleness", "must not be negative")


def _needed_entities(call: _Call, given: Mapping[str, object]) -> Iterable[Entity]:
    """Yield the entities whose ids are needed and given; unknown and missing ones are violations."""
    known = call.registry.join_keys
    _unknown(call, "entities", "join key", given, known)
    needed = call.plan.join_keys if call.plan else frozenset()
    return [known[k] for k in sorted(needed) if _is_given(call, "entities", "join key", k, given)]


def _needed_fields(call: _Call, given: Mapping[str, object]) -> Iterable[RequestField]:
    known = call.registry.request
    _unknown(call, "context", "context field", given, known)
    needed = call.plan.request_fields if call.plan else frozenset()
    return [known[k] for k in sorted(needed) if _is_given(call, "context", "context field", k, given)]


def _unknown(call: _Call, where: str, what: str, given: Iterable[str], known: Mapping[str, object]) -> None:
    for name in sorted(set(given) - known.keys()):
        shown = name[: ids_of.SHOWN]
        call.wrong(f"{where}[{shown!r}]", f"there is no {what} {shown!r}; there is {', '.join(sorted(known)) or 'none'}")


def _is_given(call: _Call, where: str, what: str, name: str, given: Mapping[str, object]) -> bool:
    if name in given:
        return True
    call.wrong(f"{where}[{name!r}]", f"{what} {name!r} is needed by the features asked for, and missing")
    return False


def _check_ids(call: _Call, entity: Entity, texts: Sequence[str]) -> None:
    for index, problem in ids_of.problems(entity, texts):
        place = f"entities[{entity.join_key!r}]"
        call.wrong(place if len(texts) == 1 else f"{place}[{index}]", problem)


def _id_column(call: _Call, name: str, column: pb.KeyColumn) -> Sequence[str]:
    kind = column.WhichOneof("ids")
    if kind == "strings":
        return column.strings.values
    if kind == "int64s":
        return list(map(str, column.int64s.values))
    call.wrong(f"entities[{name[: ids_of.SHOWN]!r}]", "has neither strings nor int64s set")
    return []


def _rows(call: _Call, lengths: Mapping[str, int]) -> int:
    """Return the number of rows that column lengths agree on: the one that is not 1, else 1 (0 where there are no columns)."""
    other = {n for n in lengths.values() if n != 1}
    if len(other) > 1:
        listed = ", ".join(f"{name} has {n}" for name, n in lengths.items() if n != 1)
        for name, n in lengths.items():
            if n != 1:
                call.wrong(name, f"column lengths must be equal, or 1: {listed}")
        return max(other)
    return other.pop() if other else min(len(lengths), 1)
