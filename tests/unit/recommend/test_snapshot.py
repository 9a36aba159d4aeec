"""Places of an index and of a catalogue differ: searches and vectors go by those of the catalogue."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.recommend.catalogue import UNKNOWN, Catalogue
from recsvc.recommend.index.exact import ExactIndex
from recsvc.recommend.index.protocol import Allowed
from recsvc.recommend.snapshot import Aligned, Indexed, Indexes, Snapshot
from recsvc.registry.placement import Diversity, Nearest, Placement, Popular
from tests.parts.waiting import eventually
from tests.unit.recommend.queries import ScriptedIndex, builder_of, name, on_a_line

NUMBERS = st.lists(st.integers(0, 30), unique=True, max_size=20)
HERE = np.array([0.0, 1.0], np.float32)
PLACED = [Placement("near", "films", [Popular("popular"), Nearest("near", "line", "user:taste")])]


async def snapshot(indexes: Indexes, catalogue: Catalogue, before: Catalogue | None = None) -> Snapshot:
    """Return what a request sees of a catalogue that was prepared."""
    await indexes.prepare(catalogue, before)
    return indexes.snapshot(catalogue, 0.0)


def found(of: Snapshot, index: str = "line", most: int = 9) -> list[str]:
    """Return the items that a search near the beginning of the line finds."""
    hits = of.indexes[index].search(HERE, most, Allowed.by(of.catalogue.allowed))
    return of.catalogue.id_texts(hits.places)


@given(st.integers(0, 20), NUMBERS, st.data())
def test_a_search_gives_places_of_the_catalogue(count: int, numbers: list[int], data: st.DataObject) -> None:
    """Whatever of the catalogue is indexed in any order, the nearest items that pass come, by their own places."""
    catalogue = builder_of(count).snapshot()
    indexed = Indexed.of(on_a_line([name(n) for n in numbers]), catalogue)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), np.bool_)
    k = data.draw(st.integers(0, 25))
    hits = indexed.search(HERE, k, Allowed.by(mask))
    passing = sorted(n for n in numbers if n < count and mask[n])
    assert catalogue.id_texts(hits.places) == [name(n) for n in passing[:k]]


@given(st.integers(1, 20), NUMBERS)
def test_vectors_are_those_of_the_items(count: int, numbers: list[int]) -> None:
    """Each item of the catalogue has its own vector, a row of NaN where the index has none of it."""
    catalogue = builder_of(count).snapshot()
    vectors = Indexed.of(on_a_line([name(n) for n in numbers]), catalogue).vectors(np.arange(count))
    for number in range(count):
        if number in numbers:
            assert vectors[number].tolist() == [number, 1.0]
        else:
            assert np.isnan(vectors[number]).all()


def test_rubbish_of_an_index_is_no_item() -> None:
    """Hits at places that the index has not are unknown, never another item."""
    catalogue = builder_of(3).snapshot()
    index = ScriptedIndex(["i2", "i9", "i0"], [-1, 0, 1, 2, 3, 99], [9, 8, 7, 6, 5, 4])
    hits = Indexed.of(index, catalogue).search(HERE, 6, Allowed.by(catalogue.allowed))
    assert hits.places.tolist() == [UNKNOWN, 2, UNKNOWN, 0, UNKNOWN, UNKNOWN]
    assert hits.scores.tolist() == [9, 8, 7, 6, 5, 4]


def test_an_index_without_a_catalogue_finds_nothing() -> None:
    """Before a catalogue is loaded a search is an empty one, no error; so is one of an empty index."""
    empty, some = builder_of(0).snapshot(), builder_of(2).snapshot()
    assert len(Indexed.of(on_a_line(["i0", "i1"]), empty).search(HERE, 5, Allowed.by(empty.allowed))) == 0
    assert len(Indexed.of(on_a_line([]), some).search(HERE, 5, Allowed.by(some.allowed))) == 0


async def test_a_snapshot_keeps_its_catalogue_and_indexes() -> None:
    """What a request began with stays, whatever is written or swapped meanwhile; the next has the new."""
    builder = builder_of(2)
    indexes = Indexes({"line": on_a_line(["i0", "i1"])}, PLACED)
    before = await snapshot(indexes, builder.snapshot())
    builder.put("film", "i2", {"film:available": True})
    await indexes.swap("line", on_a_line(["i2", "i1", "i0"], version="v2"), lambda: [builder.snapshot()])
    after = indexes.snapshot(builder.snapshot(), None)
    assert (before.age_s, after.age_s) == (0.0, None)
    assert [s.indexes["line"].index.version for s in (before, after)] == ["v1", "v2"]
    assert found(before) == ["i0", "i1"]
    assert found(after) == ["i0", "i1", "i2"]


async def test_a_new_item_of_the_index_is_found_once_it_is_in_the_catalogue() -> None:
    """What is known of an index is made anew for more places, and used again while nothing changed them."""
    builder = builder_of(1)
    indexes = Indexes({"line": on_a_line(["i0", "i1"])}, PLACED)
    first = await snapshot(indexes, builder.snapshot())
    builder.put("film", "i0", {"film:available": True})
    second = await snapshot(indexes, builder.snapshot(), first.catalogue)
    assert second.indexes["line"] is first.indexes["line"]
    builder.put("film", "i1", {"film:available": True})
    assert found(await snapshot(indexes, builder.snapshot(), second.catalogue)) == ["i0", "i1"]


async def test_an_item_that_comes_back_is_found_again() -> None:
    """An item that was deleted when the index was first seen is found as soon as it is an item again."""
    builder = builder_of(2)
    for view in ("film", "counts"):
        builder.delete(view, ["i0"])
    indexes = Indexes({"line": on_a_line(["i0", "i1"])}, PLACED)
    gone = await snapshot(indexes, builder.snapshot())
    assert found(gone) == ["i1"]
    builder.put("film", "i0", {"film:available": True})
    assert found(await snapshot(indexes, builder.snapshot(), gone.catalogue)) == ["i0", "i1"]


async def test_places_that_moved_up_are_found_anew() -> None:
    """After the catalogue left out places of deleted items, searches give the new places."""
    builder = builder_of(2_500)
    indexes = Indexes({"line": on_a_line([name(n) for n in range(2_500)])}, PLACED)
    before = await snapshot(indexes, builder.snapshot())
    for view in ("film", "counts"):
        builder.delete(view, [name(n) for n in range(2_400)])
    after = await snapshot(indexes, builder.snapshot(), before.catalogue)
    assert after.catalogue.index is not before.catalogue.index
    assert found(after, most=2) == ["i2400", "i2401"]
    assert found(before, most=1) == ["i0"]


async def test_another_catalogue_of_the_name_has_places_of_its_own() -> None:
    """One that is defined anew, with as many items in another order, is never searched by the places of the old."""
    line, old, new = on_a_line(["i0", "i1", "i2"]), builder_of(0), builder_of(0)
    for builder, order in ((old, "012"), (new, "210")):
        for number in order:
            builder.put("film", f"i{number}", {"film:available": True})
    indexes = Indexes({"line": line}, PLACED)
    before = await snapshot(indexes, old.snapshot())
    after = await snapshot(indexes, new.snapshot(), old.snapshot())
    assert found(before) == found(after) == ["i0", "i1", "i2"]
    assert after.catalogue.ids.tolist() == ["i2", "i1", "i0"]


def test_indexes_show_what_they_are() -> None:
    """repr() names each index."""
    assert repr(Indexes({"line": on_a_line(["i0"])})) == "Indexes([ExactIndex(v1, 1 × 2, L2)])"


@given(st.integers(0, 12), st.integers(0, 12), NUMBERS)
def test_an_index_that_grew_is_one_made_anew(before: int, more: int, numbers: list[int]) -> None:
    """With whatever items a catalogue grows, the places of an index are those that looking all of them up gives."""
    builder, index = builder_of(before), on_a_line([name(n) for n in numbers])
    first = Indexed.of(index, builder.snapshot())
    for number in range(before, before + more):
        builder.put("film", name(number), {"film:available": True})
    catalogue = builder.snapshot()
    grown, anew = first.grown(catalogue), Indexed.of(index, catalogue)
    assert grown.places.tolist() == anew.places.tolist()
    assert grown.rows.tolist() == anew.rows.tolist()
    hits = [indexed.search(HERE, 30, Allowed.by(catalogue.allowed)).places.tolist() for indexed in (grown, anew)]
    assert hits[0] == hits[1]


def watched(ids: list[str], happens: Callable[[], object], version: str = "v2") -> ExactIndex:
    """Return an index on a line; each time that its items are looked for ``happens`` is called."""

    class Watched(ExactIndex):
        @property
        def ids(self) -> list[str]:
            happens()
            return ids

    return Watched(on_a_line(ids).table, version=version)


async def test_a_swap_is_ready_for_what_is_served_by_then() -> None:
    """However often the catalogue is published while an index is prepared, with new items too, none is looked up later.

    Its items are looked for in threads only, and once only, not for each version of the catalogue.
    """
    builder, threads = builder_of(3), list[threading.Thread]()
    indexes = Indexes({"line": on_a_line(["i0", "i1"])}, PLACED)
    served = [builder.snapshot()]
    await indexes.prepare(served[0])
    loop = asyncio.get_running_loop()

    async def publish() -> None:
        for number in range(3, 7):
            builder.put("film", name(number), {"film:available": True})
            await indexes.prepare(builder.snapshot(), served[0])
            served[0] = builder.snapshot()
            assert indexes.snapshot(served[0], 0.0).indexes["line"].index.version == "v1"

    def looked() -> None:
        threads.append(threading.current_thread())
        if len(threads) == 1:
            asyncio.run_coroutine_threadsafe(publish(), loop).result(10)

    later = watched([name(n) for n in range(1, 9)], looked)
    await indexes.swap("line", later, lambda: served)
    looked_up = len(threads)
    after = indexes.snapshot(served[0], 0.0)
    assert (after.indexes["line"].index, found(after)) == (later, [name(n) for n in range(1, 7)])
    builder.put("film", name(7), {"film:available": True})
    assert found(await snapshot(indexes, builder.snapshot(), served[0])) == [name(n) for n in range(1, 8)]
    assert len(threads) == looked_up == 1
    assert threading.main_thread() not in threads


async def test_a_catalogue_is_ready_for_the_index_that_is_served_by_then() -> None:
    """Where another index is taken while a catalogue is prepared, that one is prepared too before it is served."""
    looks: list[int] = []
    loop, served = asyncio.get_running_loop(), [builder_of(2).snapshot()]
    indexes = Indexes({}, PLACED)

    def looked() -> None:
        looks.append(1)
        if len(looks) == 2:
            later = on_a_line(["i2"], version="v3")
            asyncio.run_coroutine_threadsafe(indexes.swap("line", later, lambda: served), loop).result(10)

    await indexes.swap("line", watched(["i0"], looked), lambda: served)
    anew = builder_of(3).snapshot()  # items have other places, so they are looked for again
    assert found(await snapshot(indexes, anew, served[0])) == ["i2"]
    assert found(indexes.snapshot(served[0], 0.0)) == []
    assert len(looks) == 2


async def test_an_index_whose_items_cannot_be_found_is_not_taken() -> None:
    """What is served stays, for requests and for who looks whether another version is there."""
    catalogue, index = builder_of(1).snapshot(), on_a_line(["i0"])
    indexes = Indexes({"line": index}, PLACED)
    before = await snapshot(indexes, catalogue)

    def fail() -> None:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await indexes.swap("line", watched(["i0"], fail), lambda: [catalogue])
    assert indexes.served == {"line": index}
    assert indexes.snapshot(catalogue, 0.0).indexes == before.indexes


async def test_only_indexes_that_placements_of_a_catalogue_name_are_prepared() -> None:
    """Nobody looks for the items of an index in a catalogue whose placements do not name it, by source or diversity."""
    named = [*PLACED, Placement("varied", "films", [Popular("popular")], diversity=Diversity("looks"))]
    looks: list[int] = []
    other = watched(["i0"], lambda: looks.append(1))
    indexes = Indexes({name: on_a_line(["i0"]) for name in ("line", "looks")} | {"other": other}, named)
    catalogue = builder_of(1).snapshot()
    assert (await snapshot(indexes, catalogue)).indexes.keys() == {"line", "looks"}
    await indexes.swap("other", other, lambda: [catalogue])
    assert (await snapshot(indexes, catalogue)).indexes.keys() == {"line", "looks"}
    assert not looks
    indexes.serve([*named, Placement("more", "films", [Nearest("other", "other", "user:taste")])])
    assert (await snapshot(indexes, catalogue)).indexes.keys() == {"line", "looks", "other"}


async def test_what_nobody_names_or_serves_any_more_is_let_go() -> None:
    """An index that no placement names, one that was replaced, and what was found for old catalogues leave memory."""
    builder = builder_of(1)
    first = on_a_line(["i0"])
    indexes = Indexes({"line": first}, PLACED)
    await indexes.prepare(builder.snapshot())
    before = builder.snapshot()
    builder.put("film", "i1", {"film:available": True})
    await indexes.prepare(builder.snapshot(), before)
    gone: list[weakref.ref[object]] = [weakref.ref(first), weakref.ref(before)]
    second = on_a_line(["i0"], version="v2")
    await indexes.swap("line", second, lambda: [builder.snapshot()])
    gone.append(weakref.ref(second))
    indexes.serve([])
    assert not indexes.served
    del first, before, second
    gc.collect()
    await eventually(lambda: all(ref() is None for ref in gone))  # a thread lets go of what it did last soon after


async def test_an_index_that_was_not_prepared_is_missing() -> None:
    """A snapshot looks for nothing itself; what a request lacks then is told as an index that is missing."""
    catalogue = builder_of(1).snapshot()
    assert not Indexes({"line": on_a_line(["i0"])}, PLACED).snapshot(catalogue, 0.0).indexes


def test_what_brings_masks_shows_its_index() -> None:
    """repr() of an index by other places has the index."""
    later = on_a_line(["i1", "i2"])
    assert repr(Aligned(later, np.arange(2))) == f"Aligned({later!r})"
