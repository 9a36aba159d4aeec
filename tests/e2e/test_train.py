"""`recsvc train`: from files of interactions to slates of a real server, with a real Redis in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import pytest_asyncio
import redis

from recsvc.app import running
from recsvc.cli.main import main
from recsvc.client import AsyncClient, RankedBy
from recsvc.recommend.index.directory import open_index
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.published import newest
from recsvc.recommend.ranking.bundle import bundle_directory, load_bundle
from recsvc.training.errors import LeakError, TrainingError
from recsvc.training.gather import Wanted, gather
from tests.e2e.train_definitions import goods, registry
from tests.parts.topologies import Endpoint
from tests.rpc.rows import Rows
from tests.rpc.serving import settings

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

SPEC: Final = str(Path(__file__).with_name("train_definitions.py"))
USERS: Final = 30
ITEMS: Final = 40
THEN: Final = 1_700_000_000
"""When the last thing happened that embeddings are trained on, in seconds."""
LATER: Final = THEN + 60
WANTED: Final = Wanted("candidates", "ranking", concurrency=4)


def likes(user: int, item: int) -> bool:
    """Say whether an item is of the user's taste: even users like even items."""
    return user % 2 == item % 2


def cheap(item: int) -> bool:
    """Say whether an item is what anybody takes of what they like."""
    return item % 5 == 0


@dataclass(frozen=True)
class World:
    """Where things are; ``taken`` is what users took later."""

    redis_url: str
    folder: Path
    taken: dict[str, list[str]]

    @property
    def indexes(self) -> Path:
        """The directory of indexes."""
        return self.folder / "indexes"

    @property
    def models(self) -> Path:
        """The directory of models."""
        return self.folder / "models"

    def train_als(self, *more: str) -> int:
        """Run `recsvc train als`."""
        words = ["train", "als", SPEC, "--interactions", str(self.folder / "met.csv"), "--time", "at"]
        words += ["--time-unit", "s", "--user-feature", "user_als:vector", "--item-feature", "item_als:vector"]
        words += ["--index", "als", "--index", "alike=COSINE", "--index-dir", str(self.indexes)]
        return main([*words, "--regularization", "1", "--redis", self.redis_url, *more])

    def train_ranker(self, server: str, name: str, kind: str, *more: str) -> int:
        """Run `recsvc train ranker`."""
        words = ["train", "ranker", SPEC, "--server", server, "--placement", "candidates", "--service", "ranking"]
        words += ["--labels", str(self.folder / "taken.csv"), "--kind", kind, "--model-dir", str(self.models)]
        return main([*words, "--name", name, "--model-version", "1", *(more or ("--time", "at", "--time-unit", "s"))])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(redis_8: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A store with goods as of THEN, and embeddings trained on what users met until then."""
    client = redis.Redis.from_url(redis_8.admin_url)
    client.flushall()
    rows, rng, folder = Rows(client), np.random.default_rng(11), tmp_path_factory.mktemp("train")
    for k in range(ITEMS):
        values = {"popularity": float(ITEMS - k), "price": 1.0 if cheap(k) else 9.0 + k % 3, "new": k % 3 == 0}
        rows.put(goods, [f"i{k}"], {**values, "name": f"item {k}"}, event_micros=THEN * 1_000_000)
    met = [(u, k) for u in range(USERS) for k in range(ITEMS) if likes(u, k) and rng.random() < 0.6]
    taken = [(u, k) for u in range(USERS) for k in range(ITEMS) if likes(u, k) and cheap(k)]
    write(folder / "met.csv", met, THEN)
    write(folder / "taken.csv", taken, LATER)
    by_user = {str(u): [f"i{k}" for v, k in taken if v == u] for u in range(USERS)}
    made = World(redis_8.url, folder, by_user)
    assert await asyncio.to_thread(made.train_als) == 0
    return made


def write(path: Path, pairs: list[tuple[int, int]], last: int) -> None:
    """Write a file of interactions; the first of them is at ``last``, the others follow or came before."""
    step = -1 if path.name == "met.csv" else 1
    lines = [f"{u},i{k},{last + step * n}" for n, (u, k) in enumerate(pairs)]
    path.write_text("\n".join(["user_id,item_id,at", *lines]) + "\n", encoding="utf-8")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(world: World) -> AsyncIterator[str]:
    """The address of a server of the placements without rankers."""
    async with running(settings(world.redis_url, index_dir=str(world.indexes)), SPEC) as app:
        yield app.address


async def test_embeddings_are_published_and_served(world: World, server: str) -> None:
    """Each index has all items by its metric; a user is found items of their own taste, by stored vectors alone."""
    for name, metric in (("als", Metric.INNER_PRODUCT), ("alike", Metric.COSINE)):
        directory = newest(world.indexes / name)
        assert directory is not None
        index = open_index(directory)
        assert (index.metric, sorted(index.ids)) == (metric, sorted(f"i{k}" for k in range(ITEMS)))
    async with AsyncClient(server, timeout=30) as client:
        slate = await client.recommend("retrieval", 3, limit=10)
        row = await client.get_features({"user_id": 3}, features=["user_als:vector"], event_times=True)
    assert all(likes(3, int(item.id[1:])) for item in slate)
    assert row["user_als:vector"].event_time_micros == THEN * 1_000_000
    assert not slate.degraded


async def test_training_again_gives_the_same_vectors(world: World, server: str) -> None:
    """The same file and seed give the same vectors, under a new version of each index."""
    before = newest(world.indexes / "als")
    assert await asyncio.to_thread(world.train_als) == 0
    after = newest(world.indexes / "als")
    assert before is not None
    assert after is not None
    assert before != after
    old, new = np.load(before / "vectors.npy"), np.load(after / "vectors.npy")
    assert np.array_equal(old, new)


async def test_vectors_of_older_data_are_not_published(
    world: World, server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the store has vectors of later data, nothing is published, and the reason is one line."""
    write(tmp_path / "met.csv", [(u, k) for u in range(4) for k in range(6)], THEN - 1_000)
    older = World(world.redis_url, tmp_path, {})
    assert await asyncio.to_thread(older.train_als) == 1
    assert "are later than 2023-11-14" in capsys.readouterr().err
    assert not older.indexes.exists()


async def test_examples_are_what_the_server_ranks(world: World, server: str) -> None:
    """Each user's candidates come once, with the service's features, labelled by what the user took."""
    async with AsyncClient(server, timeout=30) as client:
        made = await gather(client, registry, WANTED, world.taken, LATER * 1_000_000)
        slate = await client.recommend("candidates", 4, limit=500)
        ids = [item.id for item in slate if item.sources]
        batch = await client.get_features_batch({"user_id": 4, "item_id": ids}, service="ranking")
    assert made.features == batch.names
    assert made.users == list(world.taken)
    assert made.retrieval[:3].tolist() == [1.0, 2.0, 3.0]
    start = int(made.groups[:4].sum())
    items = list(made.items[start : start + made.groups[4]])
    near = [item.id for item in slate if "near" in item.sources]
    assert set(near) <= set(items)
    assert made.labels[start : start + len(items)].tolist() == [float(i in world.taken["4"]) for i in items]
    for place, name in enumerate(batch.names):
        served = dict(zip(ids, batch[name].values.astype(float).tolist(), strict=True))
        here = dict(zip(items, made.matrix[start : start + len(items), place].tolist(), strict=True))
        assert {i: served[i] for i in near} == {i: here[i] for i in near}, name
    assert made.missed + made.labels.sum() == sum(map(len, world.taken.values()))


async def test_features_that_know_the_answer_are_refused(world: World, server: str) -> None:
    """A feature as of the very time of the first label is a leak; the error names it and both times."""
    message = r"^(\S+) \((.+)\) of .* is from 2023-11-14T22:13:20.000000Z, not before 2023-11-14T22:13:20.000000Z"
    async with AsyncClient(server, timeout=30) as client:
        with pytest.raises(LeakError, match=message) as caught:
            await gather(client, registry, WANTED, world.taken, THEN * 1_000_000)
        await gather(client, registry, WANTED, world.taken, THEN * 1_000_000 + 1)
    assert str(caught.value).startswith(("goods (goods:price, ", "user_als (", "item_als ("))


async def test_what_no_ranker_takes_and_other_definitions_are_refused(world: World, server: str) -> None:
    """A service with texts, and a server of other definitions than the ones at hand, are told."""
    parts = registry.definitions
    other = type(registry)(
        views=parts.views,
        on_demand=parts.on_demand,
        services=parts.services,
        catalogues=parts.catalogues,
        placements=parts.placements[:1],
    )
    async with AsyncClient(server, timeout=30) as client:
        with pytest.raises(TrainingError, match="goods:name is STRING"):
            await gather(client, registry, Wanted("candidates", "page"), world.taken, LATER * 1_000_000)
        with pytest.raises(TrainingError, match="the server has the definitions"):
            await gather(client, other, WANTED, world.taken, LATER * 1_000_000)


async def test_rankers_are_trained_and_served(world: World, server: str) -> None:
    """A linear ranker and trees learn that cheap items are taken; a server then puts those first, by the model."""
    for name, kind in (("likes", "linear"), ("trees", "trees")):
        assert await asyncio.to_thread(world.train_ranker, server, name, kind) == 0
    chosen = settings(world.redis_url, index_dir=str(world.indexes), model_dir=str(world.models))
    async with running(chosen, SPEC) as app, AsyncClient(app.address, timeout=30) as client:
        examples = await gather(client, registry, WANTED, world.taken, LATER * 1_000_000)
        for placement, name in (("ranked", "likes"), ("by_trees", "trees")):
            slate = await client.recommend(placement, 4, limit=30)
            assert (slate.ranked_by, slate.model_version) == (RankedBy.MODEL, f"{name}@1")
            assert not slate.degraded
            prices = [cheap(int(item.id[1:])) for item in slate if item.sources]
            assert prices == sorted(prices, reverse=True)
            start = int(examples.groups[:4].sum())
            rows = slice(start, start + int(examples.groups[4]))
            scores = load_bundle(bundle_directory(world.models / name), registry).rank(
                examples.matrix[rows], examples.features
            )
            offline = dict(zip(examples.items[rows], scores.tolist(), strict=True))
            shared = [item for item in slate if "near" in item.sources]
            assert [item.score for item in shared] == pytest.approx([offline[item.id] for item in shared])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--since", "2023-11-14T22:00:00Z"), "the model would be told"),
        (("--since", "some day"), "--since: 'some day' is not a time"),
        ((), "say when items were taken"),
    ],
)
async def test_mistakes_of_a_ranker_are_one_line(
    world: World, server: str, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], words: str
) -> None:
    """What is wrong is told in one line, and no model is written."""
    given: Any = more or ("--seed", "0")
    assert await asyncio.to_thread(world.train_ranker, server, "wrong", "linear", *given) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (world.models / "wrong").exists()


@pytest.mark.parametrize(
    ("more", "words", "status"),
    [
        (("--index", "bad=NEAR"), "the metric is one of INNER_PRODUCT, COSINE, L2", 2),
        (("--index", "als"), "each once", 2),
        (("--user-feature", "goods:popularity"), "is no VECTOR of goods@v1", 1),
        (("--user-feature", "item_als:vector"), "are both features of item", 1),
        (("--alpha", "0"), "alpha 0.0: must be finite and above 0", 1),
        (("--time", "when"), "no column 'when'", 1),
    ],
)
async def test_mistakes_of_als_are_one_line(
    world: World, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], words: str, status: int
) -> None:
    """What is wrong is told in one line, before anything is trained."""
    assert await asyncio.to_thread(world.train_als, *more) == status
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
