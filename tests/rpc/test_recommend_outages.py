"""What breaks beside a slate: indexes, models, rows, the whole store. There is a slate all the same, and it says so."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import redis.asyncio

from recsvc.app import running
from recsvc.online.ended import ended
from recsvc.online.redis_changes import announce
from recsvc.online.redis_writer import RedisRowWriter
from recsvc.pb import serving_pb2 as pb
from recsvc.recommend import serving
from recsvc.recommend.asked import Asked
from recsvc.recommend.ranking.bundle import publish_bundle
from recsvc.recommend.served_models import ServedModels
from recsvc.recommend.snapshot import Indexes
from recsvc.rpc import recommend_request
from tests.parts.topologies import Endpoint
from tests.parts.waiting import eventually
from tests.rpc.calling import Caller
from tests.rpc.own_redis import OwnRedis, own_redis
from tests.rpc.rows import Rows
from tests.rpc.serving import settings
from tests.rpc.shop import (
    AVAILABLE,
    GOODS,
    SPEC,
    USERS,
    Shop,
    fill,
    flaws,
    is_present,
    names,
    publish_index,
    who_may_come,
    write_model,
)
from tests.rpc.shop_definitions import goods, trend

KEPT: Final = {"cache_s": 60.0, "stale_if_error_s": 300.0}
"""Copies of rows are kept, as they are by default."""


@pytest.fixture
def store() -> Iterator[OwnRedis]:
    """A Redis with the shop in it."""
    with own_redis() as own:
        fill(own.rows)
        yield own


async def opened(stack: AsyncExitStack, url: str, rows: Rows, spec: str = SPEC, **others: Any) -> Shop:  # noqa: ANN401  # settings
    """Start a server of the shop."""
    app = await stack.enter_async_context(running(settings(url, **others), spec))
    return Shop(app, await stack.enter_async_context(Caller(app.address)), rows)


class TestMissingParts:
    """What a placement names is not there."""

    async def test_a_missing_index_costs_its_candidates_only(
        self, redis_8: Endpoint, rows: Rows, shop_directories: dict[str, Any]
    ) -> None:
        """Sources whose index is not there are told with its name; the others make the slate."""
        fill(rows)
        async with AsyncExitStack() as stack:
            shop = await opened(stack, redis_8.url, rows, **shop_directories)
            reply = await shop.slate("indexless", seed_item_ids=["i20"], limit=10)
            assert (len(reply.items), flaws(reply)) == (10, {("INDEX_MISSING", "nowhere")})
            assert not flaws(await shop.slate("indexless"))
            alone = await shop.slate("lonely", seed_item_ids=["i20"], limit=500)
            assert set(names(alone)) == AVAILABLE - {"i20"}
            assert alone.ranked_by == pb.RANKED_BY_POPULARITY

    async def test_without_any_directory_there_is_a_slate(self, redis_8: Endpoint, rows: Rows) -> None:
        """A server without indexes and models gives full slates in retrieval order, and names both."""
        fill(rows)
        async with AsyncExitStack() as stack:
            shop = await opened(stack, redis_8.url, rows)
            reply = await shop.slate(user_id="1", limit=500)
            assert set(names(reply)) == who_may_come("1")
            assert flaws(reply) == {("INDEX_MISSING", "looks"), ("RANKER_FAILED", "linear")}
            assert (reply.ranked_by, reply.model_version) == (pb.RANKED_BY_RETRIEVAL_ORDER, "")
            varied = await shop.slate("varied", user_id="1", limit=500)
            assert set(names(varied)) == AVAILABLE

    async def test_an_index_that_is_published_later_is_served(
        self, redis_8: Endpoint, rows: Rows, tmp_path: Path
    ) -> None:
        """A new index, and then its next version, are searched without a restart; a bad one leaves the last good."""
        fill(rows)
        async with AsyncExitStack() as stack:
            shop = await opened(stack, redis_8.url, rows, index_dir=str(tmp_path))

            async def version() -> str:
                return (await shop.slate("retrieval", user_id="2")).index_versions.get("looks", "")

            assert flaws(await shop.slate("retrieval", user_id="2")) == {("INDEX_MISSING", "looks")}
            for new in ("v1", "v2"):
                publish_index(tmp_path, new)

                async def is_served(new: str = new) -> bool:
                    return await version() == new

                await eventually(is_served, timeout=20)
            shutil.rmtree(tmp_path / "looks" / "v2")
            assert await version() == "v2"

    @pytest.mark.parametrize("fault", ["missing", "damaged"])
    async def test_without_its_model_a_placement_ranks_by_retrieval(
        self, redis_8: Endpoint, rows: Rows, shop_directories: dict[str, Any], tmp_path: Path, fault: str
    ) -> None:
        """A model that is not there, or does not fit, is told by name, and slates come in retrieval order."""
        fill(rows)
        shutil.copytree(str(shop_directories["model_dir"]), tmp_path, dirs_exist_ok=True)
        if fault == "damaged":
            (tmp_path / "linear" / "weights.json").write_text("{}")
        name, placement = ("linear", "home") if fault == "damaged" else ("nowhere", "modelless")
        async with AsyncExitStack() as stack:
            given = shop_directories | {"model_dir": str(tmp_path)}
            shop = await opened(stack, redis_8.url, rows, **given)
            reply = await shop.slate(placement, user_id="1", limit=20)
            assert flaws(reply) == {("RANKER_FAILED", name)}
            assert (reply.ranked_by, len(reply.items)) == (pb.RANKED_BY_RETRIEVAL_ORDER, 20)

    async def test_a_model_that_is_published_later_is_served(
        self,
        redis_8: Endpoint,
        rows: Rows,
        shop_directories: dict[str, Any],
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A new model, and then its next version, rank without a restart; a bad one leaves the last good."""
        fill(rows)
        async with AsyncExitStack() as stack:
            shop = await opened(stack, redis_8.url, rows, **shop_directories | {"model_dir": str(tmp_path)})

            async def is_served(version: str) -> bool:
                return (await shop.slate("modelled", user_id="1")).model_version == version

            assert flaws(await shop.slate("modelled", user_id="1")) >= {("RANKER_FAILED", "linear")}
            for new in ("1", "2"):
                write_model(tmp_path, new)
                publish_bundle(tmp_path / "linear", new)
                await eventually(partial(is_served, f"linear@{new}"), timeout=20)
            write_model(tmp_path, "3")
            (tmp_path / "linear" / "3" / "weights.json").write_text("{}")
            publish_bundle(tmp_path / "linear", "3")
            await eventually(lambda: "weights.json has 2 bytes" in caplog.text and "version 2 stays" in caplog.text)
            reply = await shop.slate("modelled", user_id="1")
            assert (reply.model_version, reply.ranked_by) == ("linear@2", pb.RANKED_BY_MODEL)


class TestRows:
    """What is written while a server runs."""

    async def test_what_becomes_unavailable_stops_coming(self, store: OwnRedis) -> None:
        """An item made unavailable, deleted or added by a write is so in slates as soon as the server has seen it."""
        async with AsyncExitStack() as stack:
            shop = await opened(stack, store.url, store.rows)
            client = await stack.enter_async_context(redis.asyncio.Redis.from_url(store.url))

            async def came() -> set[str]:
                return set(names(await shop.slate("plain", limit=500)))

            assert await came() == AVAILABLE
            await write(client, store.rows, "i00", GOODS["i00"] | {"available": False})
            await write(client, store.rows, "i09", GOODS["i09"] | {"available": True})
            await write(client, store.rows, "fresh", GOODS["i01"])
            wanted = AVAILABLE - {"i00"} | {"i09", "fresh"}

            async def is_so() -> bool:
                return await came() == wanted

            await eventually(is_so)
            await write(client, store.rows, "i00", GOODS["i00"])
            wanted = wanted | {"i00"}
            await eventually(is_so)

    async def test_what_becomes_unavailable_stops_coming_while_another_view_is_written(self, store: OwnRedis) -> None:
        """However fast popularity is written, without a pause, an item that is made unavailable does not come."""
        async with AsyncExitStack() as stack:
            shop = await opened(stack, store.url, store.rows)
            client = await stack.enter_async_context(redis.asyncio.Redis.from_url(store.url))
            key = store.rows.put(trend, ["i01"], {"popularity": 1.0})
            row = await client.get(key)
            assert isinstance(row, bytes)
            writing = [asyncio.create_task(_write_on(client, [(key, row)] * 5)) for _ in range(4)]
            stack.push_async_callback(ended, writing)
            for available in (False, True, False):
                await write(client, store.rows, "i00", GOODS["i00"] | {"available": available})

                async def is_so(available: bool = available) -> bool:  # noqa: FBT001  # of this turn
                    return ("i00" in names(await shop.slate("plain", limit=500))) == available

                await eventually(is_so)
            assert not any(task.done() for task in writing)

    async def test_a_deleted_item_stops_coming_and_can_come_back(
        self, store: OwnRedis, shop_directories: dict[str, Any]
    ) -> None:
        """An item whose row is deleted does not come; written again it is found by its vector as before."""
        async with AsyncExitStack() as stack:
            shop = await opened(stack, store.url, store.rows, **shop_directories)
            client = await stack.enter_async_context(redis.asyncio.Redis.from_url(store.url))
            at_first = names(await shop.slate("retrieval", user_id="2", limit=20))
            gone = at_first[3]
            key = store.rows.put(goods, [gone], GOODS[gone])
            writer = RedisRowWriter(client)
            await writer.bury(goods, [key], GOODS[gone]["created_at"] + 10**15, 10**15, 60_000)

            async def is_gone() -> bool:
                return gone not in names(await shop.slate("retrieval", user_id="2", limit=500))

            await eventually(is_gone)
            await write(client, store.rows, gone, GOODS[gone])

            async def is_back() -> bool:
                return names(await shop.slate("retrieval", user_id="2", limit=20)) == at_first

            await eventually(is_back)

    async def test_an_empty_store_gives_an_empty_slate(
        self, redis_8: Endpoint, rows: Rows, shop_directories: dict[str, Any]
    ) -> None:
        """Without any items there is an empty slate without an error, and no source is said to have failed."""
        rows.client.flushdb()
        async with AsyncExitStack() as stack:
            shop = await opened(stack, redis_8.url, rows, **shop_directories)
            reply = await shop.slate(user_id="1", seed_item_ids=["i01"], filters=[is_present("goods:price")])
            assert (list(reply.items), flaws(reply)) == ([], set())


class TestWithoutTheStore:
    """Redis killed."""

    async def test_slates_come_from_memory(self, store: OwnRedis, shop_directories: dict[str, Any]) -> None:
        """Without the store slates are full, flagged, and without what is excluded or known to be not available."""
        async with AsyncExitStack() as stack:
            shop = await opened(stack, store.url, store.rows, redis_timeout_ms=50, **shop_directories)
            assert set(names(await shop.slate(user_id="1", limit=500))) == who_may_come("1")
            store.kill()
            for user in ("1", "2", "404", ""):
                fields: dict[str, Any] = {"exclude_item_ids": ["i12", "i13"], "seed_item_ids": ["i14"]}
                reply = await shop.slate(user_id=user, limit=500, **fields)
                assert set(names(reply)) == who_may_come("", (), ["i12", "i13"], ["i14"])
                reasons = {reason for reason, _ in flaws(reply)}
                assert reasons & {"STORE_UNAVAILABLE", "CIRCUIT_OPEN"}
                assert reasons <= {"STORE_UNAVAILABLE", "CIRCUIT_OPEN", "METADATA_STALE"}

    async def test_what_is_known_to_be_seen_does_not_come(
        self, store: OwnRedis, shop_directories: dict[str, Any]
    ) -> None:
        """Where copies of the user's rows are kept, what the user has seen stays away without the store too."""
        async with AsyncExitStack() as stack:
            given = shop_directories | {"redis_timeout_ms": 50} | KEPT
            shop = await opened(stack, store.url, store.rows, **given)
            await shop.slate(user_id="1", limit=500)
            store.kill()
            for _ in range(3):
                pages = await shop.pages(user_id="1", limit=11)
                found = [name for page in pages for name in names(page)]
                assert sorted(found) == sorted(who_may_come("1"))
                assert not set(found) & USERS["1"].seen

    async def test_stale_metadata_is_told_with_its_age(self, store: OwnRedis, shop_directories: dict[str, Any]) -> None:
        """Some seconds after the store is gone the age of what is known of items stands in the reply.

        A placement that wants no old metadata leaves everything out then, and once the store is back all is as before.
        """
        async with AsyncExitStack() as stack:
            shop = await opened(stack, store.url, store.rows, redis_timeout_ms=50, **shop_directories)
            assert len((await shop.slate("careful")).items) == 10
            store.kill()

            async def is_stale() -> bool:
                return ("METADATA_STALE", "shop") in flaws(await shop.slate("plain"))

            await eventually(is_stale, timeout=30)
            reply = await shop.slate("plain", limit=20)
            (stale,) = reply.degraded
            assert stale.age_micros > 5_000_000
            assert len(reply.items) == 20
            left_out = await shop.slate("careful")
            assert (list(left_out.items), flaws(left_out)) == ([], {("METADATA_STALE", "shop")})
            store.start()
            fill(store.rows)

            async def is_fresh() -> bool:
                reply = await shop.slate(user_id="1", limit=500)
                return not flaws(reply) and set(names(reply)) == who_may_come("1")

            await eventually(is_fresh, timeout=30)

    async def test_a_server_that_starts_without_the_store_serves_empty_slates_until_it_comes(
        self, store: OwnRedis, shop_directories: dict[str, Any]
    ) -> None:
        """Started without the store there is nothing to recommend, which is flagged; when it comes slates are full."""
        store.kill()
        async with AsyncExitStack() as stack:
            given = shop_directories | {"redis_at_start": "optional", "redis_timeout_ms": 50}
            shop = await opened(stack, store.url, store.rows, **given)
            for level in pb.ExplainLevel.values():
                reply = await shop.slate(user_id="1", explain=level)
                assert not reply.items
                assert ("METADATA_STALE", "shop") in flaws(reply)
            store.start()
            fill(store.rows)

            async def is_full() -> bool:
                return set(names(await shop.slate(user_id="1", limit=500))) == who_may_come("1")

            await eventually(is_full, timeout=30)


class TestReload:
    """Definitions that change."""

    async def test_a_changed_catalogue_waits_for_the_store(
        self, store: OwnRedis, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """While the store is away definitions that need its rows anew are refused, and slates come as before."""
        file = tmp_path / "definitions.py"
        text = "from dataclasses import replace\nfrom tests.rpc import shop_definitions as d\n"
        file.write_text(f"{text}registry = d.made()\n")
        async with AsyncExitStack() as stack:
            shop = await opened(stack, store.url, store.rows, str(file))
            before = shop.app.registry
            store.kill()
            kept = 'replace(d.shop, filterable=[*d.shop.filterable, "goods:margin"])'
            file.write_text(f"{text}registry = d.made(catalogues=[{kept}])\n")
            shop.app.reload()
            await eventually(lambda: "reload refused, the old definitions stay: catalogue shop" in caplog.text)
            assert shop.app.registry is before
            assert set(names(await shop.slate("plain", limit=500))) == AVAILABLE
            store.start()
            fill(store.rows)
            shop.app.reload()
            await eventually(lambda: shop.app.registry is not before)
            reply = await shop.slate("plain", limit=500, filters=[is_present("goods:margin")])
            assert set(names(reply)) == AVAILABLE

    async def test_a_new_placement_is_served_after_a_reload(
        self, redis_8: Endpoint, rows: Rows, shop_directories: dict[str, Any], tmp_path: Path
    ) -> None:
        """After a reload placements are those of the new definitions, also with another catalogue and index."""
        rows.client.flushdb()
        fill(rows)
        file = tmp_path / "definitions.py"
        text = "from tests.rpc import shop_definitions as d\nfrom recsvc import *\n"
        file.write_text(f"{text}registry = d.made(placements=d.placements[:2])\n")
        async with AsyncExitStack() as stack:
            shop = await opened(stack, redis_8.url, rows, str(file), **shop_directories)
            assert (await shop.refused("added")).code.name == "NOT_FOUND"
            assert (await shop.slate("home", user_id="1")).ranked_by == pb.RANKED_BY_MODEL  # its features are the same
            added = (
                'all = Catalogue("all", d.item, "trend:popularity", filterable=["goods:price"])\n'
                'both = [*d.placements, Placement("added", "all", [d.NEAREST], user=d.user)]\n'
                "registry = d.made(catalogues=[d.shop, all], placements=both)\n"
            )
            before = shop.app.registry
            file.write_text(text + added)
            shop.app.reload()
            await eventually(lambda: shop.app.registry is not before)
            reply = await shop.slate("added", user_id="2", limit=500)
            assert set(names(reply)) == {*GOODS, "ghost"}
            assert [s.source for s in reply.items[0].sources] == ["near"]
            assert set(names(await shop.slate("plain", limit=500))) == AVAILABLE
            file.write_text(f"{text}registry = d.made(placements=d.placements[1:2])\n")
            before = shop.app.registry
            shop.app.reload()
            await eventually(lambda: shop.app.registry is not before)
            assert (await shop.refused("added")).code.name == "NOT_FOUND"
            assert set(names(await shop.slate("plain", limit=500))) == AVAILABLE

    async def test_a_call_is_answered_by_the_definitions_that_it_was_checked_by(
        self, redis_8: Endpoint, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A large request that is still checked as others are adopted gets its slate, of a catalogue that they lack."""
        rows.client.flushdb()
        fill(rows)
        file = tmp_path / "definitions.py"
        text = "from tests.rpc import shop_definitions as d\nfrom recsvc import *\n"
        file.write_text(f"{text}registry = d.made()\n")
        begun, go_on, check = threading.Event(), threading.Event(), recommend_request.recommend

        def slow(*asked: Any, **others: Any) -> Asked:  # noqa: ANN401  # as the check has them
            begun.set()
            assert go_on.wait(60)
            return check(*asked, **others)

        async with AsyncExitStack() as stack:
            shop = await opened(stack, redis_8.url, rows, str(file))
            monkeypatch.setattr(recommend_request, "recommend", slow)
            large = [f"x{n}" for n in range(recommend_request.LARGE + 1)]
            call = asyncio.create_task(shop.slate("plain", limit=500, exclude_item_ids=large))
            try:
                assert await asyncio.to_thread(begun.wait, 60)
                before = shop.app.registry
                file.write_text(f"{text}registry = d.made(catalogues=[], placements=[])\n")
                shop.app.reload()
                await eventually(lambda: shop.app.registry is not before)
            finally:
                go_on.set()
            assert set(names(await call)) == AVAILABLE

    @pytest.mark.parametrize(
        ("part", "name"),
        [(serving, "reopen"), (Indexes, "prepare"), (ServedModels, "load")],
        ids=["index", "items", "models"],
    )
    async def test_a_part_that_raises_costs_no_model(  # noqa: PLR0913, PLR0917  # a server, and what breaks in it
        self,
        redis_8: Endpoint,
        rows: Rows,
        shop_directories: dict[str, Any],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        part: object,
        name: str,
    ) -> None:
        """Whatever fails as definitions are adopted, models that served and still fit go on, and new ones come."""
        fill(rows)
        file = tmp_path / "definitions.py"
        text = "from tests.rpc import shop_definitions as d\n"
        file.write_text(f"{text}registry = d.made()\n")
        write_model(tmp_path, "1")
        publish_bundle(tmp_path / "linear", "1")
        monkeypatch.setattr(serving, "INDEX_INTERVAL_S", 0.05)

        def broken(*_: object, **__: object) -> None:
            raise MemoryError("too large")

        async with AsyncExitStack() as stack:
            directories = shop_directories | {"model_dir": str(tmp_path)}
            shop = await opened(stack, redis_8.url, rows, str(file), **directories)

            async def is_served(version: str) -> bool:
                return (await shop.slate("home", user_id="1")).model_version == version

            before = shop.app.registry
            with monkeypatch.context() as patch:
                patch.setattr(part, name, broken)
                file.write_text(f"{text}registry = d.made(placements=d.placements[:2])\n")
                shop.app.reload()
                await eventually(lambda: shop.app.registry is not before)
                assert await is_served("linear@1")
            assert "MemoryError: too large" in caplog.text
            write_model(tmp_path, "2")
            publish_bundle(tmp_path / "linear", "2")
            await eventually(partial(is_served, "linear@2"), timeout=20)

    async def test_an_index_that_raises_costs_no_new_model(
        self,
        redis_8: Endpoint,
        rows: Rows,
        shop_directories: dict[str, Any],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """While an index cannot be looked at, models that are published are served all the same."""
        fill(rows)
        monkeypatch.setattr(serving, "INDEX_INTERVAL_S", 0.05)
        async with AsyncExitStack() as stack:
            shop = await opened(stack, redis_8.url, rows, **shop_directories | {"model_dir": str(tmp_path)})
            monkeypatch.setattr(serving, "reopen", None)
            write_model(tmp_path, "1")
            publish_bundle(tmp_path / "linear", "1")

            async def is_served() -> bool:
                return (await shop.slate("home", user_id="1")).model_version == "linear@1"

            await eventually(is_served, timeout=20)


async def _write_on(client: redis.asyncio.Redis, rows: list[tuple[bytes, bytes]]) -> None:
    """Announce rows again and again, for ever."""
    while True:
        await announce(client, trend, rows)


async def write(client: redis.asyncio.Redis, rows: Rows, item: str, values: dict[str, object]) -> None:
    """Write an item as a writer does, which announces it on the change feed."""
    for view, of in ((goods, values), (trend, {"popularity": 50.0})):
        key = rows.put(view, [item], of)
        row = await client.get(key)
        assert isinstance(row, bytes)
        await announce(client, view, [(key, row)])
