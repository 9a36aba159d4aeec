"""Impressions to write, and a sink that does what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import numpy as np

from recsvc.online.answer import Column, Source, Status
from recsvc.recommend.experiments import AssignedBy, Assignment
from recsvc.recommend.impressions import Impression, ShownItem
from recsvc.registry.types import FLOAT64

SESSION = UUID("017f22e2-79b0-7cc3-98c4-dc0c0c07398f")


def uniform(values: Sequence[float]) -> Column:
    """Make a column of numbers that are all there."""
    present = np.array([Status.PRESENT], np.uint8)
    return Column(FLOAT64, np.array(values, np.float64), present, np.array([Source.CACHE], np.uint8))


def impression(number: int = 0, *, items: int = 2) -> Impression:
    """Make the impression of a reply; ``number`` tells it from others."""
    return Impression(
        UUID(int=SESSION.int + number),
        SESSION,
        1_800_000_000_000_000 + number,
        "home",
        [ShownItem(str(i), i + 1, 1 / (i + 1), ("popular", "nearest")) for i in range(items)],
        user={"user_id": "196"},
        assignments=(Assignment("ranker", "trees", AssignedBy.HASHED),),
        features={"film:age": uniform([float(i) for i in range(items)])},
    )


class HeldSink:
    """A sink whose writes end when the test says so, or at once."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[Impression]] = []
        self.closes = 0
        self.fails: Exception | None = None
        self.cancelled = 0
        self._go = asyncio.Event()
        if not held:
            self._go.set()

    def __repr__(self) -> str:
        return "HeldSink()"

    @property
    def kept(self) -> list[Impression]:
        """All impressions whose writing began, in their order."""
        return [i for batch in self.batches for i in batch]

    def release(self) -> None:
        """Let this write and all after it end."""
        self._go.set()

    def hold(self) -> None:
        """Let the next writes wait."""
        self._go.clear()

    async def write(self, impressions: Sequence[Impression]) -> None:
        """See ImpressionSink.write."""
        assert self.closes == 0
        self.batches.append(list(impressions))
        try:
            await self._go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fails is not None:
            raise self.fails

    async def close(self) -> None:
        """See ImpressionSink.close."""
        self.closes += 1
