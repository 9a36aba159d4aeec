"""The shop changes while the drill on slates runs; this makes the changes, and knows since when each can be known."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import Final

import numpy as np
import numpy.typing as npt
import redis.asyncio
from redis.exceptions import RedisError

from recsvc.online.keys import KeyMaker
from recsvc.online.redis_changes import announce
from recsvc.online.row import tombstone
from tests.fault.slates_definitions import goods, met
from tests.fault.slates_world import Bools, World, encoded, item_id, keys_of

EVERY_S: Final = 0.05
AT_ONCE: Final = 6
DELETED_SHARE: Final = 0.2
"""Of the items that go: their row is deleted, instead of saying that they are not available."""
AWAY_SHARE: Final = 0.15
"""Of all items, how many are away at the most."""
_RETRY_S: Final = 0.1


class Changes:
    """Lets items go and come back, and users see items. Times are of the machine's monotonic clock.

    ``gone_at``: since when the store says for sure that an item is not available; ``back_at``: that it is. Infinity:
    it does not, or nobody knows because it is being written. ``seen_at``: likewise, by user, of items newly seen.
    """

    def __init__(self, world: World, url: str, seed: int = 9) -> None:
        self.gone_at = np.where(world.at_first, np.inf, -np.inf)
        self.back_at = np.where(world.at_first, -np.inf, np.inf)
        self.seen_at: dict[int, dict[int, float]] = defaultdict(dict)
        self.made = 0
        self._world = world
        self._client = redis.asyncio.Redis.from_url(url, socket_timeout=2)
        self._random = np.random.default_rng(seed)

    def __repr__(self) -> str:
        return f"Changes({self.made} made)"

    async def run(self) -> None:
        """Change things for ever; what the store does not take is written again until it does."""
        while True:
            await self._let_go_and_come_back()
            await self._see()
            await asyncio.sleep(EVERY_S)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def _let_go_and_come_back(self) -> None:
        away = np.flatnonzero(np.isfinite(self.gone_at) | (self.gone_at < 0))
        here = np.flatnonzero(self.back_at < np.inf)
        full = len(away) > AWAY_SHARE * self._world.items
        going = self._random.choice(here, 0 if full else AT_ONCE, replace=False)
        coming = self._random.choice(away, min(AT_ONCE, len(away)) if full or self._random.random() < 0.5 else 0)
        coming = np.unique(coming)
        self.back_at[going] = np.inf
        self.gone_at[coming] = np.inf
        numbers = np.concatenate([going, coming])
        await self._write(numbers, np.arange(len(numbers)) >= len(going))
        now = time.monotonic()
        self.gone_at[going], self.back_at[coming] = now, now
        self.made += len(numbers)

    async def _write(self, numbers: npt.NDArray[np.int64], available: Bools) -> None:
        """Write rows and announce them, as a writer does."""
        if not len(numbers):
            return
        rows = self._world.goods_rows(numbers, available)
        micros = time.time_ns() // 1_000
        for k in np.flatnonzero(~available & (self._random.random(len(numbers)) < DELETED_SHARE)).tolist():
            rows[k] = tombstone(micros, micros)
        pairs = list(zip(keys_of(goods, numbers.tolist()), rows, strict=True))
        while True:
            try:
                await self._client.mset(dict(pairs))
                await announce(self._client, goods, pairs)
            except (RedisError, OSError):  # it was killed
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def _see(self) -> None:
        """Let a user see an item."""
        user = int(self._random.integers(len(self._world.users)))
        item = int(self._random.integers(self._world.items))
        key = KeyMaker(met).keys([[str(user)], [item_id(item)]])[0]
        try:
            await self._client.set(key, encoded(met, [(np.ones(1, np.bool_), None)])[0])
        except (RedisError, OSError):  # it was killed: whether this was written nobody knows, and nobody asks
            return
        self.seen_at[user].setdefault(item, time.monotonic())
