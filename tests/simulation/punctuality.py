"""How late the loop itself makes things: its lag, and the jumps of its clock."""

from __future__ import annotations

from typing import Final

from tests.simulation.loop import VirtualLoop

LAG_SLACK_S: Final = 0.005
"""More than all callbacks that are ready together take."""
ROUNDING_S: Final = 1e-9


class Punctuality:
    """What may be asked of anything that runs on a loop."""

    def __init__(self, loop: VirtualLoop, *, lags: bool) -> None:
        self.slack_s = LAG_SLACK_S if lags else ROUNDING_S
        self._jumps = loop.jumped

    def __repr__(self) -> str:
        return f"Punctuality(slack {self.slack_s} s, {len(self._jumps)} jumps)"

    def latest(self, due: float) -> float:
        """Return by when what is due at a time has happened: after a jump that goes over it."""
        for begin, end in self._jumps:
            if begin <= due + self.slack_s:
                due = max(due, end)
        return due + self.slack_s

    def jumped(self, begin: float, end: float) -> bool:
        """Say whether the clock jumped at some time between."""
        return any(until >= begin and at <= end for at, until in self._jumps)
