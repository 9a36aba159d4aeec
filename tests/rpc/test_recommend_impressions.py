"""Impressions: what is written down of slates that were shown, and by whom."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import pytest_asyncio

from recsvc.app import running
from recsvc.recommend.experiments import assign
from recsvc.recommend.impressions import Impression
from recsvc.rpc import recommend_reply
from tests.parts.topologies import Endpoint
from tests.parts.waiting import eventually
from tests.rpc.calling import Caller, column_values
from tests.rpc.rows import Rows
from tests.rpc.serving import settings
from tests.rpc.shop import COUNT, GOODS, MEANS, SCALES, SPEC, WEIGHTS, Shop, fill
from tests.rpc.shop_definitions import goods

pytestmark = pytest.mark.asyncio(loop_scope="module")

RANKING: Final = ["trend:popularity", "goods:price", "goods:margin", "goods:stock", "taste:age"]


@pytest.fixture(scope="module")
def impressions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server writes what it recommended."""
    return tmp_path_factory.mktemp("impressions")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(
    redis_8: Endpoint, rows: Rows, shop_directories: dict[str, Any], impressions: Path
) -> AsyncIterator[Shop]:
    """A server of the shop that keeps impressions."""
    fill(rows)
    chosen = settings(redis_8.url, impressions_dir=str(impressions), **shop_directories)
    async with running(chosen, SPEC) as app, Caller(app.address) as caller:
        yield Shop(app, caller, rows)


async def test_they_have_the_rows_that_ranked(shop: Shop, impressions: Path) -> None:
    """While rows change all the time, the features of a reply and of its impression are those that it ranked by."""
    replies = []
    for turn in range(12):
        for k in range(0, COUNT, 2):  # what ranks by price finds other prices each time
            shop.rows.put(goods, [f"i{k:02}"], GOODS[f"i{k:02}"] | {"price": float(turn * 10 + k)})
        replies.append(await shop.slate(user_id="1", limit=30, features=RANKING))
    fill(shop.rows)
    kept: dict[str, dict[str, Any]] = {}

    def is_written() -> bool:
        kept.update((line["recommendation_id"], line) for line in lines(impressions))
        return all(reply.recommendation_id in kept for reply in replies)

    await eventually(is_written)
    for reply in replies:
        line = kept[reply.recommendation_id]
        columns = {c.name: broadcast(column_values(c.values), 30) for c in reply.columns}
        assert [(i["id"], i["rank"], i["score"]) for i in line["items"]] == [
            (i.item_id, i.rank, None if np.isnan(i.score) else i.score) for i in reply.items
        ]
        assert (line["user"], line["placement"], line["ranked_by"]) == ({"user_id": "1"}, "home", "MODEL")
        assert line["model_version"] == reply.model_version
        for name in RANKING:
            written = broadcast(line["features"][name]["values"], 30)
            assert written == [None if v is None or np.isnan(v) else v for v in columns[name]]
        scores = [i.score for i in reply.items if i.sources]
        assert scores == pytest.approx(scored(columns)[: len(scores)])


async def test_they_are_of_replies_that_were_made(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slate that cannot be put into a message was not shown; the next one is."""
    shown: list[Impression] = []
    monkeypatch.setattr(shop.app._recommending.recommender, "impressions", shown.append)
    with monkeypatch.context() as patch:
        patch.setattr(recommend_reply, "reply", None)
        assert (await shop.refused(user_id="1")).code.name == "INTERNAL"
    reply = await shop.slate(user_id="1")
    assert [str(of.recommendation_id) for of in shown] == [reply.recommendation_id]


async def test_they_have_what_decided_the_variants(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a user that is the user, whatever unit was sent beside; of an anonymous caller the unit."""
    shown: list[Impression] = []
    monkeypatch.setattr(shop.app._recommending.recommender, "impressions", shown.append)
    for user, unit in (("1", ""), ("1", "a-7f3a"), ("", "a-7f3a"), ("", "")):
        await shop.slate("tested", user_id=user, randomization_unit=unit)
        of = shown.pop()
        assert (of.user, of.unit) == (({"user_id": user}, "") if user else ({}, unit))
        assert of.assignments == assign(shop.app.registry.placements["tested"].experiments, user or unit).assignments


async def test_hosts_that_share_a_directory_have_files_of_their_own(
    redis_8: Endpoint, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers that listen on the same address of different hosts do not touch each other's files."""
    for host in ("host-one", "host.two"):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        chosen = settings(redis_8.url, impressions_dir=str(tmp_path))
        async with running(chosen, SPEC) as app, Caller(app.address) as caller:
            await Shop(app, caller, rows).slate("plain")
    assert owners(tmp_path) == ["host_one_127_0_0_1_0", "host_two_127_0_0_1_0"]


def lines(directory: Path) -> Iterator[dict[str, Any]]:
    """Yield what was written, whole lines only."""
    for file in sorted(directory.iterdir()):
        for line in file.read_text(encoding="utf-8").split("\n")[:-1]:
            if line:
                yield json.loads(line)


def owners(directory: Path) -> list[str]:
    """Return whose each file is."""
    return sorted(path.name.split("-")[1] for path in directory.iterdir())


def broadcast(values: Any, count: int) -> list[Any]:  # noqa: ANN401  # of any type
    """Return a value for each of ``count`` rows."""
    return list(values) if len(values) == count else list(values) * count


def scored(columns: dict[str, list[Any]]) -> list[float]:
    """Return what the model makes of rows, by its formula."""
    return [0.25 + sum(row) for row in zip(*(_terms(name, columns[name]) for name in RANKING), strict=True)]


def _terms(name: str, values: list[Any]) -> list[float]:
    weight, mean, scale = next(t for n, *t in zip(RANKING, WEIGHTS, MEANS, SCALES, strict=True) if n == name)
    return [0.0 if v is None or np.isnan(v) else weight * (v - mean) / scale for v in values]
