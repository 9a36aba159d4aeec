"""How late the event loop is: a timer that should fire every so often, and when it does."""

from __future__ import annotations

import asyncio
from typing import Final

from recsvc.telemetry import metrics as m

INTERVAL_S: Final = 0.1


async def watch_loop(metrics: m.Metrics) -> None:
    """Record for ever by how much a timer is late."""
    lag, loop = metrics[m.LOOP_LAG].histogram(), asyncio.get_running_loop()
    due = loop.time()
    while True:
        due = max(due + INTERVAL_S, loop.time())
        await asyncio.sleep(due - loop.time())
        lag.record(max(0.0, loop.time() - due))
