"""A slate without recsvc, as one would write it: FT.SEARCH for the nearest, HGETALL for their features, numpy to rank.

Started as `python recommend_naive_program.py REDIS_URL EF_RUNTIME WEIGHT …`. A request is a user's id as text, the
reply JSON. One process with asyncio, on uvloop, with hiredis; it imports nothing of recsvc. Where there was a choice
between what is usual and what is fast, it is fast: no objects around results, no decoding of texts, no answer but keys
from the search, all rows in one pipeline without MULTI.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any

import grpc
import numpy as np
import uvloop
from redis.asyncio import Redis

SERVICE = "naive.Slates"
METHOD = "Recommend"
CANDIDATES = 500
NEAREST = 530
"""So many that 500 are left when those are out that are not available."""
LIMIT = 10
WIDTH = 20
FIELDS = [f"f{number:02}".encode() for number in range(WIDTH)]


def search(ef: str, vector: bytes) -> list[Any]:
    """Return the command that finds the nearest items' keys, nearest first."""
    query = f"*=>[KNN {NEAREST} @embedding $vector EF_RUNTIME {ef} AS distance]"
    limits = ["SORTBY", "distance", "NOCONTENT", "LIMIT", 0, NEAREST]
    return ["FT.SEARCH", "items", query, "PARAMS", 2, "vector", vector, *limits, "DIALECT", 2]


async def slate(redis: Redis, ef: str, weights: np.ndarray[Any, Any], user: bytes) -> bytes:
    """Make a slate."""
    vector = await redis.execute_command("HGET", b"user:" + user, "embedding")
    found = await redis.execute_command(*search(ef, vector))
    names = [key.partition(b":")[2] for key in found[1:]]
    pipeline = redis.pipeline(transaction=False)
    for name in names:
        pipeline.hgetall(b"item:" + name)
    rows = await pipeline.execute()
    there = [(n, row) for n, row in zip(names, rows, strict=True) if row and row[b"available"] == b"1"][:CANDIDATES]
    matrix = np.array([[float(row[field]) for field in FIELDS] for _, row in there])
    scores = matrix @ weights
    best = np.argsort(-scores)[:LIMIT].tolist()
    items = [{"id": there[place][0].decode(), "score": float(scores[place])} for place in best]
    return json.dumps({"ranked": len(there), "items": items}).encode()


async def serve(url: str, ef: str, weights: list[float]) -> None:
    """Serve until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    redis, factors = Redis.from_url(url, protocol=2), np.array(weights)

    async def answer(request: bytes, _context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        return await slate(redis, ef, factors, request)

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {METHOD: grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"slates are on 127.0.0.1:{port}", flush=True)
    await stopping.wait()
    await server.stop(0)
    await redis.aclose()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2], [float(weight) for weight in sys.argv[3:]]))
