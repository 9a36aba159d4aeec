"""Slates whose items need more rows of the store than one call may ask for are read in parts."""

from __future__ import annotations

from typing import Any

import pytest

from recsvc.app import running
from recsvc.pb import serving_pb2 as pb
from recsvc.telemetry import names as hops
from tests.parts.otlp import collector
from tests.parts.topologies import Endpoint
from tests.rpc.calling import Caller
from tests.rpc.serving import settings
from tests.rpc.shop import SPEC, USERS, Shop, names
from tests.rpc.tracing import traced

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


@pytest.mark.usefixtures("shop")
async def test_parts_are_hops_of_their_own(redis_8: Endpoint, shop_directories: dict[str, Any]) -> None:
    """Each says what it waited for and how much of it, though they are read side by side; one part alone is none."""
    request = pb.RecommendRequest(placement="modelled", user_id="1", limit=40)
    with collector() as received:
        async with traced(received, redis_8.url, spec=SPEC, max_store_keys=41, **shop_directories) as server:
            tree = await server.tree(request)
        async with traced(received, redis_8.url, spec=SPEC, **shop_directories) as server:
            whole = await server.tree(request)
    parts = tree.all(hops.PART)
    assert len(parts) > 1
    assert {part.parent for part in parts} <= {features.id for features in tree.all(hops.FEATURES)}
    for part in parts:
        waited = sum(hop.attributes[hops.KEYS] for hop in tree.under(part) if hop.name == hops.WAIT)
        assert part.attributes[hops.MISSES] == waited > 0
        assert part.attributes[hops.HITS] == 0
    assert not whole.all(hops.PART)
    assert all(features.attributes[hops.MISSES] for features in whole.all(hops.FEATURES))
