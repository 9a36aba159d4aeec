"""A grpc server that answers with given bytes: for what the client sends, reads and raises."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc import aio

from recsvc.client.channel import GET_FEATURES, GET_FEATURES_BATCH, RECOMMEND, SERVICE
from recsvc.pb import serving_pb2


@dataclass
class CannedServer:
    """Answers each call with the next of ``replies`` (bytes, or a status to abort with), the last one for ever."""

    replies: list[bytes | grpc.StatusCode] = field(default_factory=list)
    trailers: tuple[tuple[str, bytes], ...] = ()
    """Sent along with each status."""
    requests: list[Any] = field(default_factory=list)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    remaining: list[float] = field(default_factory=list)
    """Seconds until the deadline of each call."""
    address: str = ""

    async def answer(self, request: Any, context: Any) -> bytes:  # noqa: ANN401  # any method's
        """Keep what came, and send what is next."""
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.remaining.append(context.time_remaining())
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, grpc.StatusCode):
            await context.abort(reply, "as told", self.trailers)
        assert isinstance(reply, bytes)
        return reply

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return all methods; requests are parsed with the public classes, as the real server does."""
        parsers: dict[str, Callable[[bytes], Any]] = {
            GET_FEATURES: serving_pb2.GetFeaturesRequest.FromString,
            GET_FEATURES_BATCH: serving_pb2.GetFeaturesBatchRequest.FromString,
            RECOMMEND: serving_pb2.RecommendRequest.FromString,
        }
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            path.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(self.answer, parse)
            for path, parse in parsers.items()
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)


@asynccontextmanager
async def running(
    canned: CannedServer, port: int = 0, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[CannedServer]:
    """Serve ``canned`` on a free port of 127.0.0.1 (or the given one), in the clear or with TLS; stop at the end."""
    server = aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((canned.handlers(),))
    wanted = f"127.0.0.1:{port}"
    bound = server.add_secure_port(wanted, credentials) if credentials else server.add_insecure_port(wanted)
    canned.address = f"127.0.0.1:{bound}"
    await server.start()
    try:
        yield canned
    finally:
        await server.stop(None)
