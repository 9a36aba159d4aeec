"""A million recommended items while sources, index, ranker and Redis break one after the other: not one wrong.

Two servers are called in turns, page by page, while items go and come back and users see things.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from rich.table import Table

from tests.bench.report import Expectation, Figures, Relation, Report, rounded, table
from tests.fault import slates_faults as kinds
from tests.fault.judging import Scale
from tests.fault.slates_definitions import RANKER, SOURCES
from tests.fault.slates_faults import Faults
from tests.fault.slates_judge import WRONG, Counts
from tests.fault.slates_stage import SlateStage, slate_stage
from tests.fault.slates_world import World

ITEMS: Final = 3_000
USERS: Final = 300
RECOMMENDED: Final = 1_000_000
STEP_S: Final = 2.5
REDIS_DOWN_S: Final = 10.0
MIXED_S: Final = 1.0
SETTLE_S: Final = 0.2
"""What was asked before a fault was there is not counted with it."""
_NOTHING: Final = Faults()


@dataclass(frozen=True, slots=True)
class Step:
    """One fault for a time. ``flag``: what slates have to say while it is there, at least one of them.

    ``act`` does what is done to the stage first. ``version``: the index that must be searched, by how its name begins.
    """

    name: str
    faults: Faults = _NOTHING
    seconds: float = STEP_S
    flag: str = ""
    act: Callable[[SlateStage], None] | None = None
    version: str = ""


def steps() -> Sequence[Step]:
    """Return all faults in their order."""
    sources = [(s.name, k) for k in (kinds.RAISES, kinds.RUBBISH, kinds.SLOW) for s in SOURCES]
    told = {kinds.RAISES: "SOURCE_FAILED", kinds.SLOW: "SOURCE_TIMED_OUT"}
    one_by_one = [
        Step(f"source {n} {k}", Faults(sources={n: k}), STEP_S / 2, f"{told[k]} {n}" if k in told else "")
        for n, k in sources
    ]
    together = [
        Step(f"all sources: {k}", Faults(sources=dict.fromkeys((s.name for s in SOURCES), k)), flag=f"{f} popular")
        for k, f in told.items()
    ]
    in_index = [
        Step(f"index: {k}", Faults(index=k), flag=flag)
        for k, flag in (
            (kinds.RAISES, "SOURCE_FAILED near"),
            (kinds.SLOW, "SOURCE_TIMED_OUT near"),
            (kinds.RUBBISH, "SOURCE_FAILED near"),
            (kinds.VECTORS_RAISE, "SOURCE_FAILED recent"),
            (kinds.VECTORS_RUBBISH, ""),
            (kinds.VECTORS_SLOW, "SOURCE_TIMED_OUT recent"),
        )
    ]
    in_ranker = [
        Step(f"ranker: {k}", Faults(ranker=k), flag=f"RANKER_FAILED {RANKER}")
        for k in (kinds.RAISES, kinds.NAN, kinds.SHAPE, kinds.SLOW, kinds.HANGS)
    ]
    return [
        Step("nothing"),
        *one_by_one,
        *together,
        *in_index,
        *in_ranker,
        Step("index: another version", act=SlateStage.publish, version="items"),
        Step("index: a damaged version", act=SlateStage.damage, version="items"),
        Step("index: ids that nobody knows", act=_strangers, version="strangers"),
        Step("index: vectors of another width", act=_narrow, version="narrow"),
        Step("index: a good version again", act=SlateStage.publish, version="items"),
        Step("index: its directory is gone", act=SlateStage.withdraw, version="items"),
        Step("index: back again", act=SlateStage.publish, version="items"),
        Step("Redis killed", seconds=REDIS_DOWN_S, flag="METADATA_STALE shop", act=lambda on: on.store.kill()),
        Step("Redis is back", act=SlateStage.start_redis),
    ]


def _strangers(on: SlateStage) -> None:
    on.publish("strangers")


def _narrow(on: SlateStage) -> None:
    on.publish("narrow")


@dataclass(frozen=True, slots=True)
class Ran:
    """How many items were wanted, changes made, how long it took, and what servers logged that was not planned."""

    wanted: int
    changes: int
    seconds: float
    unexpected: Sequence[str]


async def run(scale: Scale) -> Report:
    """Break everything in turn, then anything at random until a million items were recommended, and judge."""
    began = time.monotonic()
    async with slate_stage(World(ITEMS, USERS)) as on:
        found = [(step, await _step(on, step, scale.of(step.seconds))) for step in steps()]
        wanted = scale.count(RECOMMENDED) - sum(counts.items for _, counts in found)
        found.append((Step("anything, at random"), await _mixed(on, wanted)))
        ran = Ran(scale.count(RECOMMENDED), on.changes.made, time.monotonic() - began, on.unexpected())
    return judged(found, ran)


async def _step(on: SlateStage, step: Step, seconds: float) -> Counts:
    on.tell(step.faults)
    if step.act is not None:
        await asyncio.to_thread(step.act, on)
    await asyncio.sleep(SETTLE_S)
    ends = time.monotonic() + seconds
    counts = await on.load.until(lambda _: time.monotonic() >= ends)
    on.tell(_NOTHING)
    return counts


async def _mixed(on: SlateStage, wanted: int) -> Counts:
    """Have other faults every second, and other versions of the index, until so many items were recommended."""
    load = asyncio.create_task(on.load.until(lambda counts: counts.items >= wanted))
    draw = random.Random(7)
    while not load.done():
        on.tell(_any_fault(draw))
        if draw.random() < 0.3:
            await asyncio.to_thread(on.publish)
        await asyncio.wait([load], timeout=MIXED_S)
    on.tell(_NOTHING)
    return await load


def _any_fault(draw: random.Random) -> Faults:
    sources = {s.name: draw.choice(("", "", "", kinds.RAISES, kinds.RUBBISH)) for s in SOURCES}
    index = draw.choice(("", "", kinds.RUBBISH, kinds.RAISES, kinds.VECTORS_RAISE, kinds.VECTORS_RUBBISH))
    return Faults(sources, index, draw.choice(("", "", kinds.RAISES, kinds.NAN, kinds.SHAPE)))


def judged(found: Sequence[tuple[Step, Counts]], ran: Ran) -> Report:
    """Sum up what came of each step, and judge it."""
    total = Counts()
    for _, counts in found:
        total.add(counts)
    unflagged = [step.name for step, counts in found if step.flag and not counts.flags[step.flag]]
    unswapped = [s.name for s, c in found if s.version and not any(v.startswith(s.version) for v in c.versions)]
    wrong = {what: total.wrong[what] for what in WRONG}
    figures: Figures = {
        "items": total.items,
        "slates": len(total.took),
        "later_pages": total.later_pages,
        "changes": ran.changes,
        "seconds": rounded(ran.seconds),
        "wrong": wrong,
        "errors": dict(total.errors),
        "seen_but_flagged_as_unknown": total.unknowable,
        "flags": dict(total.flags.most_common()),
        "ranked_by": dict(total.ranked_by),
        "p99_ms": _ms(total, 99),
        "examples": total.examples,
    }
    expectations = [
        Expectation("slates: items recommended", float(total.items), Relation.AT_LEAST, ran.wanted),
        *(_none(f"slates: wrong: {what}", count) for what, count in wrong.items()),
        _none("slates: failed calls", sum(total.errors.values())),
        _none("slates: tracebacks logged of what was not planned", len(ran.unexpected)),
        _none("slates: faults of which no slate told", len(unflagged)),
        _none("slates: versions of the index that no slate came from", len(unswapped)),
    ]
    notes = [
        f"{total.later_pages:,} later pages, two servers in turns; {ran.changes:,} items went or came back meanwhile",
        f"{total.unknowable:,} items were seen, in slates that said that they could not know",
        *(f"no slate told of: {name}" for name in unflagged),
        *(f"not searched: {name}" for name in unswapped),
        *total.examples,
        *dict.fromkeys(entry.splitlines()[-1] for entry in ran.unexpected),
        *(f"{step.name}: {n} calls failed: {e}" for step, counts in found for e, n in counts.errors.most_common(3)),
    ]
    return Report("slates", [_shown(found)], figures, expectations, notes)


def _shown(found: Sequence[tuple[Step, Counts]]) -> Table:
    shown = table("Slates", "fault", "items", "slates", "wrong", "errors", "flagged", "by model", "p50 ms", "p99 ms")
    for step, c in found:
        numbers = (c.items, len(c.took), c.wrong.total(), c.errors.total(), c.flagged, c.ranked_by["RANKED_BY_MODEL"])
        shown.add_row(step.name, *(f"{n:,}" for n in numbers), f"{_ms(c, 50):.0f}", f"{_ms(c, 99):.0f}")
    return shown


def _ms(counts: Counts, percent: float) -> float:
    return rounded(float(np.percentile(counts.took, percent)) * 1e3) if counts.took else float("nan")


def _none(name: str, number: int) -> Expectation:
    return Expectation(name, float(number), Relation.AT_MOST, 0)
