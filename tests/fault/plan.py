"""What a load generator is told, and what it brings back: one line per call, as arrays."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from recsvc.client import Source

OK: Final = 0
CANCELLED: Final = -1
"""As a call's code: its caller left."""
REASONS: Final = ("STORE_UNAVAILABLE", "SATURATED", "CIRCUIT_OPEN", "CORRUPT_ROW", "ON_DEMAND_FAILED", "UNSPECIFIED")

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Plan:
    """Calls to a server. ``rate`` is calls per second, whatever becomes of them; 0: ``in_flight`` at a time.

    A call asks for ``rows`` users (1: with GetFeatures), each of the hot ones with probability ``hot_share``, else any
    of ``first`` to ``last`` - 1; hot ones are the first ``hot`` of those. ``deadlines_s`` come in turns. Redis is read
    past all copies in ``past_cache_share`` of the calls; their callers leave in ``cancel_share`` of them; of answers
    with many rows ``checked_share`` are checked. Everything ends after ``calls``, or when it is told to.
    """

    address: str
    first: int
    last: int
    rate: float = 0.0
    in_flight: int = 1
    rows: int = 1
    hot: int = 0
    hot_share: float = 0.0
    deadlines_s: tuple[float, ...] = (0.25,)
    past_cache_share: float = 0.0
    cancel_share: float = 0.0
    checked_share: float = 1.0
    calls: int = 10_000_000
    seed: int = 1

    def text(self) -> str:
        """Return it for a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Self:
        """Read a text that ``text`` gave."""
        given = json.loads(text)
        return cls(**{**given, "deadlines_s": tuple(given["deadlines_s"])})


@dataclass(frozen=True, slots=True, eq=False)
class Calls:
    """Calls in the order in which they ended; times are in seconds, ``sent`` on the machine's monotonic clock."""

    sent: npt.NDArray[np.float64]
    took: npt.NDArray[np.float64]
    deadline: npt.NDArray[np.float64]
    behind: npt.NDArray[np.float64]
    """How much later than planned it was sent: how busy the generator was."""
    code: npt.NDArray[np.int64]
    """gRPC's status, or CANCELLED."""
    wrong: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    from_redis: npt.NDArray[np.int64]
    reasons: npt.NDArray[np.int64]
    """A bit for each of REASONS."""
    sources: npt.NDArray[np.int64]
    """A bit for each Source."""
    user: npt.NDArray[np.int64]
    """The first that was asked for."""

    def __len__(self) -> int:
        return len(self.sent)

    @classmethod
    def of(cls, lines: Iterable[tuple[float, ...]]) -> Self:
        """Take one line per call."""
        names = [f.name for f in fields(cls)]
        columns = np.array(list(lines), np.float64).reshape(-1, len(names)).T
        floats = 4
        return cls(*columns[:floats], *(c.astype(np.int64) for c in columns[floats:]))

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what ``save`` wrote."""
        with np.load(file) as arrays:
            return cls(**{f.name: arrays[f.name] for f in fields(cls)})

    def save(self, file: Path) -> None:
        """Write it to a file."""
        arrays: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        np.savez(file, **arrays)

    def where(self, these: Bools) -> Calls:
        """Return some of them."""
        return Calls(*(getattr(self, f.name)[these] for f in fields(self)))

    def between(self, start: float, end: float) -> Calls:
        """Return those that were sent from ``start`` to before ``end``."""
        return self.where((self.sent >= start) & (self.sent < end))

    @property
    def degraded(self) -> Bools:
        """Which said that something did not work."""
        found: Bools = self.reasons != 0
        return found

    @property
    def hits(self) -> Bools:
        """Which were answered from fresh copies alone (and with defaults of users of whom they say there is no row)."""
        others = (1 << Source.STORE) | (1 << Source.STALE_CACHE)
        copies: Bools = (self.sources & (1 << Source.CACHE) != 0) & (self.sources & others == 0)
        copies &= (self.code == OK) & ~self.degraded
        return copies

    @property
    def failed(self) -> Bools:
        """Which got no answer, though their callers waited for it."""
        found: Bools = (self.code != OK) & (self.code != CANCELLED)
        return found

    @property
    def over(self) -> npt.NDArray[np.float64]:
        """By how much each was longer than its deadline; negative where it was not."""
        return self.took - self.deadline

    def percentile_ms(self, percent: float) -> float:
        """Return how long they took, in milliseconds; NaN where there are none."""
        return float(np.percentile(self.took, percent)) * 1e3 if len(self) else float("nan")
