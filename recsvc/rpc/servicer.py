"""ServingService: from message to plan to rows to message."""

from __future__ import annotations

import time
from collections.abc import Callable
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
    ) -> None:
        """Answer by what is current at the start of each call; ``overrides``: whether callers may choose variants."""
        self._current = current
        self._limits = limits
        self._recommender = recommender
        self._overrides = overrides
        self._requests = RequestReader(current().registry, limits)

    def __repr__(self) -> str:
        return f"ServingServicer({self._requests!r})"

    async def get_features(self, message: pb.GetFeaturesRequest, deadline: Deadline) -> bytes:
        """Answer GetFeatures with serialized bytes."""
        reader = self._current()
        prepared, request = self._requests_to(reader).row(message)
        reads = reader.reads(prepared.plan, request)
        found = reader.hit(reads, time.monotonic())
        if found is None:
            found = await reader.fetch(reads, deadline.came, deadline.at)
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
        found = reader.hit(reads, time.monotonic())
        if found is None:
            found = await reader.fetch(reads, deadline.came, deadline.at)
        if turns is None:
            return columns.encode(reader.answer(plan, request, reads, found), event_times=event_times)
        await turns.pause()
        answer = await reader.answer_in_turns(plan, request, reads, found, turns)
        return await columns.encode_in_turns(answer, turns, event_times=event_times)

    async def recommend(self, message: pb.RecommendRequest, deadline: Deadline) -> bytes:
        """Answer Recommend with serialized bytes."""
        reader = self._current()
        asked = recommend_request.recommend(message, reader.registry, self._limits, overrides=self._overrides)
        found = await self._recommender().recommend(asked, reader, deadline.came, deadline.at)
        return recommend_reply.reply(found, asked.explain)

    def _requests_to(self, reader: FeatureReader) -> RequestReader:
        """Return what reads requests to this reader's registry."""
        if self._requests.registry is not reader.registry:
            self._requests = RequestReader(reader.registry, self._limits)
        return self._requests

    def generic_handler(self, handlers: Handlers) -> grpc.GenericRpcHandler:
        """Return what a gRPC server registers."""
        methods = {
            "GetFeatures": handlers.unary(pb.GetFeaturesRequest, self.get_features),
            "GetFeaturesBatch": handlers.unary(pb.GetFeaturesBatchRequest, self.get_features_batch),
            "Recommend": handlers.unary(pb.RecommendRequest, self.recommend),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)
