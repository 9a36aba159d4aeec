"""ServingService: from message to plan to rows to message."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import grpc

from recsvc.deadline import Deadline
from recsvc.online.features import FeatureReader
from recsvc.online.in_turns import LARGE_CELLS, PATIENCE_S, Turns
from recsvc.pb import serving_pb2 as pb
from recsvc.recommend.pipeline import Recommender
from recsvc.rpc import convert_reply, recommend_reply, recommend_request
from recsvc.rpc.handler import Handlers
from recsvc.rpc.limits import Limits
from recsvc.rpc.quick_request import RequestReader
from recsvc.telemetry import hop, names

SERVICE: Final = "recsvc.v1.ServingService"


class ServingServicer:
    """Answers calls with the reader that ``current`` gives at their start.

    A reload swaps it between calls, never within one.
    """

    def __init__(
        self,
        current: Callable[[], FeatureReader],
        limits: Limits,
        recommender: Callable[[], Recommender],
        *,
        overrides: bool = False,
        hash_id: Callable[[str], str] | None = None,
    ) -> None:
        """Answer by what is current at the start of each call.

        ``overrides``: whether callers may choose variants. ``hash_id`` makes of ids what may stand in spans; None:
        nothing of them does.
        """
        self._hash_id = hash_id
        self._current = current
        self._limits = limits
        self._recommender = recommender
        self._overrides = overrides
        self._requests = self._requests_of(current())

    def __repr__(self) -> str:
        return f"ServingServicer({self._requests!r})"

    async def get_features(self, message: pb.GetFeaturesRequest, deadline: Deadline) -> bytes:
        """Answer GetFeatures with serialized bytes."""
        reader = self._current()
        prepared, request = self._requests_to(reader).row(message)
        reads = reader.reads(prepared.plan, request)
        hop.lap(names.PLAN)
        found = reader.hit(reads, time.monotonic())
        self._describe(message, reader, 1, len(prepared.plan.outputs))
        if found is None:
            found = await reader.fetch(reads, deadline.came, deadline.at)
        else:
            hop.lap(names.LOOKUP)
        if not message.include_event_times:
            reply = prepared.row.encode(found, reader.now_micros())
            if reply is not None:
                return reply
        answer = reader.answer(prepared.plan, request, reads, found)
        return convert_reply.single(answer, reader.registry.fingerprint, event_times=message.include_event_times)

    async def get_features_batch(self, message: pb.GetFeaturesBatchRequest, deadline: Deadline) -> bytes:
        """Answer GetFeaturesBatch with serialized bytes."""
        reader = self._current()
        prepared, request = self._requests_to(reader).batch(message)
        plan, columns, event_times = prepared.plan, prepared.columns, message.include_event_times
        large = request.rows * len(plan.outputs) > LARGE_CELLS
        turns = Turns(time.monotonic) if large else None
        reads = reader.reads(plan, request, younger_s=PATIENCE_S if large else 0.0)
        if turns is not None:
            await turns.pause()
        hop.lap(names.PLAN)
        found = reader.hit(reads, time.monotonic())
        self._describe(message, reader, request.rows, len(plan.outputs))
        if found is None:
            found = await reader.fetch(reads, deadline.came, deadline.at)
        else:
            hop.lap(names.LOOKUP)
        if turns is None:
            return columns.encode(reader.answer(plan, request, reads, found), event_times=event_times)
        await turns.pause()
        answer = await reader.answer_in_turns(plan, request, reads, found, turns)
        return await columns.encode_in_turns(answer, turns, event_times=event_times)

    async def recommend(self, message: pb.RecommendRequest, deadline: Deadline) -> bytes:
        """Answer Recommend with serialized bytes."""
        reader, recommender = self._current(), self._recommender()  # of one registry: a check may take long
        check = partial(recommend_request.recommend, message, reader.registry, self._limits, overrides=self._overrides)
        asked = await asyncio.to_thread(check) if recommend_request.is_large(message) else check()
        hop.lap(names.PLAN)
        user = asked.placement.user
        if (span := hop.sampled()) is not None and user is not None and asked.user is not None:
            self._tell_id(span, user.join_key, asked.user)
        found = await recommender.recommend(asked, reader, deadline.came, deadline.at)
        reply = recommend_reply.reply(found, asked.explain)
        recommender.shown(asked, found)
        return reply

    def _requests_to(self, reader: FeatureReader) -> RequestReader:
        """Return what reads requests to this reader's registry."""
        if self._requests.registry is not reader.registry:
            self._requests = self._requests_of(reader)
        return self._requests

    def _requests_of(self, reader: FeatureReader) -> RequestReader:
        return RequestReader(reader.registry, self._limits, reader.served)

    def _describe(
        self,
        message: pb.GetFeaturesRequest | pb.GetFeaturesBatchRequest,
        reader: FeatureReader,
        rows: int,
        features: int,
    ) -> None:
        """Say in the span of a call what it asks for."""
        span = hop.sampled()
        if span is None:
            return
        span.attributes[names.ROWS] = rows
        span.attributes[names.FEATURES_COUNT] = features
        span.attributes[names.FINGERPRINT] = reader.registry.fingerprint
        if message.feature_service:
            span.attributes[names.SERVICE] = message.feature_service
        for key, id_ in _ids(message):
            self._tell_id(span, key, id_)

    def _tell_id(self, span: hop.Hop, join_key: str, id_: str) -> None:
        """Say of whom a call is, if that may be said."""
        if self._hash_id is not None:
            span.attributes[names.ENTITY.replace("*", join_key)] = self._hash_id(id_)

    def generic_handler(self, handlers: Handlers) -> grpc.GenericRpcHandler:
        """Return what a gRPC server registers."""
        methods = {
            "GetFeatures": handlers.unary(f"{SERVICE}/GetFeatures", pb.GetFeaturesRequest, self.get_features),
            "GetFeaturesBatch": handlers.unary(
                f"{SERVICE}/GetFeaturesBatch", pb.GetFeaturesBatchRequest, self.get_features_batch
            ),
            "Recommend": handlers.unary(f"{SERVICE}/Recommend", pb.RecommendRequest, self.recommend),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)


def _ids(message: pb.GetFeaturesRequest | pb.GetFeaturesBatchRequest) -> Iterator[tuple[str, str]]:
    """Yield the ids that a request has one of, by join key."""
    if isinstance(message, pb.GetFeaturesRequest):
        yield from message.entities.items()
        return
    for key, column in message.entities.items():
        ids = column.strings.values or column.int64s.values
        if len(ids) == 1:
            yield key, str(ids[0])
