"""Mistakes in the breaker, its guard, and the second try."""

from __future__ import annotations

from typing import Final

from tests.simulation.findings import Invariant
from tests.simulation.mutant import Mutant

IN_BREAKER: Final = (
    Mutant(
        "no breaker",
        "breaker:Breaker.permit",
        "if self.refuses(now):",
        "if False:",
        Invariant.REFUSED,
    ),
    Mutant(
        "outcomes of an older generation count",
        "breaker:Breaker._ended",
        "permit.generation != self._generation",
        "False",
        Invariant.BREAKER,
    ),
    Mutant(
        "more probes than allowed",
        "breaker:Breaker.refuses",
        ">= self._settings.probes",
        "> self._settings.probes",
        Invariant.REFUSED,
    ),
    Mutant(
        "closed after one good probe",
        "breaker:Breaker._judge_probe",
        ">= self._settings.probes",
        ">= 1",
        Invariant.BREAKER,
    ),
    Mutant(
        "open for ever",
        "breaker:Breaker.refuses",
        "self._rest_left_s(now) > 0",
        "True",
        Invariant.RECOVERS,
    ),
    Mutant(
        "no rest before the first probe",
        "breaker:Breaker._open",
        "self._settings.open_s *",
        "0 *",
        Invariant.BREAKER,
    ),
    Mutant(
        "calls of long ago count",
        "breaker:CallWindow.counts",
        "b.number > oldest",
        "True",
        Invariant.BREAKER,
    ),
    Mutant(
        "opens on too few calls",
        "breaker:Breaker._judge_window",
        "calls < limits.min_calls",
        "calls < 1",
        Invariant.BREAKER,
    ),
    Mutant(
        "slow calls do not open it",
        "breaker:Breaker._judge_window",
        "slow / calls >= limits.slow_share",
        "False",
        Invariant.BREAKER,
    ),
    Mutant(
        "a failed read counts as good",
        "guard:Guarded.read",
        "if rows and all(isinstance(row, Unread) for row in rows):",
        "if False:",
        Invariant.BREAKER,
    ),
    Mutant(
        "an unexpected error is no outcome",
        "guard:Guarded.read",
        "except Exception:",
        "except RuntimeError:",
        Invariant.BREAKER,
    ),
    Mutant(
        "a second try whatever time is left",
        "retry:Retrying._worth_it",
        "until - self._now() >= LEAST_TIME_S",
        "True",
        Invariant.RETRIED,
    ),
    Mutant(
        "a second try after each that fails",
        "retry:Retrying.read",
        "self.retries += 1\n    return await self._inner.read",
        "return await self.read",
        Invariant.RETRIED,
    ),
)
