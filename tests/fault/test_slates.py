"""The drill on slates in small: two servers, each fault until it was told, Redis killed; and what judges the slates."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import numpy as np
import pytest
import pytest_asyncio

from recsvc.pb import serving_pb2 as pb
from tests.fault.drill_slates import Ran, Step, judged, steps
from tests.fault.slates_changes import Changes
from tests.fault.slates_definitions import PINS
from tests.fault.slates_faults import Faults
from tests.fault.slates_judge import Answer, Ask, Counts, Judge
from tests.fault.slates_stage import SlateStage, slate_stage
from tests.fault.slates_world import World, item_id

WORLD: Final = World(400, 40)
SLATES: Final = 8
"""At least so many for each fault."""
PATIENCE_S: Final = 60.0
NOW: Final = 1_000.0
ALL_STEPS: Final = [step for step in steps() if not step.name.startswith("Redis")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on() -> AsyncIterator[SlateStage]:
    """Two servers over a small shop that changes all the time."""
    async with slate_stage(WORLD) as stage:
        yield stage
        assert stage.unexpected() == []


async def right_all_the_while(on: SlateStage, step: Step) -> None:
    """Let a fault be until it was told, and see that nothing was wrong."""
    on.tell(step.faults)
    if step.act is not None:
        await asyncio.to_thread(step.act, on)
    ends = time.monotonic() + PATIENCE_S

    def is_told(counts: Counts) -> bool:
        told = not step.flag or counts.flags[step.flag] > 0
        searched = not step.version or any(v.startswith(step.version) for v in counts.versions)
        return (told and searched and len(counts.took) >= SLATES) or time.monotonic() > ends

    counts = await on.load.until(is_told)
    on.tell(Faults())
    report = judged([(step, counts)], Ran(1, on.changes.made, 0.0, []))
    assert [e.name for e in report.expectations if not e.met] == [], report.notes


@pytest.mark.asyncio(loop_scope="module")
class TestServers:
    """Two real servers, called in turns."""

    @pytest.mark.parametrize("step", ALL_STEPS, ids=[step.name for step in ALL_STEPS])
    async def test_nothing_is_wrong_whatever_breaks(self, on: SlateStage, step: Step) -> None:
        """Each fault is told, costs no call, and lets nothing come that the server could know to be wrong."""
        await right_all_the_while(on, step)

    async def test_nothing_is_wrong_while_redis_is_away_and_back(self, on: SlateStage) -> None:
        """Slates go on when it is killed, say how old their items are, and are as before when it is there again."""
        for step in steps():
            if step.name.startswith("Redis"):
                await right_all_the_while(on, step)

    async def test_pages_repeat_nothing_over_servers_and_versions(self, on: SlateStage) -> None:
        """Page after page at one server and the other, while each takes other versions of its index: nothing twice."""
        versions: set[str] = set()
        for _ in range(3):
            await asyncio.to_thread(on.publish)
            counts = await on.load.until(lambda found: found.later_pages >= 30, paged=1.0)
            assert (counts.wrong.total(), counts.errors.total()) == (0, 0), (counts.examples, counts.errors)
            versions |= counts.versions
        assert len(versions) > 2


@pytest.fixture
def changes() -> Changes:
    """What is known of the shop before anything changed."""
    return Changes(WORLD, "redis://127.0.0.1:1")


def ask(**fields: Any) -> Ask:  # noqa: ANN401  # of the request
    """Return a question of somebody of whom nothing is known."""
    usual: dict[str, Any] = {"placement": "varied", "user": None, "limit": 5, "filters": (), "exclude": (), "seeds": ()}
    return Ask(**({"passing": np.ones(WORLD.items, np.bool_)} | usual | fields))


def slate(*numbers: int, rank: int = 1, **fields: Any) -> pb.RecommendResponse:  # noqa: ANN401  # of the reply
    """Return a slate of items."""
    items = [pb.RecommendedItem(item_id=item_id(k), rank=rank + place) for place, k in enumerate(numbers)]
    return pb.RecommendResponse(items=items, **fields)


def blamed(changes: Changes, answer: Answer) -> dict[str, int]:
    """Return what a judge finds wrong."""
    counts = Counts()
    Judge(WORLD, changes, copies_s=2.0).judge(answer, counts)
    return dict(counts.wrong)


def degraded(reason: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401  # of the message
    """Return the field of a reply."""
    number = pb.DegradationReason.Value(f"DEGRADATION_REASON_{reason}")
    return {"degraded": [pb.Degradation(reason=number, **fields)]}


def test_right_slates_pass(changes: Changes) -> None:
    """A full slate, a later page, and one that is short because nothing else passes."""
    assert blamed(changes, Answer(ask(), slate(1, 2, 3, 4, 5), NOW)) == {}
    assert blamed(changes, Answer(ask(), slate(6, 7, 8, 10, 11, rank=6), NOW, [1, 2, 3, 4, 5])) == {}
    passing = np.isin(np.arange(WORLD.items), [1, 2, 3])
    assert blamed(changes, Answer(ask(passing=passing, exclude=[3]), slate(1, 2), NOW)) == {}


@pytest.mark.parametrize(
    ("wrong", "question", "reply", "before"),
    [
        ("not available", ask(), slate(1, 2, 3, 9, 5), []),
        ("excluded", ask(exclude=[3]), slate(1, 2, 3, 4, 5), []),
        ("excluded", ask(seeds=[3]), slate(1, 2, 3, 4, 5), []),
        ("repeated", ask(), slate(6, 7, 8, 10, 2, rank=6), [1, 2, 3, 4, 5]),
        ("against a filter", ask(passing=np.arange(WORLD.items) != 3), slate(1, 2, 3, 4, 5), []),
        ("rank", ask(), slate(1, 2, 3, 4, 5), [6, 7, 8, 10, 11]),
        ("rank", ask(), slate(1, 2, 3, 4, 5, rank=0), []),
        ("short", ask(), slate(1, 2, 3, 4), []),
        ("empty", ask(), slate(), []),
    ],
)
def test_what_is_wrong_is_found(
    changes: Changes, wrong: str, question: Ask, reply: pb.RecommendResponse, before: list[int]
) -> None:
    """One wrong item, or a slate that is wrong as a whole, is found as what it is, once."""
    assert blamed(changes, Answer(question, reply, NOW, before)) == {wrong: 1}


def test_repeats_and_strangers_within_a_slate_are_found(changes: Changes) -> None:
    """An item that comes twice in a slate, and one that is in no shop."""
    assert blamed(changes, Answer(ask(), slate(1, 2, 3, 2, 5), NOW)) == {"repeated": 2}
    reply = slate(1, 2, 3, 4, 5)
    reply.items[1].item_id = "x2"
    assert blamed(changes, Answer(ask(), reply, NOW)) == {"unknown": 1}


def test_what_went_lately_may_come(changes: Changes) -> None:
    """An item may come for five seconds after it went, or as long as the slate says that its items are old."""
    changes.gone_at[3] = NOW - 7.0
    wrong = slate(1, 2, 3, 4, 5)
    assert blamed(changes, Answer(ask(), wrong, NOW)) == {"not available": 1}
    assert blamed(changes, Answer(ask(), wrong, NOW - 3.0)) == {}
    old = slate(1, 2, 3, 4, 5, **degraded("METADATA_STALE", source="shop", age_micros=8_000_000))
    assert blamed(changes, Answer(ask(), old, NOW)) == {}
    younger = slate(1, 2, 3, 4, 5, **degraded("METADATA_STALE", source="shop", age_micros=6_000_000))
    assert blamed(changes, Answer(ask(), younger, NOW)) == {"not available": 1}


def test_seen_items_may_come_only_where_the_store_was_not_read(changes: Changes) -> None:
    """What a user has, has seen, or saw some seconds ago is found, unless the slate says that it could not know."""
    number = next(k for k, user in enumerate(WORLD.users) if user.owned and user.pairs)
    user = WORLD.users[number]
    new = next(k for k in range(WORLD.items) if WORLD.at_first[k] and k not in {*user.owned, *user.pairs})
    changes.seen_at[number][new] = NOW - 3.0
    owned, pair = (next(k for k in those if WORLD.at_first[k]) for those in (user.owned, sorted(user.pairs)))
    for seen, view in ((owned, "taste"), (pair, "met"), (new, "met")):
        question = ask(user=number, limit=1)
        assert blamed(changes, Answer(question, slate(seen), NOW)) == {"seen": 1}
        told = slate(seen, **degraded("CIRCUIT_OPEN", view=f"{view}@v1"))
        assert blamed(changes, Answer(question, told, NOW)) == {}
        assert blamed(changes, Answer(ask(user=number, limit=1, placement="open"), slate(seen), NOW)) == {}
    assert blamed(changes, Answer(ask(user=number, limit=1), slate(new), NOW - 2.0)) == {}


def test_pins_elsewhere_are_found(changes: Changes) -> None:
    """An item that says it is pinned must be one, at its position, on the first page."""
    pinned = [pb.Reason(code=pb.REASON_CODE_PINNED)]
    reply = slate(1, 7, 2, 3, 4)
    assert PINS["i7"] == 2
    reply.items[1].reasons.extend(pinned)
    assert blamed(changes, Answer(ask(placement="home"), reply, NOW)) == {}
    assert blamed(changes, Answer(ask(), reply, NOW)) == {"pin": 1}
    reply.items[0].reasons.extend(pinned)
    assert blamed(changes, Answer(ask(placement="home"), reply, NOW)) == {"pin": 1}
    later = slate(7, rank=2)
    later.items[0].reasons.extend(pinned)
    assert blamed(changes, Answer(ask(placement="home", limit=1), later, NOW, [1])) == {"pin": 1}
