"""Asks servers for slates of all kinds, page after page at one and then the other, and has each judged."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Final

import grpc
import numpy as np

from recsvc.pb import serving_pb2 as pb
from tests.fault.slates_definitions import CHEAP
from tests.fault.slates_judge import Answer, Ask, Counts, Judge
from tests.fault.slates_world import CATEGORIES, TAGS, Bools, World, item_id
from tests.rpc.calling import Caller
from tests.rpc.shop import METHOD, all_of, any_of, between, end, is_present, is_true, none_of

LIMITS: Final = (1, 5, 10, 30, 100, 200, 500, 500)
IN_FLIGHT: Final = 6
DEADLINE_S: Final = 4.0
MOST_PAGES: Final = 8
PAGED: Final = 1 / 3
"""Of those who ask, who reads on."""
_PLACEMENTS: Final = ("home", "home", "varied", "pinned", "cheap", "open")


class Load:
    """Makes calls at ``callers``, one server after the other."""

    def __init__(self, world: World, judge: Judge, callers: Sequence[Caller], seed: int = 1) -> None:
        self._world = world
        self._judge = judge
        self._callers = callers
        self._random = random.Random(seed)
        self._turn = 0
        self._filters = _filters(world)

    def __repr__(self) -> str:
        return f"Load({self._turn} calls at {len(self._callers)} servers)"

    async def until(self, done: Callable[[Counts], bool], paged: float = PAGED) -> Counts:
        """Call until ``done`` with what came of it, and return that; ``paged``: who reads on after the first page."""
        counts = Counts()

        async def in_turn() -> None:
            while not done(counts):
                await self._session(counts, paged)

        await asyncio.gather(*(in_turn() for _ in range(IN_FLIGHT)))
        return counts

    async def _session(self, counts: Counts, paged: float) -> None:
        """Ask for a slate, and maybe for those that follow."""
        ask = self._ask()
        pages = MOST_PAGES if self._random.random() < paged else 1
        before: list[int] = []
        token = ""
        for _ in range(pages):
            reply = await self._call(ask, token, before, counts)
            if reply is None or not reply.next_page_token:
                return
            token = reply.next_page_token

    async def _call(self, ask: Ask, token: str, before: list[int], counts: Counts) -> pb.RecommendResponse | None:
        self._turn += 1
        caller = self._callers[self._turn % len(self._callers)]
        request = _request(ask, token).SerializeToString()
        counts.calls += 1
        sent = time.monotonic()
        try:
            answer = await caller.raw(METHOD, request, DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            counts.errors[f"{error.code().name} {error.details()}"] += 1
            return None
        counts.took.append(time.monotonic() - sent)
        reply = pb.RecommendResponse.FromString(answer)
        before += self._judge.judge(Answer(ask, reply, sent, before), counts)
        return reply

    def _ask(self) -> Ask:
        draw, world = self._random, self._world
        placement = draw.choice(_PLACEMENTS)
        nobody = placement == "cheap" or draw.random() < 0.1
        chosen = draw.sample(self._filters, draw.choice((0, 0, 1, 1, 2)))
        passing = np.ones(world.items, np.bool_)
        for _, those in chosen:
            passing &= those
        return Ask(
            placement=placement,
            user=None if nobody else draw.randrange(len(world.users) + 20),
            limit=draw.choice(LIMITS),
            filters=[wanted for wanted, _ in chosen],
            passing=passing,
            exclude=draw.sample(range(world.items), draw.choice((0, 3, 50, 300))),
            seeds=draw.sample(range(world.items), draw.choice((0, 0, 1, 4))),
            explain=draw.random() < 0.2,
        )


def _request(ask: Ask, token: str) -> pb.RecommendRequest:
    return pb.RecommendRequest(
        placement=ask.placement,
        user_id="" if ask.user is None else str(ask.user),
        limit=ask.limit,
        filters=ask.filters,
        exclude_item_ids=map(item_id, ask.exclude),
        seed_item_ids=map(item_id, ask.seeds),
        explain=pb.EXPLAIN_LEVEL_REASONS if ask.explain else pb.EXPLAIN_LEVEL_NONE,
        page_token=token,
    )


def _filters(world: World) -> list[tuple[pb.Filter, Bools]]:
    """Return filters, each with the items that pass it by what the contract says."""
    has = {name: world.has(name) for name in ("category", "price", "tags", "fragile")}
    named = [name for name in CATEGORIES if name is not None]
    found = []
    for number, name in enumerate(named):
        is_it = (world.category == number) & has["category"]
        found += [(any_of("goods:category", name), is_it), (none_of("goods:category", name), ~is_it)]
    for bit, tag in enumerate(TAGS):
        held = (world.tags >> bit & 1 == 1) & has["tags"]
        found += [(any_of("goods:tags", tag), held), (none_of("goods:tags", tag), ~held)]
    both = (world.tags & 3 == 3) & has["tags"]
    low, high = 20.0, CHEAP + 30
    priced = (world.price >= low) & (world.price < high) & has["price"]
    found += [(all_of("goods:tags", *TAGS[:2]), both), (is_present("goods:price"), has["price"])]
    found.append((between("goods:price", end(low), end(high, exclusive=True)), priced))
    found.append((is_true("goods:fragile"), world.fragile & has["fragile"]))
    return found
