"""Slates whose items need more rows of the store than one call may ask for are read in parts."""

from __future__ import annotations

import pytest

from recsvc.app import running
from recsvc.pb import serving_pb2 as pb
from tests.parts.topologies import Endpoint
from tests.rpc.calling import Caller
from tests.rpc.serving import settings
from tests.rpc.shop import SPEC, USERS, Shop, names

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_parts_make_the_same_slate(shop: Shop, redis_8: Endpoint, shop_directories: dict[str, object]) -> None:
    """A server that may read 11 rows at a time orders, scores, explains and leaves out what another one does."""
    asked = {"user_id": "1", "limit": 40, "feature_service": "page", "explain": pb.EXPLAIN_LEVEL_DIAGNOSTICS}
    whole = await shop.slate("modelled", **asked)
    chosen = settings(redis_8.url, max_store_keys=11, **shop_directories)
    async with running(chosen, SPEC) as app, Caller(app.address) as caller:
        parts = await Shop(app, caller, shop.rows).slate("modelled", **asked)
    assert names(parts) == names(whole)
    assert not {n for n, seen in USERS["1"].pairs.items() if seen} & set(names(parts))
    assert [i.score for i in parts.items] == pytest.approx([i.score for i in whole.items], nan_ok=True)
    assert parts.ranked_by == pb.RANKED_BY_MODEL
    assert [c.SerializeToString() for c in parts.columns] == [c.SerializeToString() for c in whole.columns]
    assert parts.diagnostics == whole.diagnostics
    assert not parts.degraded
