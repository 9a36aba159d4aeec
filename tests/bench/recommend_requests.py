"""Who asks for slates, so that a part of their candidates' rows is in the cache: users by Zipf's law.

The k-th user stands at the k-th most popular item and calls in proportion to k to the power of -s. A copy of a row is
fresh for the server's --cache-s. With a larger s fewer users make most of the calls, so their candidates are read more
often within that time: s is chosen so that a simulation of the cache over the true candidates has the hit rate that is
wanted at the rate of calls that comes. What the hit rate really was Redis' counters say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from recsvc.pb import serving_pb2 as pb
from recsvc.recommend.index.published import reopen
from tests.bench.read_generator import Bodies
from tests.bench.recommend_definitions import CANDIDATES
from tests.bench.recommend_vectors import Ints, zipf
from tests.bench.recommend_world import World

LIMIT: Final = 10
PLAIN, TOLD = 0, 1
"""Classes of calls; those of the second ask for diagnostics."""
EVERY: Final = 50
"""Every so many-th call is one."""
CALLERS: Final = 5_000
PER_CALLER: Final = 20
"""Items that there are for each user who calls; a small catalogue has fewer of these."""
CALLS: Final = 10_000
"""Requests that there are, before they come again; a multiple of EVERY."""
CACHE_S: Final = 5.0
"""The server's own setting."""
JITTER: Final = 0.055
"""By how much copies are fresh for less, in the mean."""
MOST: Final = 3.0
"""The largest exponent that is tried."""
STEPS: Final = 9
WINDOWS: Final = 2
"""Lifetimes of a copy that are simulated, after the first."""


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests for slates. ``users``: who calls, by number of the request; ``exponent``: that of their distribution."""

    bodies: Bodies
    users: Ints = field(repr=False)
    exponent: float
    expected: float


def candidates(world: World, kind: str) -> Ints:
    """Return the candidates of the users who call, int64[users, 500]: found once by the index, then kept beside it."""
    kept = world.indexes / f"candidates-{kind}.npy"
    if not kept.exists():
        index = reopen(world.indexes / kind, None).index
        assert index is not None
        numbers = np.array(list(index.ids), np.int64)
        allowed = world.items.available[numbers]
        found = [
            index.search(query, CANDIDATES, allowed).places
            for query in world.users.vectors[: min(CALLERS, len(world.items) // PER_CALLER)]
        ]
        np.save(kept, numbers[np.array(found)])
    loaded: Ints = np.load(kept)
    return loaded


def requests(  # noqa: PLR0913  # who calls, how often, and where it is written
    world: World, kind: str, folder: Path, *, rate: float, hits: float, placement: str = "home"
) -> Requests:
    """Return requests that find ``hits`` of their candidates in the cache where they come at ``rate`` per second.

    0: every request wants all rows from Redis.
    """
    of = candidates(world, kind)
    rng = np.random.default_rng(4)
    if hits <= 0.0:
        return _written(folder, f"{placement}_{kind}", rng.permutation(CALLS) % len(of), 0.0, 0.0)
    low, high = 0.0, MOST
    for _ in range(STEPS):
        exponent = (low + high) / 2
        if simulated(of, _drawn(len(of), exponent), rate) < hits:
            low = exponent
        else:
            high = exponent
    users = _drawn(len(of), high)
    return _written(folder, f"{placement}_{kind}", users, high, simulated(of, users, rate))


def _drawn(users: int, exponent: float) -> Ints:
    return np.random.default_rng(5).choice(users, size=CALLS, p=zipf(users, exponent)).astype(np.int64)


def simulated(of: Ints, users: Ints, rate: float, lifetime_s: float = CACHE_S * (1 - JITTER)) -> float:
    """Return which part of the candidates is fresh in the cache, once it has what it can have."""
    read_at = np.full(int(of.max()) + 1, -np.inf)
    begin = min(round(rate * CACHE_S), len(users) // 2)
    missed = 0
    for number, user in enumerate(users[: begin + WINDOWS * round(rate * CACHE_S) + 1].tolist()):
        now, rows = number / rate, of[user]
        old = rows[now - read_at[rows] >= lifetime_s]
        read_at[old] = now
        missed += len(old) if number >= begin else 0
        calls = number + 1 - begin
    return float(1.0 - missed / (calls * of.shape[1]))


def _written(folder: Path, placement: str, users: Ints, exponent: float, expected: float) -> Requests:
    path = folder / f"{placement}-{exponent:.4f}"
    return Requests(Bodies.write(path, _bodies(placement, users, fresh=expected <= 0)), users, exponent, expected)


def _bodies(placement: str, users: Ints, *, fresh: bool) -> Iterator[tuple[int, bytes]]:
    for number, user in enumerate(users.tolist()):
        told = number % EVERY == 0
        message = pb.RecommendRequest(placement=placement, user_id=str(user), limit=LIMIT)
        if told:
            message.explain = pb.EXPLAIN_LEVEL_DIAGNOSTICS
        if fresh:
            message.max_staleness.SetInParent()
        yield (TOLD if told else PLAIN), message.SerializeToString()
