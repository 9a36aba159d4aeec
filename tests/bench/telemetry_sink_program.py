"""A collector that takes everything and keeps nothing: what a server sends costs as much as to a real one.

Usage: python telemetry_sink_program.py. Prints where it listens; ends with its standard input.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc

SERVICES: Final = {
    "opentelemetry.proto.collector.trace.v1.TraceService": "Export",
    "opentelemetry.proto.collector.metrics.v1.MetricsService": "Export",
}


def main() -> None:
    """Serve until the standard input ends."""
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
        lambda _, __: b""
    )  # bytes in, an empty message out
    for service, method in SERVICES.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"on 127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    server.stop(None)


if __name__ == "__main__":
    main()
