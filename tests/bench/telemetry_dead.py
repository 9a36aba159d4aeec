"""What a dead collector changes: nothing for callers, bounded memory, and every lost span counted.

Three servers that trace every call: two whose spans are taken (A and A', for what the machine does by itself), and one
whose spans nobody takes, with the usual queue. All get the same load in turns; latency is that of a rate which leaves
the server half idle.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from statistics import median
from typing import Final

from tests.bench.read_generator import Burst, Pressure
from tests.bench.read_paths import CONNECTIONS, IN_FLIGHT, SINGLE_HIT, SIZES, make_calls
from tests.bench.read_process import Server, recsvc_server
from tests.bench.read_stand import Calls, Stand
from tests.bench.read_values import DEFINITIONS, load
from tests.bench.report import Expectation, Figures, Relation, Report, rounded, table
from tests.bench.telemetry_stand import ALL, metric, page, settings, sink, variables

LIVE, AGAIN, DEAD = "taken", "taken, another server", "dead collector"
NOBODY: Final = "http://127.0.0.1:9"
SECONDS: Final = {"full": 10.0, "quick": 5.0, "tiny": 0.5}
FILL_S: Final = {"full": 45.0, "quick": 45.0, "tiny": 0.5}
"""How long the dead one is called before its memory is looked at: its queue is full, its exporter has failed often."""
ROUNDS: Final = {"full": 7, "quick": 5, "tiny": 1}
SHARE: Final = 0.4
"""Of what a server can do, the rate of calls."""
QUEUE: Final = 16_384
GROWTH_MOST: Final = 1.05


@dataclass(slots=True)
class Seen:
    """Of one server: p99 of all rounds in ms, and its memory when the queue was full, and at the end."""

    p99: list[float]
    full_bytes: int = 0
    end_bytes: int = 0


async def measure(scale: str) -> Report:
    """Measure all three in turns."""
    with Stand.up() as stand, sink() as endpoint, contextlib.ExitStack() as stack:
        sizes = SIZES[scale]
        await load(stand.redis.url, sizes.first_row, views=1)
        calls = make_calls(stand, sizes)[SINGLE_HIT.name]
        servers = {
            name: stack.enter_context(_server(stand, NOBODY if name == DEAD else endpoint))
            for name in (LIVE, AGAIN, DEAD)
        }
        rate = SHARE * _most(stand, servers[LIVE], calls, SECONDS[scale])
        for server in servers.values():
            _most(stand, server, calls, SECONDS[scale])
        _calls_at(stand, servers[DEAD], calls, rate, FILL_S[scale])
        seen = {name: Seen([], server.rss_bytes()) for name, server in servers.items()}
        for _ in range(ROUNDS[scale]):
            for name, server in servers.items():
                seen[name].p99.append(_calls_at(stand, server, calls, rate, SECONDS[scale]).latency.p99)
        for name, server in servers.items():
            seen[name].end_bytes = server.rss_bytes()
        return report(seen, page(servers[DEAD]), rate)


def _server(stand: Stand, endpoint: str) -> contextlib.AbstractContextManager[Server]:
    usual = {**variables(ALL, endpoint), "OTEL_BSP_MAX_QUEUE_SIZE": str(QUEUE)}
    return recsvc_server(DEFINITIONS, stand.redis.url, stand.cores.server, variables=usual, **settings(ALL))


def _calls_at(stand: Stand, server: Server, calls: Calls, rate: float, seconds: float) -> Burst:
    """Call at random times."""
    pressure = Pressure(connections=CONNECTIONS, rate=rate, seconds=seconds, poisson=True)
    return stand.generator.grpc(server.address, calls.path, calls.bodies, pressure)


def _most(stand: Stand, server: Server, calls: Calls, seconds: float) -> float:
    """Return how many calls a second a server answers."""
    pressure = Pressure(IN_FLIGHT, CONNECTIONS, seconds=seconds)
    burst = stand.generator.grpc(server.address, calls.path, calls.bodies, pressure)
    return burst.calls / burst.seconds


def report(seen: dict[str, Seen], of_dead: str, rate: float) -> Report:
    """Return the table. The spread is that of p99 of the two whose spans are taken, round by round."""
    shown = table(
        f"GetFeatures hits at {rate:,.0f}/s, every call traced",
        "server",
        "p99 ms",
        "least",
        "most",
        "MB",
        "MB at the end",
    )
    for name, one in seen.items():
        shown.add_row(
            name, f"{median(one.p99):.2f}", f"{min(one.p99):.2f}", f"{max(one.p99):.2f}",
            f"{one.full_bytes / 1e6:.0f}", f"{one.end_bytes / 1e6:.0f}",
        )  # fmt: skip
    live = seen[LIVE].p99 + seen[AGAIN].p99
    dropped = metric(of_dead, 'recsvc_telemetry_spans_total{recsvc_result="dropped"}')
    failed = metric(of_dead, 'recsvc_telemetry_spans_total{recsvc_result="failed"}')
    growth = seen[DEAD].end_bytes / seen[DEAD].full_bytes
    expectations = [
        Expectation(
            "dead collector: p99 / most of A and A'", median(seen[DEAD].p99) / max(live), Relation.AT_MOST, 1.0
        ),
        Expectation(
            "dead collector: memory at the end / when the queue was full", growth, Relation.AT_MOST, GROWTH_MOST
        ),
        Expectation("dead collector: spans dropped or failed", dropped + failed, Relation.AT_LEAST, 1),
    ]
    figures: Figures = {
        name: {"p99_ms": [rounded(p99) for p99 in one.p99], "rss": [one.full_bytes, one.end_bytes]}
        for name, one in seen.items()
    }
    figures["dropped"], figures["failed"] = dropped, failed
    notes = [f"dead collector: {dropped:,.0f} spans dropped and {failed:,.0f} failed, all counted"]
    return Report("dead", [shown], figures, expectations, notes)
