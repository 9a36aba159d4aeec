"""A catalogue in memory follows its views: what is written, deleted, corrupt or lost, and a store that is down."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsvc.errors import StoreUnavailableError
from recsvc.recommend import mirror as module
from recsvc.recommend.mirror import RESCAN_S, kept_references
from recsvc.registry import placement
from tests.parts.waiting import eventually
from tests.unit.recommend.memory_view import BURIED, FILMS, ITEM, POPS, TWO, MemoryView, Mirrored, counts, film, loaded


async def test_a_mirror_begins_with_nothing_and_loads_all() -> None:
    """Before the first refresh there is an empty catalogue without an age; after it all rows of all views."""
    of = Mirrored(TWO, POPS)
    assert (of.items(), of.mirror.age_s()) == (set(), None)
    await of.mirror.refresh()
    assert of.allowed() == ["b", "a"]
    known = of.mirror.snapshot
    assert known.columns["film:genres"].value(int(known.places(["a"])[0])) == ("drama",)
    assert of.mirror.age_s() == 0.0


async def test_a_mirror_follows_what_is_written() -> None:
    """Changed, new and unavailable items are as their rows say after the next refresh, without another scan."""
    of = await loaded()
    before = of.mirror.snapshot
    of.counts.write("a", counts(9.0))
    of.films.write("c", film(available=False))
    for number in range(5):
        of.films.write(f"d{number}", film("new"))
    await of.mirror.refresh()
    assert of.allowed() == ["a", "b", *(f"d{n}" for n in range(5))]
    assert "c" in of.items()
    of.films.write("a", film(available=False))
    await of.mirror.refresh()
    assert "a" not in of.allowed()
    assert (of.films.scans, of.counts.scans) == (1, 1)
    assert before.id_texts(before.ranked.order) == ["b", "a"]


async def test_nothing_written_is_the_same_snapshot() -> None:
    """A refresh without changes costs no new snapshot."""
    of = await loaded()
    before = of.mirror.snapshot
    await of.mirror.refresh()
    assert of.mirror.snapshot is before


@pytest.mark.parametrize("how", ["tombstone", "no row"])
async def test_a_mirror_drops_what_is_deleted(how: str) -> None:
    """An item whose rows are tombstones, or gone, in all views is there no more; in one view it keeps the others'."""
    of = await loaded()
    views: list[MemoryView] = [of.films, of.counts]
    for view, left in zip(views, [{"a", "b"}, {"b"}], strict=True):
        view.write("a", BURIED)
        if how == "no row":
            view.expire("a")
        await of.mirror.refresh()
        assert of.items() == left
        assert "a" not in of.allowed()  # nobody knows that it is available


async def test_a_deleted_item_comes_back() -> None:
    """What is written after a tombstone is an item again, also for who searches an index."""
    of = await loaded()
    for view in (of.films, of.counts):
        view.write("a", BURIED)
    await of.mirror.refresh()
    of.films.write("a", film())
    await of.mirror.refresh()
    assert of.allowed() == ["b", "a"]


@pytest.mark.parametrize(
    "row",
    [b"", b"\x01", b"garbage of some length", b"\x01\x01short", BURIED + b"x", b"\x09" + BURIED[1:], film("x")[:-1]],
    ids=["empty", "one byte", "garbage", "short tombstone", "long tombstone", "tombstone of another format", "cut"],
)
async def test_a_corrupt_row_changes_nothing(row: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """What was known of the item stays, rows beside it come in, it is told once, and the mirror goes on."""
    of = await loaded()
    of.films.write("a", row)
    of.films.write("c", film())
    with caplog.at_level(logging.ERROR):
        await of.mirror.refresh()
        await of.mirror.refresh()
    assert set(of.allowed()) == {"a", "b", "c"}
    known = of.mirror.snapshot
    assert known.columns["film:genres"].value(int(known.places(["a"])[0])) == ("drama",)
    assert [r.message for r in caplog.records if "corrupt" in r.message] == caplog.messages
    assert len(caplog.messages) == 1
    assert of.films.scans == 1


async def test_a_corrupt_row_is_no_item_at_first_but_no_hindrance() -> None:
    """A scan over corrupt rows alone, or among others, loads the others; an item known by another view stays out."""
    of = Mirrored({"a": b"rubbish of mine", "b": film(), "c": b"\x01"}, {"a": b"?", "b": counts(1.0)})
    await of.mirror.refresh()
    assert of.allowed() == ["b"]
    of.films.lose()
    of.films.write("b", b"rubbish")
    await of.mirror.refresh()
    assert (of.films.scans, of.allowed()) == (2, ["b"])


async def test_after_a_gap_what_is_gone_is_dropped() -> None:
    """Where changes were lost all rows are scanned again, and items without a row go, of that view alone."""
    of = await loaded()
    of.films.expire("a")
    of.counts.expire("a")
    of.films.write("c", film())
    await of.mirror.refresh()
    assert of.items() == {"a", "b", "c"}  # nobody said so
    of.films.lose()
    await of.mirror.refresh()
    assert of.allowed() == ["b", "c"]
    assert of.items() == {"a", "b", "c"}  # "a" has counts, as far as is known
    of.counts.lose()
    await of.mirror.refresh()
    assert of.items() == {"b", "c"}
    assert (of.films.scans, of.counts.scans) == (2, 2)
    await of.mirror.refresh()
    assert (of.films.scans, of.counts.scans) == (2, 2)


async def test_what_is_written_during_a_scan_is_not_lost() -> None:
    """A row that a scan has passed already, or never meets, comes with the refresh after it."""
    of = Mirrored({f"f{n}": film() for n in range(6)}, {})
    of.films.during.append(partial(of.films.write, "f0", film(available=False)))
    of.films.during.append(partial(of.films.write, "late", film()))
    await of.mirror.refresh()
    of.films.during.clear()
    await of.mirror.refresh()
    assert set(of.allowed()) == {"late", *(f"f{n}" for n in range(1, 6))}


async def test_a_store_that_is_down_leaves_the_snapshot_and_its_age_grows() -> None:
    """While the store does not answer the last catalogue stays; its age counts from when it was up to date."""
    of = await loaded()
    before = of.mirror.snapshot
    of.counts.down = True
    of.films.write("c", film())
    for step in range(1, 4):
        of.now_s += 10.0
        with pytest.raises(StoreUnavailableError):
            await of.mirror.refresh()
        assert of.mirror.snapshot is before
        assert of.mirror.age_s() == 10.0 * step
    of.counts.down = False
    await of.mirror.refresh()
    assert "c" in of.allowed()
    assert of.mirror.age_s() == 0.0


async def test_a_scan_that_breaks_off_is_made_again() -> None:
    """Half a scan is no catalogue: nothing is shown or dropped by it, and the next refresh scans anew."""
    of = Mirrored({f"f{n}": film() for n in range(6)}, {})

    def fail() -> None:
        of.films.down = True

    of.films.during.append(fail)
    with pytest.raises(StoreUnavailableError):
        await of.mirror.refresh()
    assert (of.items(), of.mirror.age_s()) == (set(), None)
    of.films.during.clear()
    of.films.down = False
    await of.mirror.refresh()
    assert len(of.items()) == 6
    of.films.lose()
    of.films.during.append(fail)
    with pytest.raises(StoreUnavailableError):
        await of.mirror.refresh()
    assert len(of.items()) == 6


async def test_age_counts_from_the_beginning_of_a_refresh() -> None:
    """What was read at the beginning of a slow refresh is as old as that."""
    of = Mirrored(TWO, POPS)

    def slow() -> None:
        of.now_s += 3.0

    of.films.during.append(slow)
    await of.mirror.refresh()
    assert of.mirror.age_s() == 3.0


async def test_run_goes_on_through_an_outage(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """An outage is logged once when it begins and once when it ends, and then the mirror follows again."""
    monkeypatch.setattr(module, "INTERVAL_S", 0.001)
    of = Mirrored(TWO, POPS)
    of.films.down = True
    caplog.set_level(logging.INFO)
    task = asyncio.create_task(of.mirror.run())
    try:
        await eventually(lambda: caplog.messages)
        of.films.down = False
        await eventually(lambda: of.allowed() == ["b", "a"])
        of.films.write("b", film(available=False))
        await eventually(lambda: of.allowed() == ["a"])
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert caplog.messages == [
        "catalogue films is not kept up to date: down",
        "catalogue films is up to date again",
    ]


CHANGE = st.tuples(st.sampled_from(["write", "bury", "expire and lose", "refresh"]), st.sampled_from("abcdef"))


@settings(max_examples=100)
@given(st.lists(CHANGE, max_size=30))
def test_whatever_happens_the_mirror_is_as_its_views_are(changes: list[tuple[str, str]]) -> None:
    """After any changes, deletions and losses one refresh makes the catalogue what a new one would be."""

    async def run() -> None:
        of = Mirrored({}, {})
        for what, item in changes:
            if what == "write":
                of.films.write(item, film(item))
            elif what == "bury":
                of.films.write(item, BURIED)
            elif what == "refresh":
                await of.mirror.refresh()
            elif item in of.films.rows:
                of.films.expire(item)
                of.films.lose()
        await of.mirror.refresh()
        fresh = Mirrored(of.films.rows, {})
        await fresh.mirror.refresh()
        assert of.items() == fresh.items()
        assert sorted(of.allowed()) == sorted(fresh.allowed())

    asyncio.run(run())


def test_only_references_are_kept() -> None:
    """A catalogue keeps each feature that it names once, those that are filters alone among them."""
    named = placement.Catalogue("f", ITEM, "counts:pop", category="film:genres", filterable=["film:genres", "film:out"])
    assert kept_references(named) == ["counts:pop", "film:genres", "film:out"]
    assert kept_references(FILMS) == ["counts:pop", "film:available", "film:out", "film:genres"]


def test_a_mirror_shows_its_state() -> None:
    """repr() names the catalogue, how many items it has, and where it is in each feed."""
    text = repr(Mirrored({}, {}).mirror)
    assert text.startswith("CatalogueMirror(Catalogue('films', 0 items, 0 allowed)")
    assert "_View(film, at b'')" in text


async def test_rows_that_expired_without_a_word_are_dropped_in_time() -> None:
    """All rows are looked at again every few minutes; what changes meanwhile is taken in between the pieces."""
    of = await loaded()
    for view in (of.films, of.counts):
        view.expire("a")
    of.now_s += RESCAN_S - 1
    await of.mirror.refresh()
    assert of.items() == {"a", "b"}
    seen = []
    of.films.write("c", film())
    of.films.during = [lambda: of.films.write("d", film()), lambda: seen.append(of.allowed())]
    of.now_s += 1
    await of.mirror.refresh()
    of.films.during = []
    await of.mirror.refresh()
    assert of.items() == {"b", "c", "d"}
    assert (of.films.scans, of.counts.scans) == (2, 2)
    assert of.mirror.age_s() == 0


async def test_a_rescan_that_fails_leaves_all_as_it_was() -> None:
    """Where the store goes down in the middle, no item is dropped, and the next one looks again."""
    of = await loaded()
    of.now_s += RESCAN_S

    def fall() -> None:
        of.films.down = True

    of.films.during = [fall]
    with pytest.raises(StoreUnavailableError):
        await of.mirror.refresh()
    assert set(of.allowed()) == {"a", "b"}
    of.films.down, of.films.during = False, []
    await of.mirror.refresh()
    assert of.items() == {"a", "b"}
    assert of.films.scans == 3


@pytest.mark.parametrize("why", ["time for a rescan", "a gap"])
async def test_what_changes_told_is_served_where_a_scan_fails(why: str) -> None:
    """While a view cannot be scanned again, what was written is served; the age grows where changes were lost."""
    of = await loaded()

    def fall() -> None:
        of.films.down = True

    of.films.during = [fall]
    if why == "a gap":
        of.films.lose()
    of.now_s += RESCAN_S
    for number in range(3):
        of.now_s += 1.0
        of.films.down = False
        of.counts.write("a", counts(1.0 if number % 2 else 9.0))
        with pytest.raises(StoreUnavailableError):
            await of.mirror.refresh()
        assert of.allowed() == (["b", "a"] if number % 2 else ["a", "b"])
        assert of.mirror.age_s() == (RESCAN_S + number + 1.0 if why == "a gap" else 0.0)
    of.films.down, of.films.during = False, []
    await of.mirror.refresh()
    assert (of.allowed(), of.mirror.age_s()) == (["a", "b"], 0.0)
