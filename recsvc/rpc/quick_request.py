"""Requests to plans that were met before: what is the same for every call of a plan is worked out once.

Only a request in which all is as it should be is read here. Any other goes to convert_request, which reads it again and
finds everything that is wrong, or takes what is rare, such as request context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Final

from recsvc.online.answer import Request
from recsvc.online.features import ViewKey
from recsvc.pb import serving_pb2 as pb
from recsvc.registry.ids import are_ids, problem
from recsvc.registry.model import Entity
from recsvc.registry.plan import ReadPlan
from recsvc.registry.registry import PLANS_KEPT, Registry
from recsvc.rpc import convert_request
from recsvc.rpc.limits import Limits
from recsvc.rpc.quick_columns import ColumnsEncoder
from recsvc.rpc.quick_row import RowEncoder
from recsvc.telemetry.rows import ServedRows

_SHAPES_KEPT: Final = 256
"""Of one plan: whether with event times, how many rows, how many ids of each key. By these is remembered what fits."""
_Selection = str | tuple[str, ...]
"""A feature service, or references."""


class PreparedPlan:
    """A plan with what its calls need: entities by join key, encoders of answers, shapes of calls that are allowed."""

    def __init__(self, plan: ReadPlan, registry: Registry, served: Mapping[ViewKey, ServedRows]) -> None:
        """Prepare ``plan``; ``served`` counts the rows of views."""
        self.plan = plan
        self._served = [served[read.view.name, read.view.version] for read in plan.reads]
        self.entities: Sequence[tuple[str, Entity]] = [(k, registry.join_keys[k]) for k in sorted(plan.join_keys)]
        self.takes_context = bool(plan.request_fields)
        self._fingerprint = registry.fingerprint
        self._allowed: set[tuple[int, ...]] = set()

    def __repr__(self) -> str:
        return f"PreparedPlan({len(self.plan.outputs)} features, {len(self._allowed)} shapes)"

    @cached_property
    def row(self) -> RowEncoder:
        """Makes answers of one row."""
        return RowEncoder(self.plan, self._fingerprint, self._served)

    @cached_property
    def columns(self) -> ColumnsEncoder:
        """Makes answers in columns."""
        return ColumnsEncoder(self.plan, self._fingerprint)

    def allow(self, shape: tuple[int, ...]) -> None:
        """Remember that calls of this shape are within the limits."""
        if len(self._allowed) >= _SHAPES_KEPT:
            self._allowed.clear()
        self._allowed.add(shape)

    def allows(self, shape: tuple[int, ...]) -> bool:
        """Say whether calls of this shape are known to be within the limits."""
        return shape in self._allowed


class RequestReader:
    """Reads requests to one registry; remembers as many plans as the registry does."""

    def __init__(self, registry: Registry, limits: Limits, served: Mapping[ViewKey, ServedRows]) -> None:
        self.registry = registry
        self._served = served
        self._limits = limits
        self._known: dict[_Selection, PreparedPlan] = {}

    def __repr__(self) -> str:
        return f"RequestReader({self.registry!r}, {len(self._known)} plans)"

    def row(self, message: pb.GetFeaturesRequest) -> tuple[PreparedPlan, Request]:
        """Return plan and request of GetFeatures; raises RequestError, UnknownNameError or LimitError."""
        selection = _selection(message)
        known = self._known.get(selection)
        if known is not None:
            request = self._row(known, message)
            if request is not None:
                return known, request
        plan, request = convert_request.single(message, self.registry, self._limits)
        known = self._prepared(selection, plan)
        known.allow((message.include_event_times,))
        return known, request

    def batch(self, message: pb.GetFeaturesBatchRequest) -> tuple[PreparedPlan, Request]:
        """Return plan and request of GetFeaturesBatch; raises RequestError, UnknownNameError or LimitError."""
        selection = _selection(message)
        known = self._known.get(selection)
        if known is not None:
            request = self._batch(known, message)
            if request is not None:
                return known, request
        plan, request = convert_request.batch(message, self.registry, self._limits)
        known = self._prepared(selection, plan)
        if request.rows and _has_only(known, message):
            lengths = [len(request.ids[k]) for k, _ in known.entities]
            known.allow((message.include_event_times, request.rows, *lengths))
        return known, request

    def _prepared(self, selection: _Selection, plan: ReadPlan) -> PreparedPlan:
        known = self._known.get(selection)
        if known is None or known.plan is not plan:
            if len(self._known) >= PLANS_KEPT:
                del self._known[next(iter(self._known))]
            known = self._known[selection] = PreparedPlan(plan, self.registry, self._served)
        return known

    def _row(self, known: PreparedPlan, message: pb.GetFeaturesRequest) -> Request | None:
        """Return the request, or None where it is to be read the long way."""
        if not _has_only(known, message) or not known.allows((message.include_event_times,)):
            return None
        ids: dict[str, Sequence[str]] = {}
        given = message.entities
        for key, entity in known.entities:
            text = given.get(key)
            if text is None or problem(entity, text, self._limits.id_bytes) is not None:
                return None
            ids[key] = (text,)
        return _request(message, 1, ids)

    def _batch(self, known: PreparedPlan, message: pb.GetFeaturesBatchRequest) -> Request | None:
        """Return the request, or None where it is to be read the long way."""
        if not _has_only(known, message):
            return None
        columns = [message.entities[k] for k, _ in known.entities if k in message.entities]
        lengths = [len(column.strings.values) or len(column.int64s.values) for column in columns]
        rows = max(lengths, default=0)
        if len(columns) != len(known.entities) or not known.allows((message.include_event_times, rows, *lengths)):
            return None
        ids: dict[str, Sequence[str]] = {}
        for (key, entity), column in zip(known.entities, columns, strict=True):
            texts = list(column.strings.values)
            if texts and not are_ids(entity, texts, self._limits.id_bytes):
                return None
            ids[key] = texts or list(map(str, column.int64s.values))
        return _request(message, rows, ids)


def _selection(message: pb.GetFeaturesRequest | pb.GetFeaturesBatchRequest) -> _Selection:
    return message.feature_service or tuple(message.features)


def _has_only(known: PreparedPlan, message: pb.GetFeaturesRequest | pb.GetFeaturesBatchRequest) -> bool:
    """Say whether a call gives as many join keys as are needed and nothing else."""
    return not (
        known.takes_context
        or message.context
        or len(message.entities) != len(known.entities)
        or (message.feature_service and message.features)
    )


def _request(
    message: pb.GetFeaturesRequest | pb.GetFeaturesBatchRequest, rows: int, ids: dict[str, Sequence[str]]
) -> Request | None:
    if not message.HasField("max_staleness"):
        return Request(rows, ids, {})
    staleness = message.max_staleness
    if staleness.seconds < 0 or staleness.nanos < 0:
        return None
    return Request(rows, ids, {}, staleness.seconds + staleness.nanos / 1e9)
