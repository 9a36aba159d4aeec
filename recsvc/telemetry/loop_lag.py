"""How late the event loop is: a timer that should fire every so often, and when it does."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from recsvc.telemetry import metrics as m

INTERVAL_S: Final = 0.1


async def watch_loop(metrics: m.Metrics) -> None:
    """Record for ever by how much a timer is late."""
    lag = metrics[m.LOOP_LAG].histogram()
    while True:
        due = time.monotonic() + INTERVAL_S  # uvloop's own clock is to the ms
        await asyncio.sleep(INTERVAL_S)
        lag.record(max(0.0, time.monotonic() - due))
