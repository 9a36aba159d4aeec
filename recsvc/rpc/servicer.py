"""ServingService: from message to plan to answer to message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import grpc

from recsvc.deadline import Deadline
from recsvc.online.features import FeatureReader
from recsvc.pb import serving_pb2 as pb
from recsvc.rpc import convert_reply, convert_request
from recsvc.rpc.handler import Handlers
from recsvc.rpc.limits import Limits

SERVICE: Final = "recsvc.v1.ServingService"


@dataclass(frozen=True, slots=True)
class ServingServicer:
    """Answers calls with the reader that ``current`` gives at their start.

    A reload swaps it between calls, never within one.
    """

    current: Callable[[], FeatureReader]
    limits: Limits
    store_timeout_s: float = 0.0

    async def get_features(self, message: pb.GetFeaturesRequest, deadline: Deadline) -> bytes:
        """Answer GetFeatures with serialized bytes."""
        reader = self.current()
        plan, request = convert_request.single(message, reader.registry, self.limits)
        answer = await reader.read(plan, request, deadline.came, deadline.at)
        return convert_reply.single(answer, reader.registry.fingerprint, event_times=message.include_event_times)

    async def get_features_batch(self, message: pb.GetFeaturesBatchRequest, deadline: Deadline) -> bytes:
        """Answer GetFeaturesBatch with serialized bytes."""
        reader = self.current()
        plan, request = convert_request.batch(message, reader.registry, self.limits)
        answer = await reader.read(plan, request, deadline.came, deadline.at)
        return convert_reply.batch(answer, reader.registry.fingerprint, event_times=message.include_event_times)

    def generic_handler(self, handlers: Handlers) -> grpc.GenericRpcHandler:
        """Return what a gRPC server registers."""
        methods = {
            "GetFeatures": handlers.unary(pb.GetFeaturesRequest, self.get_features),
            "GetFeaturesBatch": handlers.unary(pb.GetFeaturesBatchRequest, self.get_features_batch),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)
