"""Judges answers about the users of values.py: each value, status, source, event time and flag."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from recsvc.client import FeatureBatch, FeatureRow, Source, Status
from tests.fault.values import NO_ROW, Ids, event_micros, has_row, numbers, ratios, texts

NUMBER: Final = "profile:number"
RATIO: Final = "profile:ratio"
TEXT: Final = "profile:text"
_Fact = tuple[object, Status, Source, int | None]
"""Value, status, source and event time of a feature."""
FROM_REDIS: Final = (Source.STORE, Source.CACHE, Source.STALE_CACHE)


@dataclass(slots=True)
class Seen:
    """What answers said: per row its status and source, and per answer the reasons in `degraded`."""

    wrong: list[str] = field(default_factory=list)
    """What was wrong with rows and answers, each in a line."""
    outcomes: dict[tuple[Status, Source], int] = field(default_factory=dict)
    """How many rows had this status, and this source of `number`."""
    reasons: set[str] = field(default_factory=set)

    @property
    def rows(self) -> int:
        """How many there were."""
        return sum(self.outcomes.values())

    @property
    def from_redis(self) -> int:
        """How many rows had values that once came from Redis."""
        return sum(n for (_, source), n in self.outcomes.items() if source in FROM_REDIS)

    @property
    def sources(self) -> set[Source]:
        """The sources of `number` that there were."""
        return {source for _, source in self.outcomes}

    @property
    def statuses(self) -> set[Status]:
        """The statuses that there were."""
        return {status for status, _ in self.outcomes}

    def add(self, other: Seen) -> None:
        """Take another's findings in."""
        self.wrong += other.wrong
        self.reasons |= other.reasons
        for outcome, n in other.outcomes.items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + n


def check_row(user: int, row: FeatureRow, *, timed: bool = True, flushed: bool = False) -> Seen:
    """Judge an answer to GetFeatures; ``timed``: with event times; ``flushed``: users may have lost their rows."""
    seen = Seen(reasons={d.reason.name for d in row.degraded})
    first = row[NUMBER]
    seen.outcomes[first.status, first.source] = 1
    actual = tuple((f.value, f.status, f.source, f.event_time_micros) for f in (first, row[RATIO], row[TEXT]))
    expected = _expected(user, first.status, first.source, flushed=flushed)
    if actual not in (expected if timed else [tuple((*fact[:3], None) for fact in facts) for facts in expected]):
        seen.wrong.append(f"user {user}: {actual}")
    _check_flags(seen)
    return seen


def _expected(user: int, status: Status, source: Source, *, flushed: bool) -> list[tuple[_Fact, ...]]:
    """Return what an answer with this status and source may be: nothing, where they do not fit the user."""
    ids = np.array([user])
    if status is Status.PRESENT and source in FROM_REDIS and has_row(ids)[0]:
        at = int(event_micros(ids)[0])
        values = (int(numbers(ids)[0]), float(ratios(ids)[0]), texts(ids)[0])
        return [tuple((value, status, source, at) for value in values)]
    unknown = status is Status.UNAVAILABLE or (status is Status.NOT_FOUND and (flushed or not has_row(ids)[0]))
    if not unknown or source is not Source.DEFAULT:
        return []
    return [(*((default, status, source, None) for default in NO_ROW), (None, status, Source.NONE, None))]


def check_batch(ids: Ids, batch: FeatureBatch, *, timed: bool = True, flushed: bool = False) -> Seen:
    """Judge an answer to GetFeaturesBatch about the three features; see `check_row`."""
    seen = Seen(reasons={d.reason.name for d in batch.degraded})
    number, ratio, text = (batch[name].expanded(len(ids)) for name in (NUMBER, RATIO, TEXT))
    status, source = number.statuses, number.sources
    known = (status == Status.PRESENT) & np.isin(source, FROM_REDIS) & has_row(ids)
    right = known & (number.values == numbers(ids)) & (ratio.values == ratios(ids)) & (text.sources == source)
    right &= text.values == np.array(texts(ids), object)
    times = batch.views[0].event_times
    if timed:
        right &= times == event_micros(ids).astype("M8[us]")
    lost = np.ones(len(ids), bool) if flushed else ~has_row(ids)
    nothing = (status == Status.UNAVAILABLE) | ((status == Status.NOT_FOUND) & lost)
    nothing &= (source == Source.DEFAULT) & (text.sources == Source.NONE) & (text.values == np.array("", object))
    nothing &= (number.values == NO_ROW[0]) & (ratio.values == NO_ROW[1])
    if timed:
        nothing &= np.isnat(times)
    elif len(times):
        seen.wrong.append("event times that nobody asked for")
    right |= nothing
    right &= (ratio.statuses == status) & (text.statuses == status) & (ratio.sources == source)
    seen.wrong += [f"user {u}" for u in ids[~right].tolist()]
    seen.outcomes = _outcomes(status, source)
    _check_flags(seen)
    return seen


def glance(ids: Ids, batch: FeatureBatch) -> Seen:
    """Take down what an answer to GetFeaturesBatch says, and do not look at its values, which takes longer."""
    number = batch[NUMBER].expanded(len(ids))
    return Seen(outcomes=_outcomes(number.statuses, number.sources), reasons={d.reason.name for d in batch.degraded})


def _outcomes(status: npt.NDArray[np.uint8], source: npt.NDArray[np.uint8]) -> dict[tuple[Status, Source], int]:
    pairs, counts = np.unique(status.astype(np.int64) * 256 + source, return_counts=True)
    return {(Status(p // 256), Source(p % 256)): n for p, n in zip(pairs.tolist(), counts.tolist(), strict=True)}


def _check_flags(seen: Seen) -> None:
    """Answers that lack something say so, and no others."""
    lacking = Status.UNAVAILABLE in seen.statuses or Source.STALE_CACHE in seen.sources
    if lacking and not seen.reasons:
        seen.wrong.append("an answer without what it was asked for is not flagged")
    if seen.reasons and not lacking and Status.NOT_FOUND not in seen.statuses:  # that may be a stale copy's
        seen.wrong.append(f"an answer with everything in it is flagged {seen.reasons}")
