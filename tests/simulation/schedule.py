"""What one seed means: settings with small bounds, views, calls, the phases of each store node, jumps of the clock."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from recsvc.online.breaker import BreakerSettings, Mode
from recsvc.online.chain import ChainSettings
from recsvc.online.coalesce import CoalesceSettings
from recsvc.online.policy import ViewPolicy
from tests.simulation.store import Behaviour, Phase

VIEWS: Final = 4
HOT_KEYS: Final = 5
"""Keys of each view that many calls ask for; all others are asked for by few calls or one."""
REPEATED: Final = 0.3
"""The share of calls that ask for the keys of an earlier one."""
LIFETIMES_S: Final = (0.0, 0.03, 0.5, 2.0, 5.0, 5.0)
STALE_AGES_S: Final = (0.0, 0.3, 3.0, 300.0)


@dataclass(frozen=True, slots=True)
class CallPlan:
    """A call, ``at`` seconds after the start: keys of each view, and what the caller allows and does."""

    number: int
    at: float
    keys: Mapping[int, Sequence[bytes]]
    max_staleness_s: float | None
    deadline_s: float
    cancelled_after_s: float | None


@dataclass(frozen=True, slots=True)
class Schedule:
    """All that happens in a run. ``jumps``: (at, by). ``routed_after_s``: how long nobody knows the nodes' keys.

    ``replaced_at``: when the cluster's node b is replaced by d. ``holes``: some keys of it are on no node.
    ``closed_at``: when the chain is closed; None: after all calls, and when it was seen to be well.
    """

    seed: int
    settings: ChainSettings
    policies: Sequence[ViewPolicy]
    calls: Sequence[CallPlan]
    phases: Mapping[str, Sequence[Phase]]
    jumps: Sequence[tuple[float, float]]
    shuffles: bool
    lag_s: float
    routed_after_s: float
    replaced_at: float | None
    holes: bool
    closed_at: float | None

    @property
    def end(self) -> float:
        """When the last call has come."""
        return self.calls[-1].at


def schedule(seed: int) -> Schedule:
    """Return the schedule of a seed: always the same one."""
    rng = random.Random(seed)
    settings = _settings(rng)
    policies = [ViewPolicy(life, stale, kept=life > 0 or stale > 0) for life, stale in _ages(rng)]
    calls = _calls(rng)
    end = calls[-1].at
    nodes = ["a", "b", "c", "d"] if rng.random() < 0.35 else ["only"]
    troubled = rng.random() < 0.85
    return Schedule(
        seed,
        settings,
        policies,
        calls,
        {name: _phases(rng, end, troubled=troubled) for name in nodes},
        sorted((_jump_at(rng, calls), _jump_s(rng)) for _ in range(rng.choice((0, 0, 0, 1, 2)))),
        shuffles=rng.random() < 0.3,
        lag_s=0.00002 if rng.random() < 0.3 else 0.0,
        replaced_at=rng.uniform(0, end) if rng.random() < 0.3 else None,
        holes=rng.random() < 0.1,
        closed_at=rng.uniform(0, end + 0.05) if rng.random() < 0.1 else None,
        routed_after_s=rng.uniform(0, 0.1) if len(nodes) > 1 and rng.random() < 0.3 else 0.0,
    )


def _settings(rng: random.Random) -> ChainSettings:
    tight = rng.random() < 0.5
    slots = rng.randint(1, 4)
    return ChainSettings(
        cache_entries=rng.choice((4, 30, 1_000, 1_000)),
        cache_bytes=rng.choice((3_000, 20_000, 1_000_000, 1_000_000)),
        coalesce=CoalesceSettings(
            slots=slots,
            fetches=slots + rng.choice((1, 2, 4) if tight else (8, 28)),
            gather_s=0.001,
            keys_per_fetch=rng.choice((3, 8, 512)),
            timeout_s=0.05,
            waiting_keys=rng.choice((12, 30)) if tight else 1_000,
            waiting_bytes=rng.choice((200, 600)) if tight else 100_000,
            waiting_calls=rng.choice((4, 10)) if tight else 500,
        ),
        breaker=_breaker(rng),
    )


def _breaker(rng: random.Random) -> BreakerSettings:
    return BreakerSettings(
        mode=rng.choices((Mode.AUTO, Mode.OPEN, Mode.CLOSED), (88, 4, 8))[0],
        min_calls=rng.choice((2, 5)),
        open_s=rng.choice((0.1, 0.5)),
        probes=rng.choice((1, 2)),
    )


def _ages(rng: random.Random) -> list[tuple[float, float]]:
    return [(rng.choice(LIFETIMES_S), rng.choice(STALE_AGES_S)) for _ in range(VIEWS)]


def _calls(rng: random.Random) -> list[CallPlan]:
    """Return calls in bursts: those of one come together, and between two lies anything up to seconds."""
    calls: list[CallPlan] = []
    at = 0.0
    for _ in range(rng.randint(2, 6)):
        within = rng.choice((0.0, 0.001, 0.02, 0.2))
        for when in sorted(at + rng.random() * within for _ in range(rng.choice((1, 2, 4, 10)))):
            calls.append(_call(rng, calls, when))
        at = calls[-1].at + rng.choice((0.0, 0.003, 0.04, 0.3, 0.7, 3.0, 5.5)) * rng.uniform(0.8, 1.2)
    return calls


def _call(rng: random.Random, earlier: Sequence[CallPlan], at: float) -> CallPlan:
    repeats = bool(earlier) and rng.random() < REPEATED
    return CallPlan(
        len(earlier),
        at,
        rng.choice(earlier).keys if repeats else _keys(rng),
        rng.choices((None, 0.0, rng.uniform(0, 0.1), rng.uniform(0, 4)), (55, 20, 10, 15))[0],
        rng.choice((0.5, 0.5, 0.2, rng.uniform(0, 0.06))),
        rng.choice((0.0, rng.uniform(0, 0.003), rng.uniform(0, 0.1))) if rng.random() < 0.2 else None,
    )


def _keys(rng: random.Random) -> dict[int, list[bytes]]:
    keys = {}
    for view in rng.sample(range(VIEWS), rng.choice((1, 1, 1, 2, 3))):
        cold = [rng.randrange(100, 100_000) for _ in range(rng.choice((0, 0, 0, 1, 3, 12)))]
        hot = rng.sample(range(HOT_KEYS), rng.choice((0 if cold else 1, 2, HOT_KEYS)))
        keys[view] = [b"v%d:%d" % (view, k) for k in dict.fromkeys(cold + hot)]
    return keys


def _phases(rng: random.Random, end: float, *, troubled: bool) -> list[Phase]:
    if not troubled:
        return [Phase(0.0, Behaviour.HEALTHY)]
    times = [0.0, *sorted(rng.uniform(0, end) for _ in range(rng.randint(0, 4)))]
    kinds = [Behaviour.HEALTHY] * 3 + [*Behaviour]
    return [Phase(at, rng.choice(kinds)) for at, following in pairwise([*times, end + 1]) if following > at]


def _jump_at(rng: random.Random, calls: Sequence[CallPlan]) -> float:
    """Return a time at which a call may wait."""
    return rng.choice(calls).at + rng.choice((0.0, rng.uniform(0, 0.003), rng.uniform(0, 0.05)))


def _jump_s(rng: random.Random) -> float:
    return rng.choice((rng.uniform(0, 0.06), rng.uniform(0, 0.6), rng.uniform(0, 8)))
