"""The floor: a server that does nothing but answer. A bare grpc.aio unary method on uvloop, which returns fixed bytes.

Started as `python read_floor_program.py NAME=FILE …`: method NAME of recsvc's service answers with the bytes of FILE.
It prints its address, and ends on SIGTERM. It imports nothing of recsvc: other releases of grpcio are measured with it.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import grpc
import uvloop

SERVICE = "recsvc.v1.ServingService"


def method(reply: bytes) -> grpc.RpcMethodHandler[bytes, bytes]:
    """Return a unary method that answers with ``reply``: no deserializer, no serializer."""

    async def answer(_request: bytes, _context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        return reply

    return grpc.unary_unary_rpc_method_handler(answer)


async def serve(replies: dict[str, bytes]) -> None:
    """Serve until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1)])
    methods = {name: method(reply) for name, reply in replies.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"the floor is on 127.0.0.1:{port}", flush=True)
    await stopping.wait()
    await server.stop(0)


if __name__ == "__main__":
    named = (argument.split("=", 1) for argument in sys.argv[1:])
    uvloop.run(serve({name: Path(file).read_bytes() for name, file in named}))
