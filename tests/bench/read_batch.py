"""What a row costs as the batch grows: GetFeaturesBatch for 1, 10, 100 and 1,000 users × 10 features; it must fall.

From Redis (every user is asked for once in the whole run) and from the cache, with 8 calls in flight, in turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from tests.bench.read_generator import Pressure
from tests.bench.read_process import recsvc_server
from tests.bench.read_stand import BATCH, SERVICE, SPARE, Calls, Measured, Series, Stand
from tests.bench.read_values import DEFINITIONS, Ints, batch_request, check_batch, load
from tests.bench.report import Expectation, Figures, Relation, Report, rounded, table

CALLS: Final = {1: 2_000, 10: 1_000, 100: 250, 1_000: 40}
"""Rows of a call, and how many calls a burst has."""
LARGEST: Final = max(CALLS)
IN_FLIGHT: Final = 8
CONNECTIONS: Final = 2
READ: Final = "Redis"
HIT: Final = "hit"


@dataclass(frozen=True, slots=True)
class Sizes:
    """``scale`` multiplies the calls of a burst."""

    scale: float = 1.0
    rounds: int = 5

    def calls(self, rows: int) -> int:
        """How many calls of so many rows a burst has."""
        return max(4, round(CALLS[rows] * self.scale))


SIZES: Final[Mapping[str, Sizes]] = {"full": Sizes(), "quick": Sizes(0.5, 2), "tiny": Sizes(0.01, 1)}


async def measure(sizes: Sizes) -> Report:
    """Measure all lengths."""
    with Stand.up() as stand:
        contenders, users = _contenders(stand, sizes)
        await load(stand.redis.url, users, views=1)
        measured: dict[tuple[str, int], list[Measured]] = {name: [] for name in contenders}
        with recsvc_server(DEFINITIONS, stand.redis.url, stand.cores.server) as server:
            for number in range(-1, sizes.rounds):
                for name, calls in contenders.items():
                    count = sizes.calls(name[1])
                    pressure = Pressure(IN_FLIGHT, CONNECTIONS, calls=count, keep=max(1, count // 3), most=3)
                    done = stand.run(server, calls, pressure)
                    if number >= 0:
                        measured[name].append(done)
    return report({name: Series(tuple(every)) for name, every in measured.items()}, stand.repeats)


def _contenders(stand: Stand, sizes: Sizes) -> tuple[dict[tuple[str, int], Calls], int]:
    """Return all calls, and how many users they need; the hot ones come first."""
    found, first = {}, LARGEST
    for rows in CALLS:
        count = sizes.calls(rows) * (sizes.rounds + 1 + SPARE)
        users = np.arange(first, first + count * rows).reshape(-1, rows)
        found[READ, rows] = _calls(stand, f"{READ}-{rows}", users)
        first += count * rows
        hot = np.arange(rows).reshape(1, -1)
        found[HIT, rows] = _calls(stand, f"{HIT}-{rows}", hot)
        found[HIT, rows].primer = stand.bodies(f"primer-{rows}", iter([batch_request(hot[0], fresh=True)]))
    return found, first


def _calls(stand: Stand, name: str, users: Ints) -> Calls:
    bodies = stand.bodies(name, (batch_request(row) for row in users))
    return Calls(SERVICE + BATCH, bodies, users.shape[1], lambda n, reply: check_batch(reply, users[n], 1))


def report(found: Mapping[tuple[str, int], Series], notes: Sequence[str]) -> Report:
    """Return the table."""
    shown = table(
        f"Cost per row of GetFeaturesBatch, rows × 10 features, {IN_FLIGHT} in flight", "rows, from",
        "CPU µs/row", "CPU µs/call", "calls/s", "p50 ms", "p99 ms",
    )  # fmt: skip
    figures: Figures = {}
    for (path, rows), series in found.items():
        if path == READ:
            read, asked = series.keys_read
            assert read == asked, f"{rows} rows: Redis read {read} keys, {asked} were asked for"
        per_row = series.cpu_us / rows
        shown.add_row(
            f"{rows:,}, {path}", f"{per_row:,.2f}", f"{series.cpu_us:,.0f}", f"{series.per_s:,.0f}",
            f"{series.p50:.2f}", f"{series.p99:.2f}",
        )  # fmt: skip
        figures[f"{rows} rows, {path}"] = {"cpu_us_per_row": rounded(per_row), **series.figures()}
    return Report("batch", [shown], figures, list(_expectations(found)), notes)


def _expectations(found: Mapping[tuple[str, int], Series]) -> Iterator[Expectation]:
    for path in (READ, HIT):
        for shorter, longer in pairwise(CALLS):
            ratio = (found[path, longer].cpu_us / longer) / (found[path, shorter].cpu_us / shorter)
            yield Expectation(f"CPU per row, {path}: {longer:,} / {shorter:,} rows", ratio, Relation.BELOW, 1)
