"""What the commands of all benchmarks do once they know what is asked: measure one after the other, and publish."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable

import pytest
import uvloop

from tests.bench.report import Figures, Report, machine, publish


def run(benchmark: str, measure: Iterable[Callable[[], Awaitable[Report]]], settings: Figures) -> int:
    """Measure and publish; returns the exit status, which expectations have no part in: 1 where a part is missing."""

    async def measured() -> None:
        began = machine()
        publish(benchmark, [await one() for one in measure], began, settings)

    try:
        uvloop.run(measured())
    except (pytest.skip.Exception, pytest.fail.Exception) as missing:
        print(f"cannot run: {missing}", file=sys.stderr)
        return 1
    return 0
