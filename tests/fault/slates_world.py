"""The shop of the drill on slates: its items and users, derived from numbers, and their rows, indexes and model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import redis

from recsvc.online.keys import KeyMaker
from recsvc.online.row import RowCodec, pack_strings
from recsvc.recommend.index.directory import write
from recsvc.recommend.index.exact import ExactIndex
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.published import publish
from recsvc.recommend.index.table import vector_table
from recsvc.recommend.ranking.bundle import write_bundle
from recsvc.recommend.ranking.linear import LinearModel
from recsvc.registry.model import FeatureView
from recsvc.registry.schema import Schema
from tests.fault.slates_definitions import DIMENSION, INDEX, RANKER, SERVICE, goods, met, registry, taste, trend

Bools = npt.NDArray[np.bool_]
CATEGORIES: Final = ("book", "film", "game", "song", "tool", None)
TAGS: Final = ("red", "blue", "new", "old")
FEATURES: Final = {"category": 5, "tags": 7, "price": 11, "fragile": 13}
"""Every so-many-th item has no value of the feature."""
_CHUNK: Final = 5_000
_HOUR: Final = 3_600_000_000
_WEIGHTS: Final = (0.4, -1.0, 0.1)


def item_id(number: int) -> str:
    """Return the id of an item."""
    return f"i{number}"


def item_number(text: str) -> int:
    """Return the number in an item's id."""
    return int(text[1:])


@dataclass(frozen=True, slots=True)
class User:
    """What is known of a user. ``pairs``: items that are seen by the view of user and item."""

    embedding: npt.NDArray[np.float32] | None
    recent: Sequence[int]
    owned: Sequence[int]
    pairs: frozenset[int]


class World:
    """So many items, and users 0 to ``users`` - 1; whoever has a higher number is known to nobody."""

    def __init__(self, items: int, users: int, seed: int = 5) -> None:
        numbers = np.arange(items)
        random = np.random.default_rng(seed)
        self.items, self.users = items, [_user(random, items, k) for k in range(users)]
        self.category = numbers * 7 % len(CATEGORIES)
        """Which of CATEGORIES; the last is none."""
        self.tags = numbers * 5 % 16
        """A bit for each of TAGS."""
        self.price = numbers * 13 % 200 * 0.75
        self.fragile = numbers % 3 == 0
        self.popularity = 1e6 / (1.0 + random.permutation(items))
        self.created = time.time_ns() // 1_000 - numbers * _HOUR
        self.vectors = random.normal(size=(items, DIMENSION)).astype(np.float32)
        self.at_first = numbers % 10 != 9
        """Which are available before anything changes."""

    def __repr__(self) -> str:
        return f"World({self.items} items, {len(self.users)} users)"

    def has(self, feature: str) -> Bools:
        """Say which items have a value of a filterable feature."""
        there: Bools = np.arange(self.items) % FEATURES[feature] != FEATURES[feature] - 1
        return there & (self.category < len(CATEGORIES) - 1) if feature == "category" else there

    def goods_rows(self, numbers: npt.NDArray[np.int64], available: Bools) -> list[bytes]:
        """Return rows of items as they are now, available or not."""
        names = [CATEGORIES[c] or "" for c in self.category[numbers].tolist()]
        tags = [[t for bit, t in enumerate(TAGS) if held >> bit & 1] for held in self.tags[numbers].tolist()]
        columns: list[tuple[Any, Any]] = [
            (available, None),
            ([n.encode() for n in names], self.has("category")[numbers]),
            (self.created[numbers], None),
            (self.price[numbers], self.has("price")[numbers]),
            ([pack_strings(t) for t in tags], self.has("tags")[numbers]),
            (self.fragile[numbers], self.has("fragile")[numbers]),
        ]
        return encoded(goods, columns)

    def fill(self, client: redis.Redis) -> None:
        """Write all rows, and close the client."""
        everything = np.arange(self.items)
        ids = [[item_id(k) for k in everything.tolist()]]
        known = [k for k in range(len(self.users)) if self.users[k].embedding is not None]
        pairs = [(k, i) for k in known for i in sorted(self.users[k].pairs)]
        rows = dict(zip(KeyMaker(goods).keys(ids), self.goods_rows(everything, self.at_first), strict=True))
        rows |= zip(KeyMaker(trend).keys(ids), encoded(trend, [(self.popularity, None)]), strict=True)
        rows |= zip(KeyMaker(taste).keys([[str(k) for k in known]]), self._taste_rows(known), strict=True)
        seen = encoded(met, [(np.ones(len(pairs), np.bool_), None)])
        rows |= zip(KeyMaker(met).keys([[str(k) for k, _ in pairs], [item_id(i) for _, i in pairs]]), seen, strict=True)
        with client:
            keys = list(rows)
            for start in range(0, len(keys), _CHUNK):
                client.mset({key: rows[key] for key in keys[start : start + _CHUNK]})

    def _taste_rows(self, known: Sequence[int]) -> list[bytes]:
        users = [self.users[k] for k in known]
        lists = [[pack_strings([item_id(i) for i in held]) for held in (u.recent, u.owned)] for u in users]
        columns: list[tuple[Any, Any]] = [
            (np.array([u.embedding for u in users]), None),
            ([recent for recent, _ in lists], None),
            ([owned for _, owned in lists], None),
            (np.arange(len(users)), None),
        ]
        return encoded(taste, columns)

    def publish_index(self, root: Path, version: str, seed: int, *, of: str = "items") -> Path:
        """Write a version of the index and make it current. ``of``: items, strangers, or vectors of another width."""
        random = np.random.default_rng(seed)
        chosen = random.permutation(self.items)[: self.items * 9 // 10]
        ids = [item_id(k) if of == "items" else f"x{k}" for k in chosen.tolist()]
        vectors = self.vectors[chosen]
        if of == "narrow":
            ids, vectors = [item_id(k) for k in chosen.tolist()], vectors[:, : DIMENSION // 2]
        index = ExactIndex(vector_table(ids, vectors, Metric.INNER_PRODUCT), version=version)
        write(root / INDEX, index, vectors[:8])
        publish(root / INDEX, version)
        return root / INDEX / version


def write_model(root: Path) -> None:
    """Write the linear model into a directory of models."""
    model = LinearModel(0.0, _WEIGHTS, (100.0, 70.0, 40.0), (1_000.0, 40.0, 20.0))
    rows = np.random.default_rng(3).normal(size=(4, len(_WEIGHTS)))
    write_bundle(root / RANKER, model, name=RANKER, version="1", service=SERVICE, registry=registry, warm_up=rows)


def encoded(view: FeatureView, columns: Sequence[tuple[Any, Any]]) -> list[bytes]:
    """Return rows of a view, written now."""
    now = np.full(len(columns[0][0]), time.time_ns() // 1_000)
    return RowCodec(Schema.of(view.features)).encode(now, now, columns)


def keys_of(view: FeatureView, numbers: Sequence[int]) -> list[bytes]:
    """Return the keys of items' rows."""
    return KeyMaker(view).keys([[item_id(k) for k in numbers]])


def _user(random: np.random.Generator, items: int, number: int) -> User:
    """Return a user; every tenth has no row. The popular are met more often, as everywhere."""
    if number % 10 == 9:
        return User(None, (), (), frozenset())
    drawn = random.permutation(items)
    pairs = frozenset(drawn[40 : 40 + random.integers(0, items // 20)].tolist())
    owned = drawn[: random.integers(0, 40)].tolist()
    return User(random.normal(size=DIMENSION).astype(np.float32), owned[:8], owned, pairs)
