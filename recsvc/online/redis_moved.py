"""Follows keys whose slot has moved, or is moving, to the node that has them.

A node answers MOVED for a slot that it gave away, ASK for keys of a slot that it is giving away and that have left,
TRYAGAIN where some keys of a command have left and some have not: then each is asked for alone. ASKING must stand right
before the command, on the same connection (redis-py 8.1 does not see to that).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import ResponseError

from recsvc.online.answer import Row
from recsvc.online.redis_pool import FAILURES
from recsvc.online.redis_wire import mgets

ASKING: Final = b"*1\r\n$6\r\nASKING\r\n"
MOST_HOPS: Final = 4
"""How often keys are followed: away, and back one by one, to the node where each is, and once more."""

Ask = Callable[[str, bytes, int, float], Awaitable[list[Any]]]
"""Sends so many commands to the node of that name until then, and returns the replies."""
OnMoved = Callable[[int, str], None]
"""Is told of a slot that another node has now."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One more command for keys of one slot."""

    node: str
    keys: Sequence[int]
    asking: bool

    def packed(self, keys: Sequence[bytes]) -> bytes:
        """Return it as bytes; of ``keys`` it names its own."""
        return ASKING * self.asking + mgets([keys[i] for i in self.keys], [len(self.keys)])


def has_moved(reply: object) -> bool:
    """Whether a reply says that keys are to be followed."""
    return isinstance(reply, ResponseError) and str(reply).startswith(("MOVED ", "ASK ", "TRYAGAIN "))


class Follower:
    """Follows keys that a node, ``origin``, does not have or no longer has."""

    def __init__(self, origin: str, ask: Ask, on_moved: OnMoved) -> None:
        self._origin = origin
        self._ask = ask
        self._on_moved = on_moved

    def __repr__(self) -> str:
        return f"Follower({self._origin})"

    async def follow(
        self, keys: Sequence[bytes], moved: Sequence[tuple[Sequence[int], Any]], rows: list[Row], until: float
    ) -> BaseException | None:
        """Fill the ``rows`` of those that ``moved``, (indices, what the node said); return an error that remains."""
        hops = [hop for indices, reply in moved for hop in self._next(self._origin, indices, reply)]
        failure: BaseException | None = None
        for _ in range(MOST_HOPS):
            by_node: dict[str, list[Hop]] = defaultdict(list)
            for hop in hops:
                by_node[hop.node].append(hop)
            hops = []
            for made, replies in await asyncio.gather(*(self._send(n, h, keys, until) for n, h in by_node.items())):
                for hop, reply in zip(made, replies, strict=True):
                    if has_moved(reply):
                        hops += self._next(hop.node, hop.keys, reply)
                    elif isinstance(reply, list) and len(reply) == len(hop.keys):
                        for index, row in zip(hop.keys, reply, strict=True):
                            rows[index] = row
                    else:
                        failure = reply if isinstance(reply, Exception) else ConnectionError("no reply to MGET")
            if not hops:
                return failure
        return ResponseError("MOVED too often")

    async def _send(
        self, node: str, hops: Sequence[Hop], keys: Sequence[bytes], until: float
    ) -> tuple[Sequence[Hop], list[Any]]:
        """Send a node its commands in one write; return their replies, or what went wrong for each."""
        count = sum(1 + hop.asking for hop in hops)
        try:
            replies = iter(await self._ask(node, b"".join([hop.packed(keys) for hop in hops]), count, until))
        except FAILURES as error:
            return hops, [error] * len(hops)
        found = []
        for hop in hops:
            if hop.asking:
                next(replies)
            found.append(next(replies))
        return hops, found

    def _next(self, said_by: str, indices: Sequence[int], reply: object) -> list[Hop]:
        kind, *words = str(reply).split(" ")
        if kind == "TRYAGAIN":
            return [Hop(self._origin, [index], asking=False) for index in indices]
        slot, address = words[0], words[1]
        host, _, port = address.rpartition(":")
        node = f"{host or said_by.rpartition(':')[0]}:{port}"
        if kind == "MOVED":
            self._on_moved(int(slot), node)
        return [Hop(node, indices, asking=kind == "ASK")]
