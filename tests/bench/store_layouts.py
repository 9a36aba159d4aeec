"""The users whose memory is measured, and the ways to keep them in Redis that are compared."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from recsvc import FLOAT64, INT64, STRING, TIMESTAMP, VECTOR, Entity, Feature, FeatureView, Registry
from recsvc.online.keys import KeyMaker
from recsvc.online.row import RowCodec, Values

DIMENSION: Final = 32
OCCUPATIONS: Final = ("student", "engineer", "educator", "writer", "administrator", "programmer", "librarian", "other")
TTL_S: Final = 14 * 86_400

Command = tuple[str | bytes | int, ...]
Packed = tuple[FeatureView, list[bytes], list[bytes]]
"""A view with the keys and rows of all users."""


def views() -> tuple[FeatureView, ...]:
    """Return one view for each pace; all have a TTL, twice their freshness and once more."""
    user = Entity("user", "user_id", INT64)
    profile = [Feature("age", INT64), Feature("occupation", STRING[64])]
    activity = [
        Feature("rating_count_7d", INT64),
        Feature("rating_mean_30d", FLOAT64),
        Feature("last_rating_at", TIMESTAMP),
        Feature("most_active_hour", INT64),
    ]
    taste = [Feature("genre_preference", VECTOR[DIMENSION])]
    return (
        FeatureView("profile", [user], profile, freshness=timedelta(days=7)),
        FeatureView("activity", [user], activity, freshness=timedelta(hours=1)),
        FeatureView("taste", [user], taste, freshness=timedelta(days=1)),
    )


@dataclass(frozen=True, slots=True)
class Users:
    """Made-up users: ids of eight digits, values by feature (the vectors are n × 32 FLOAT32, moments µs since 1970)."""

    ids: list[str]
    now_micros: int
    values: Mapping[str, npt.NDArray[np.generic]]

    @classmethod
    def make(cls, n: int) -> Users:
        """Make ``n`` users; the same for the same n, but for the time."""
        random = np.random.default_rng(7)
        now = time.time_ns() // 1000
        ratings = random.integers(5, 60, n)
        values: dict[str, npt.NDArray[np.generic]] = {
            "age": random.integers(16, 80, n),
            "occupation": np.array(OCCUPATIONS)[random.integers(0, len(OCCUPATIONS), n)],
            "rating_count_7d": random.poisson(9, n),
            "rating_mean_30d": random.integers(2 * ratings, 5 * ratings) / ratings,
            "last_rating_at": now - random.integers(0, 7 * 86_400_000_000, n),
            "most_active_hour": random.integers(0, 24, n),
            "genre_preference": (random.standard_normal((n, DIMENSION)) / 5).astype(np.float32),
        }
        return cls([str(10_000_000 + 7 * i) for i in random.permutation(n).tolist()], now, values)

    def packed(self) -> list[Packed]:
        """Return our rows."""
        times = np.full(len(self.ids), self.now_micros)
        registry = Registry(views=views())
        found = []
        for view in registry.views.values():
            columns = [(self._encodable(f.name), None) for f in view.features]
            rows = RowCodec(registry.schema(view)).encode(times, times, columns)
            found.append((view, KeyMaker(view).keys([self.ids]), rows))
        return found

    def _encodable(self, name: str) -> Values:
        values = self.values[name]
        return [text.encode() for text in values.tolist()] if name == "occupation" else values

    def texts(self, *, short: bool) -> dict[str, list[str]]:
        """Return every value as JSON; see store_memory for what the ``short`` text of a vector is."""
        vectors = self.values["genre_preference"]
        texts = {n: list(map(json.dumps, v.tolist())) for n, v in self.values.items() if v is not vectors}
        if short:
            numbers = vectors.astype("U16").tolist()
            texts["genre_preference"] = [f"[{', '.join(of_user)}]" for of_user in numbers]
        else:
            texts["genre_preference"] = list(map(json.dumps, vectors.tolist()))
        return texts


def json_strings(users: Users, *, short: bool, twice: bool) -> Iterator[Command]:
    """Keep each feature as a JSON text of its own."""
    for name, texts in users.texts(short=short).items():
        for user, text in zip(users.ids, texts, strict=True):
            yield ("SET", f"fs:user:{user}:{name}:v1", text, "EX", TTL_S)
            if twice:
                yield ("SET", f"fs:user:{user}:{name}:latest", text, "EX", TTL_S)


def hashes(users: Users, *, short: bool) -> Iterator[Command]:
    """Keep each user as a hash of JSON texts."""
    texts = users.texts(short=short)
    return _hashes(users, texts)


def hashes_with_bytes(users: Users) -> Iterator[Command]:
    """Keep each user as a hash of JSON texts, but the vector as the bytes of its numbers."""
    vectors = [vector.tobytes() for vector in users.values["genre_preference"]]
    return _hashes(users, {**users.texts(short=True), "genre_preference": vectors})


def _hashes(users: Users, fields: Mapping[str, list[str] | list[bytes]]) -> Iterator[Command]:
    for user, *values in zip(users.ids, *fields.values(), strict=True):
        named = [part for pair in zip(fields, values, strict=True) for part in pair]
        yield ("HSET", f"fs:user:{user}", *named)
        yield ("EXPIRE", f"fs:user:{user}", TTL_S)
