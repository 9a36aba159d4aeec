"""Reads rows from an open store of any kind, a single server or a cluster: alone, or behind the whole read path."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from random import Random
from typing import Final

from recsvc.errors import StoreUnavailableError
from recsvc.online.answer import UNREAD, Row
from recsvc.online.chain import ChainSettings, NamedStore, ReadChain, Surroundings
from recsvc.online.coalesce import CoalesceSettings
from recsvc.online.policy import ViewPolicy
from recsvc.online.redis_open import OpenStore

UNCACHED: Final = ViewPolicy(0.0, 0.0)
"""Of views whose rows are read from the store each time."""


@contextlib.asynccontextmanager
async def chain_over(store: OpenStore, *, timeout_s: float) -> AsyncIterator[ReadChain]:
    """Yield the read path over a store, whose fetches may take ``timeout_s``."""
    settings = ChainSettings(coalesce=CoalesceSettings(timeout_s=timeout_s))
    around = Surroundings(time.monotonic, Random(20), lambda _: None)
    behind = store.router if store.single is None else NamedStore("single", store.single)
    assert behind is not None
    chain = ReadChain(settings, around, behind)
    try:
        yield chain
    finally:
        await chain.close()


class StoreRows:
    """Rows of a store, without cache, coalescing or breaker; those of cluster nodes that do not answer are UNREAD."""

    def __init__(self, store: OpenStore) -> None:
        self.store = store

    async def read(self, keys: Sequence[bytes], timeout_s: float) -> Sequence[Row]:
        """Return one row per key, in order. Raises StoreUnavailableError where nothing could be read."""
        until = asyncio.get_running_loop().time() + timeout_s
        if self.store.single is not None:
            return await self.store.single.read(keys, until)
        router = self.store.router
        assert router is not None
        routed = router.route(keys)
        if routed is None:
            await router.ready(until)
            routed = router.route(keys)
        assert routed is not None
        rows: list[Row] = [UNREAD] * len(keys)
        await asyncio.gather(
            *(self._read_node(name, keys, indices, rows, until) for name, indices in routed[0].items())
        )
        return rows

    async def _read_node(
        self, name: str, keys: Sequence[bytes], indices: Sequence[int], rows: list[Row], until: float
    ) -> None:
        assert self.store.router is not None
        try:
            found = await self.store.router.reader(name).read([keys[i] for i in indices], until)
        except StoreUnavailableError:
            return
        for index, row in zip(indices, found, strict=True):
            rows[index] = row
