"""A catalogue goes on being served while its views are written without a pause, or scanned for long."""

from __future__ import annotations

import asyncio

import pytest

from recsvc.recommend import mirror as module
from recsvc.recommend.mirror import INTERVAL_S
from tests.parts.waiting import eventually
from tests.unit.recommend.memory_view import Mirrored, counts, film, loaded


@pytest.mark.parametrize("rows", [1, 2], ids=["as fast as it is read", "faster than it is read"])
async def test_who_writes_without_a_pause_keeps_nothing_from_being_served(rows: int) -> None:
    """However often a view is written, changes of all views are served within about INTERVAL_S.

    The age is the time since the feed was read to its end; where that is never, what is served is told to be old.
    """
    of = await loaded()
    number = 0

    def write() -> None:
        nonlocal number
        of.now_s += 0.002
        for _ in range(rows):
            number += 1
            of.counts.write("a", counts(2.0 + number))

    of.counts.asked = [write]
    for last in range(3):
        of.films.write("b", film(available=bool(last % 2)))
        began = of.now_s
        behind = await of.mirror.refresh()
        assert of.allowed() == ["a", "b"][: 1 + last % 2]
        assert of.now_s - began <= INTERVAL_S + 0.01
        assert behind == (rows == 2)
        age = of.mirror.age_s()
        assert age == pytest.approx(of.now_s - 100.0 if rows == 2 else 0.002)
    of.counts.asked = []
    of.now_s += 1.0
    while await of.mirror.refresh():
        pass
    assert (of.mirror.age_s(), of.films.scans, of.counts.scans) == (0.0, 1, 1)
    assert of.mirror.snapshot.popularity[of.mirror.snapshot.places(["a"])[0]] == 2.0 + number


async def test_a_mirror_that_is_behind_goes_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for its next time only where there is nothing more to read."""
    monkeypatch.setattr(module, "INTERVAL_S", 3600.0)
    of = await loaded()
    reads = 0

    def write() -> None:
        nonlocal reads
        reads += 1
        of.now_s += module.INTERVAL_S
        if reads < 4:
            of.counts.write("a", counts(2.0 + reads))
            of.counts.write("a", counts(2.5 + reads))

    of.counts.asked = [write]
    task = asyncio.create_task(of.mirror.run())
    try:
        await eventually(lambda: of.mirror.snapshot.popularity[0] == 5.5 and reads == 4)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_changes_are_served_while_a_view_is_scanned_after_a_gap() -> None:
    """A long scan of one view keeps no change of another from being served; what is served is told to be old."""
    of = Mirrored({f"f{n}": film() for n in range(8)}, {})
    await of.mirror.refresh()
    seen: list[tuple[set[str], float | None]] = []

    def slow() -> None:
        seen.append((of.items(), of.mirror.age_s()))
        of.counts.write(f"c{len(seen)}", counts(1.0))
        of.now_s += INTERVAL_S

    of.films.expire("f0")
    of.films.lose()
    of.films.during.append(slow)
    await of.mirror.refresh()
    films = {f"f{n}" for n in range(8)}
    assert seen == [(films | {f"c{n}" for n in range(1, step + 1)}, step * INTERVAL_S) for step in range(len(seen))]
    assert len(seen) == 4
    assert of.items() == films - {"f0"} | {f"c{n}" for n in range(1, 4)}
    assert of.mirror.age_s() == len(seen) * INTERVAL_S  # of the films: as old as the beginning of the scan
    assert of.films.scans == 2
    await of.mirror.refresh()
    assert (of.mirror.age_s(), of.films.scans) == (0.0, 2)


async def test_what_is_lost_while_a_view_is_scanned_is_scanned_again() -> None:
    """Where the feed goes faster than a first scan there is a catalogue all the same, and another scan follows."""
    of = Mirrored({f"f{n}": film() for n in range(4)}, {})

    def slow() -> None:
        of.now_s += INTERVAL_S
        of.films.lose()

    of.films.during.append(slow)
    await of.mirror.refresh()
    assert set(of.allowed()) == {f"f{n}" for n in range(4)}
    of.films.during.clear()
    of.films.expire("f0")
    await of.mirror.refresh()
    assert set(of.allowed()) == {f"f{n}" for n in range(1, 4)}
    assert of.films.scans == 2
