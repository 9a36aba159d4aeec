"""The gRPC server: options, health, reflection, and the order in which it stops."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from recsvc.errors import StartupError
from recsvc.pb.packed import require_upb
from recsvc.rpc.handler import Calls, Phase
from recsvc.rpc.listening import ensure_free
from recsvc.rpc.servicer import SERVICE

REDIS_HEALTH: Final = "recsvc.redis"
"""Health service name of the online store. The server's own health does not depend on it: it answers without, too."""
_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_UNKNOWN: Final = health_pb2.HealthCheckResponse.UNKNOWN
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
_GRACE_S: Final = 5.0
"""For calls that hang; a read of the store may not take nearly as long."""
_STREAM_GRACE_S: Final = 0.5
"""For what is open once no call is: health watchers, which never end by themselves, and replies not yet sent."""
_QUIET_S: Final = 0.2
"""When nobody has called for so long, nothing is on its way any more."""
_HOLD_S: Final = 2.0
"""For clients that never fall quiet."""
_GOAWAY_S: Final = 0.1
"""Enough for a GOAWAY to be sent to the clients."""


def _options(max_request_bytes: int) -> list[tuple[str, Any]]:
    return [
        ("grpc.so_reuseport", 0),  # one process: a second one on the same port must fail, not share it unseen
        ("grpc.max_receive_message_length", max_request_bytes),
        ("grpc.max_send_message_length", -1),  # answers are limited by what a call may ask for
        # Clients may ping every 10 s, also between calls; by default gRPC cuts off who pings more than every 5 min.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


class RpcServer:
    """Serves ``handler`` on ``listen`` until ``stop``. ``address`` is where, once it has started."""

    def __init__(
        self,
        handler: grpc.GenericRpcHandler,
        unknown: grpc.GenericRpcHandler,
        calls: Calls,
        *,
        listen: str,
        max_request_bytes: int,
    ) -> None:
        """Serve the methods of ``handler``; whatever has none gets its answer from ``unknown``."""
        self._calls = calls
        self._listen = listen
        self._server = grpc.aio.server(options=_options(max_request_bytes))
        self._health = HealthServicer()
        self._server.add_generic_rpc_handlers((handler,))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self._server.add_generic_rpc_handlers((unknown,))  # the last that is asked
        self.address = ""

    def __repr__(self) -> str:
        return f"RpcServer({self.address or self._listen}, {self._calls!r})"

    async def start(self) -> None:
        """Open the port and serve; raises StartupError where that cannot be."""
        require_upb()
        await ensure_free(self._listen)
        try:
            bound = self._server.add_insecure_port(self._listen)
        except RuntimeError:
            raise StartupError(f"cannot listen on {self._listen}: the port is taken") from None
        self.address = f"{self._listen.rpartition(':')[0]}:{bound}"
        for name in ("", SERVICE):
            await self._health.set(name, _SERVING)
        await self._health.set(REDIS_HEALTH, _UNKNOWN)  # until somebody has looked
        await self._server.start()

    async def set_store_health(self, *, up: bool) -> None:
        """Say under the store's health service name whether it answers."""
        await self._health.set(REDIS_HEALTH, _SERVING if up else _NOT_SERVING)

    async def stop(self, *, lame_duck_s: float, refuse_s: float) -> None:
        """Stop so that no call is cut off.

        Health says NOT_SERVING; calls are served on for ``lame_duck_s``, while load balancers look away and what the
        core has queued is answered; then new ones get UNAVAILABLE for ``refuse_s``. gRPC cancels whatever arrives while
        it shuts down (of 200 clients that try again at once, 196 calls), so the last refusals are held until nobody
        calls any more and the connections have been told to close.
        """
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(lame_duck_s)
        self._calls.phase = Phase.REFUSING
        await asyncio.sleep(refuse_s)
        self._calls.phase = Phase.HOLDING
        await self._calls.quiet(_QUIET_S, at_most_s=_HOLD_S)
        stopping = asyncio.create_task(self._server.stop(_GRACE_S))
        await asyncio.sleep(_GOAWAY_S)
        self._calls.released.set()
        await self._calls.idle()
        await self._server.stop(_STREAM_GRACE_S)
        await stopping
