"""How much memory the server has after it was asked for millions of different keys: what its cache's bound allows.

The keys are of users that do not exist, which is remembered too. The bound is small, so that it is reached early; from
then on memory must not grow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsvc.pb import serving_pb2 as pb
from tests.bench.read_generator import Pressure
from tests.bench.read_process import recsvc_server
from tests.bench.read_stand import BATCH, SERVICE, Calls, Stand
from tests.bench.read_values import DEFINITIONS, Ints, batch_request, ensure_whole
from tests.bench.report import Expectation, Figures, Relation, Report, rounded, table

ROWS: Final = 1_000
CACHE_MB: Final = 32
STEPS: Final = 10
SETTLED: Final = 5
"""After so many steps the bound was reached long ago, and memory must not have grown since."""
FLAT: Final = 1.05
IN_FLIGHT: Final = 4
MB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many keys."""

    keys: int = 10_000_000


SIZES: Final[Mapping[str, Sizes]] = {"full": Sizes(), "quick": Sizes(2_000_000), "tiny": Sizes(20_000)}


async def measure(sizes: Sizes) -> Report:
    """Ask for all keys, and look at the memory ten times."""
    with (
        Stand.up() as stand,
        recsvc_server(DEFINITIONS, stand.redis.url, stand.cores.server, cache_mb=CACHE_MB) as server,
    ):
        warm = _calls(stand, np.arange(ROWS).reshape(1, -1))
        stand.run(server, warm, Pressure(calls=50))
        resident = [server.rss_bytes()]
        per_step = sizes.keys // STEPS // ROWS
        for step in range(STEPS):
            first = 1_000_000 + step * per_step * ROWS
            calls = _calls(stand, np.arange(first, first + per_step * ROWS).reshape(-1, ROWS))
            done = stand.run(server, calls, Pressure(IN_FLIGHT, calls=per_step, keep=max(1, per_step // 3), most=3))
            assert done.keys_read == done.asked, f"Redis read {done.keys_read} keys, {done.asked} were asked for"
            resident.append(server.rss_bytes())
    return report(per_step * ROWS, resident, stand.repeats)


def _calls(stand: Stand, users: Ints) -> Calls:
    return Calls(SERVICE + BATCH, stand.bodies("unknown", map(batch_request, users)), ROWS, _check)


def _check(_number: int, reply: bytes) -> set[int]:
    """Fail where an answer says anything but that nobody is known."""
    message = pb.GetFeaturesBatchResponse.FromString(reply)
    ensure_whole(message.degraded)
    assert {status for column in message.columns for status in column.statuses} == {pb.FEATURE_STATUS_NOT_FOUND}
    return {source for column in message.columns for source in column.sources}


def report(per_step: int, resident: list[int], notes: Sequence[str]) -> Report:
    """Return the table."""
    shown = table(f"Resident memory, cache of {CACHE_MB} MB", "keys asked for", "MB", "more than at first, MB")
    for step, size in enumerate(resident):
        shown.add_row(f"{step * per_step:,}", f"{size / MB:,.1f}", f"{(size - resident[0]) / MB:,.1f}")
    # The most of each half: a kernel that takes back idle pages makes single figures smaller than what is used.
    ratio = max(resident[SETTLED + 1 :]) / max(resident[: SETTLED + 1])
    name = f"most memory up to {STEPS * per_step:,} keys / up to {SETTLED * per_step:,}"
    figures: Figures = {
        "cache_mb": CACHE_MB,
        "keys_per_step": per_step,
        "rss_mb": [rounded(size / MB) for size in resident],
    }
    return Report("memory", [shown], figures, [Expectation(name, ratio, Relation.AT_MOST, FLAT)], notes)
