"""A server in the test's own process, and what goes with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recsvc.app import App
from recsvc.config import Settings
from recsvc.telemetry.counters import Counters
from tests.rpc.calling import Caller
from tests.rpc.rows import Rows

SPEC = str(Path(__file__).with_name("definitions.py"))


def settings(url: str, **others: object) -> Settings:
    """Return settings for tests: a free port, a stop without delay, and all the time that a busy machine may take.

    Without copies of rows: what a test puts into the store is what the next call reads.
    """
    usual = {"listen": "127.0.0.1:0", "redis": url, "lame_duck_s": 0.0, "refuse_s": 0.0, "redis_timeout_ms": 2_000}
    usual |= {
        "recommend_target_ms": 60_000,
        "default_deadline_ms": 10_000,
        "cache_s": 0.0,
        "stale_if_error_s": 0.0,
        "breaker_slow_ms": 10_000,
    }
    return Settings(**(usual | others))  # type: ignore[arg-type]  # by their names


@dataclass(frozen=True)
class Served:
    """A running server, what it reads from, and someone who calls it."""

    app: App
    caller: Caller
    rows: Rows

    @property
    def counters(self) -> Counters:
        """What the server has counted."""
        return self.app._readers.counters
