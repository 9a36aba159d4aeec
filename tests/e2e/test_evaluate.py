"""`recsvc evaluate`: figures of a small data set, and that nothing of the test part reaches what is served."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import redis.asyncio

from recsvc.cli.main import main
from recsvc.client import Status
from recsvc.demo.synthetic import Size, write_dataset
from recsvc.evaluation.data_set import DataSet, read_data_set
from recsvc.evaluation.placements import PLAIN_SPEC, plain
from recsvc.evaluation.private_world import Served, World, private_world
from recsvc.evaluation.rankers import Lessons, gather_examples
from recsvc.recommend.index.directory import open_index
from recsvc.recommend.index.published import newest
from recsvc.training.als import AlsParameters
from recsvc.training.examples import Examples

pytestmark = pytest.mark.e2e

SIZE: Final = Size(users=60, films=80, ratings=2_000)
ALS: Final = AlsParameters(iterations=5)

# What only the test part has: a user, a film, a film that a known user rates, and ratings of a film that is counted.
USER, FILM, WORD = "8001", "9001", "Canary"
KNOWN = "1"
MOMENT = 2e9
"""When all of that is; later than any rating of the made-up data."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small made-up data set."""
    path = tmp_path_factory.mktemp("small")
    write_dataset(path, seed=3, size=SIZE)
    return path


def run(directory: Path, *words: str) -> int:
    """Run the command."""
    return main(["evaluate", "--data", str(directory), *words])


def test_figures_come_with_their_protocol(directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both splits print protocol and tables, nothing is degraded, and k-NN through the server is exact scoring."""
    file = tmp_path / "figures.json"
    assert run(directory, "--seeds", "0", "--k", "5", "--json", str(file)) == 0
    printed = capsys.readouterr().out
    for words in ("k = 5", "random split: 25%", "never a sample", "temporal split", "warm users", "cold users"):
        assert words in printed
    assert "degraded" not in printed
    figures = json.loads(file.read_text())
    random, temporal = figures["random"]["seeds"][0]["scores"], figures["temporal"]
    assert random["retrieval: k-NN alone"] == pytest.approx(random["exact scoring (numpy)"], abs=1e-9)
    assert temporal["users"]["warm"] + temporal["users"]["cold"] == temporal["users"]["all"]
    assert {"retrieval order", "linear ranker", "trees ranker"} < temporal["scores"]["warm"].keys()
    difference = temporal["ndcg_differences"]["warm"]["popularity (numpy)"]["full placement"]
    assert difference["low"] <= difference["mean"] <= difference["high"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "0-x"], "--seeds '0-x' is not A-B"),
        (["--seeds", "4-2"], "names 0 seeds, there must be 1 to 100"),
        (["--k", "0"], "--k 0: must be from 1 to 100"),
    ],
)
def test_mistakes_are_one_line(
    directory: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong words are told before anything is trained."""
    assert run(directory, *words) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_directory_without_data_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The missing file is named."""
    assert run(tmp_path) == 1
    assert "must have one file *.inter" in capsys.readouterr().err


class Planted:
    """The small data set with a canary: ratings at MOMENT, of which the training part must not know."""

    def __init__(self, directory: Path, target: Path) -> None:
        bare = read_data_set(directory)
        seen = bare.pairs(np.ones(len(bare), np.bool_))[bare.users.index(KNOWN)]
        self.unseen = bare.items[int(np.flatnonzero(~seen & bare.pairs(np.ones(len(bare), np.bool_)).any(axis=0))[0])]
        pairs = [(USER, FILM), (KNOWN, FILM), (KNOWN, self.unseen), *((user, self.unseen) for user in bare.users[1:])]
        lines = {
            "inter": [f"{user}\t{film}\t5\t{MOMENT}" for user, film in pairs],
            "item": [f"{FILM}\t{WORD}\t1999\tComedy"],
            "user": [f"{USER}\t99\tF\t{WORD}\t1"],
        }
        for kind, more in lines.items():
            text = (directory / f"made_up.{kind}").read_text(encoding="utf-8")
            (target / f"planted.{kind}").write_text(text + "\n".join(more) + "\n", encoding="utf-8")
        self.data: DataSet = read_data_set(target)
        self.canary = self.data.times == MOMENT
        number = self.data.item_numbers[self.unseen]
        self.count = int(np.count_nonzero((self.data.item_of == number) & ~self.canary))
        """How often the film that is counted was rated before."""


@pytest.fixture
def planted(directory: Path, tmp_path: Path) -> Planted:
    """The canary."""
    return Planted(directory, tmp_path)


@asynccontextmanager
async def world_of(planted: Planted, *, leaky: bool) -> AsyncIterator[World]:
    """Serve what came before the canary; ``leaky``: and the canary."""
    train = ~planted.canary | leaky
    async with private_world(planted.data, train, ALS, Served(plain, PLAIN_SPEC)) as world:
        yield world


async def leaks(world: World, planted: Planted) -> Mapping[str, Any]:
    """Look everywhere for the canary: what was found, by where."""
    found = {
        "store": await in_store(world),
        "features": await in_features(world),
        "popularity": await in_popularity(world, planted),
        "seen": await in_seen(world, planted),
        "indexes": in_indexes(world),
        "embeddings": sorted({USER, FILM} & {*world.embeddings.users, *world.embeddings.items}),
        "slates": await in_slates(world),
    }
    return {where: what for where, what in found.items() if what}


async def in_store(world: World) -> list[str]:
    """Return keys of rows that are of the canary, or have its word in them."""
    found = []
    async with redis.asyncio.Redis.from_url(world.redis_url) as client:
        async for key in client.scan_iter(count=1_000):
            # As the server writes a dump of it: whatever kind of value it is, words in it stand as they are.
            value = await client.dump(key) or b""
            if any(name.encode() in key for name in (USER, FILM)) or WORD.encode() in value:
                found.append(key.decode(errors="replace"))
    return found


async def in_features(world: World) -> list[str]:
    """Return views that know the user, the film, or a pair of them."""
    features = ["profile:age", "activity:rating_mean", "taste:genre_preference", "history:items", "user_als:vector"]
    features += ["film:title", "film_stats:rating_count", "film_als:vector", "rated:rated"]
    row = await world.client.get_features({"user_id": USER, "item_id": FILM}, features=features, event_times=True)
    late = [name for name in features if (row[name].event_time_micros or 0) > world.end.timestamp() * 1e6]
    return [name for name in features if row[name].status is not Status.NOT_FOUND] + late


async def in_popularity(world: World, planted: Planted) -> list[str]:
    """Say whether the ratings of the canary are counted."""
    row = await world.client.get_features({"item_id": planted.unseen}, features=["film_stats:rating_count"])
    count = row["film_stats:rating_count"].value
    return [] if count == planted.count else [f"{count} ratings, there were {planted.count}"]


async def in_seen(world: World, planted: Planted) -> list[str]:
    """Return where the known user is said to have seen what was rated only with the canary."""
    lists = ["activity:recent_items", "history:items"]
    row = await world.client.get_features(
        {"user_id": KNOWN, "item_id": planted.unseen}, features=[*lists, "rated:rated"]
    )
    slate = await world.client.recommend("home", KNOWN, limit=SIZE.films)
    wrong = {name: bool({int(FILM), int(planted.unseen)} & set(as_list(row[name].value))) for name in lists}
    wrong["rated:rated"] = bool(row["rated:rated"].value)
    wrong["left out of the slate"] = planted.unseen not in {item.id for item in slate}
    return [name for name, there in wrong.items() if there]


def as_list(value: object) -> Sequence[object]:
    """Return the value of a list feature."""
    assert isinstance(value, tuple)
    return value


def in_indexes(world: World) -> list[str]:
    """Return the indexes that have the film."""
    roots = sorted(world.indexes.iterdir())
    assert roots
    return [root.name for root in roots if FILM in open_index(newest(root) or root).ids]


async def in_slates(world: World) -> list[str]:
    """Return the placements that recommend the film, to anybody at all."""
    slates = [
        (name, await world.client.recommend(name, user, limit=SIZE.films + 1))
        for name in plain.placements
        for user in (USER, KNOWN, "2", None)
    ]
    return sorted({name for name, slate in slates if FILM in {item.id for item in slate}})


async def test_the_canary_is_nowhere(planted: Planted) -> None:
    """No key, served value, count, list of what was seen, index, embedding or slate knows of the test part."""
    async with world_of(planted, leaky=False) as world:
        assert await leaks(world, planted) == {}


async def test_the_canary_would_be_found(planted: Planted) -> None:
    """Where the test part leaks, each of the places that the test above looks at tells."""
    async with world_of(planted, leaky=True) as world:
        found = await leaks(world, planted)
    assert set(found) == {"store", "features", "popularity", "seen", "indexes", "embeddings", "slates"}
    assert len(found["seen"]) == 4
    assert set(found["indexes"]) == {"als", "alike", "genres"}


def _silent(what: str, done: int = 0, total: int | None = None) -> None:
    """Take what is being done, and say nothing."""


async def examples_of(planted: Planted, *, leaky: bool) -> Examples:
    """Return what rankers are trained on."""
    train = ~planted.canary | leaky
    return await gather_examples(planted.data, train, Lessons(ALS, 1.0, moments=(0.9,)), _silent)


def traces(examples: Examples, planted: Planted) -> list[str]:
    """Return what the examples have of the canary."""
    counts = examples.matrix[:, examples.features.index("film_stats:rating_count")]
    labels = zip(examples.items, examples.labels, _users(examples), strict=True)
    return [
        *(["user"] if USER in examples.users else []),
        *(["count"] if counts[np.array(examples.items) == planted.unseen].max() > planted.count else []),
        *(["label"] if any(one for item, one, user in labels if (user, item) == (KNOWN, planted.unseen)) else []),
    ]


def _users(examples: Examples) -> list[str]:
    return [user for user, rows in zip(examples.users, examples.groups.tolist(), strict=True) for _ in range(rows)]


async def test_models_are_not_trained_on_the_canary(planted: Planted) -> None:
    """Of what rankers learn from, nothing is of the test part; were it there, it would be seen."""
    assert traces(await examples_of(planted, leaky=False), planted) == []
    assert {"user", "label"} <= set(traces(await examples_of(planted, leaky=True), planted))
