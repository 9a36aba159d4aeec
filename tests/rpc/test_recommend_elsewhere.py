"""Slates over other parts than usual: a model in ONNX, a Redis Cluster, a store that was never there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
import redis.asyncio

from recsvc.app import running
from recsvc.online.redis_changes import announce
from recsvc.pb import serving_pb2 as pb
from recsvc.recommend import run
from recsvc.recommend.ranking.bundle import write_bundle
from recsvc.recommend.ranking.onnx_model import OnnxModel
from tests.parts.rankers import onnx_graph
from tests.parts.redis_server import free_port
from tests.parts.topologies import Endpoint
from tests.parts.waiting import eventually
from tests.rpc.calling import Caller
from tests.rpc.rows import Rows
from tests.rpc.serving import settings
from tests.rpc.shop import (
    GOODS,
    MEANS,
    SCALES,
    SPEC,
    WEIGHTS,
    Shop,
    fill,
    flaws,
    model_scores,
    names,
    publish_index,
    who_may_come,
)
from tests.rpc.shop_definitions import goods, registry


@asynccontextmanager
async def opened(url: str, rows: Rows, **others: Any) -> AsyncIterator[Shop]:  # noqa: ANN401  # settings
    """Run a server of the shop."""
    async with running(settings(url, **others), SPEC) as app, Caller(app.address) as caller:
        yield Shop(app, caller, rows)


def write_onnx(root: Path, *, broken: bool = False) -> None:
    """Write the linear model as a graph; ``broken``: the logarithm of its scores, some of which has none."""
    constants = {
        "means": np.array(MEANS),
        "weights": np.array([[w / s] for w, s in zip(WEIGHTS, SCALES, strict=True)]),
        "intercept": np.array([0.25]),
    }
    nodes = [
        ("Sub", ["x", "means"], ["centred"]),
        ("MatMul", ["centred", "weights"], ["products"]),
        ("Add", ["products", "intercept"], ["sum"]),
        ("Log" if broken else "Identity", ["sum"], ["score"]),
    ]
    graph = onnx_graph(nodes, constants, [("score", "DOUBLE", ["n", 1])], of="DOUBLE")
    rows = np.array([[90.0, 1.0, 6.0, 3.0, 40.0]])  # of which every model has a score
    model = OnnxModel(graph, missing=MEANS)
    write_bundle(root / "linear", model, name="linear", version="9", service="ranking", registry=registry, warm_up=rows)


class TestOnnx:
    """A model that is a graph."""

    async def test_it_ranks_and_explains_nothing(self, redis_8: Endpoint, rows: Rows, tmp_path: Path) -> None:
        """Scores are those of the graph, the items come in their order, and it says that it has no contributions."""
        fill(rows)
        write_onnx(tmp_path)
        async with opened(redis_8.url, rows, model_dir=str(tmp_path)) as shop:
            reply = await shop.slate(user_id="1", limit=15, explain=pb.EXPLAIN_LEVEL_DIAGNOSTICS)
            assert (reply.ranked_by, reply.model_version) == (pb.RANKED_BY_MODEL, "linear@9")
            ranked = {item.item_id: item.score for item in reply.items if item.sources}
            added = model_scores("1")
            assert ranked == pytest.approx({name: 0.25 + sum(added[name].values()) for name in ranked})
            assert list(ranked.values()) == sorted(ranked.values(), reverse=True)
            assert not any(item.contributions for item in reply.items)
            assert reply.diagnostics.no_contributions

    async def test_scores_that_are_none_cost_its_order(self, redis_8: Endpoint, rows: Rows, tmp_path: Path) -> None:
        """Where the graph has no score for some candidate the slate comes as it was found, and names the model."""
        fill(rows)
        write_onnx(tmp_path, broken=True)
        async with opened(redis_8.url, rows, model_dir=str(tmp_path)) as shop:
            reply = await shop.slate(user_id="4", limit=500)
            assert set(names(reply)) == who_may_come("4")
            assert reply.ranked_by == pb.RANKED_BY_RETRIEVAL_ORDER
            assert ("RANKER_FAILED", "linear") in flaws(reply)


class TestCluster:
    """Rows that are spread over the masters of a Cluster."""

    async def test_slates_are_the_same_and_follow_what_is_written(
        self, redis_endpoint: Callable[[str], Endpoint], shop_directories: dict[str, Any]
    ) -> None:
        """All that may come does, also after an item was made unavailable, and pages go through all of it."""
        endpoint = redis_endpoint("cluster")
        address = endpoint.url.replace("redis+cluster", "redis").partition(",")[0]
        client = redis.RedisCluster.from_url(address)
        client.flushall(target_nodes=redis.RedisCluster.PRIMARIES)
        rows = Rows(client)  # type: ignore[arg-type]  # it has the one command that is wanted
        fill(rows)
        async with (
            opened(endpoint.url, rows, **shop_directories) as shop,
            redis.asyncio.RedisCluster.from_url(address) as writer,
        ):
            for user in ("1", "2", "3", "4", "404", ""):
                reply = await shop.slate(user_id=user, limit=500)
                assert (set(names(reply)), flaws(reply)) == (who_may_come(user), set())
            pages = await shop.pages(user_id="1", limit=7)
            assert sorted(n for page in pages for n in names(page)) == sorted(who_may_come("1"))
            key = rows.put(goods, ["i02"], GOODS["i02"] | {"available": False})
            row = client.get(key)
            assert isinstance(row, bytes)
            await announce(writer, goods, [(key, row)])

            async def is_gone() -> bool:
                return "i02" not in names(await shop.slate("plain", limit=500))

            await eventually(is_gone)
        client.close()


class TestFilling:
    """Users who have seen nearly everything."""

    async def test_items_are_looked_at_until_the_slate_is_full(
        self, redis_8: Endpoint, rows: Rows, shop_directories: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However many popular items a user has seen, those that are left come, on as many pages as they fill."""
        fill(rows)
        monkeypatch.setattr(run, "FILL", 1)
        async with opened(redis_8.url, rows, **shop_directories) as shop:
            assert len(who_may_come("4")) > 10
            assert set(names(await shop.slate(user_id="4", limit=10))) <= who_may_come("4")
            pages = await shop.pages(user_id="4", limit=2)
            assert sorted(n for page in pages for n in names(page)) == sorted(who_may_come("4"))


class TestNothingThere:
    """A server whose store was never there."""

    async def test_a_slate_is_empty_flagged_and_no_error(self, rows: Rows, tmp_path: Path) -> None:
        """Nothing is known of any item, so nothing comes; every kind of request is answered, and says so."""
        publish_index(tmp_path)
        given = {"redis_at_start": "optional", "redis_timeout_ms": 50, "index_dir": str(tmp_path)}
        async with opened(f"redis://127.0.0.1:{free_port()}", rows, **given) as shop:
            for placement in ("home", "plain", "pinned", "capped", "varied", "careful", "alike"):
                user = "1" if placement in {"home", "varied", "alike"} else ""
                reply = await shop.slate(placement, user_id=user, seed_item_ids=["i01"], limit=20)
                assert not reply.items
                assert not reply.next_page_token
                assert ("METADATA_STALE", "shop") in flaws(reply)
