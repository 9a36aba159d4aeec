"""Places of an index and of a catalogue differ: searches and vectors go by those of the catalogue."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recsvc.recommend.catalogue import UNKNOWN
from recsvc.recommend.index.protocol import Allowed
from recsvc.recommend.snapshot import Aligned, Indexed, Indexes
from tests.unit.recommend.queries import ScriptedIndex, builder_of, name, on_a_line

NUMBERS = st.lists(st.integers(0, 30), unique=True, max_size=20)
HERE = np.array([0.0, 1.0], np.float32)


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


def test_a_snapshot_keeps_its_catalogue_and_indexes() -> None:
    """What a request began with stays, whatever is written or swapped meanwhile; the next has the new."""
    builder = builder_of(2)
    indexes = Indexes({"line": on_a_line(["i0", "i1"])})
    before = indexes.snapshot(builder.snapshot(), 1.5)
    builder.put("film", "i2", {"film:available": True}, 1)
    indexes.swap("line", on_a_line(["i2", "i1", "i0"], version="v2"))
    after = indexes.snapshot(builder.snapshot(), None)
    assert (before.age_s, after.age_s) == (1.5, None)
    assert [s.indexes["line"].index.version for s in (before, after)] == ["v1", "v2"]
    for snapshot, found in ((before, ["i0", "i1"]), (after, ["i0", "i1", "i2"])):
        hits = snapshot.indexes["line"].search(HERE, 9, Allowed.by(snapshot.catalogue.allowed))
        assert snapshot.catalogue.id_texts(hits.places) == found


def test_a_new_item_of_the_index_is_found_once_it_is_in_the_catalogue() -> None:
    """What is remembered of an index is made anew for more places, and used again while nothing changed them."""
    builder = builder_of(1)
    indexes = Indexes({"line": on_a_line(["i0", "i1"])})
    first = indexes.snapshot(builder.snapshot(), 0.0)
    builder.put("film", "i0", {"film:available": True}, 1)
    assert indexes.snapshot(builder.snapshot(), 0.0).indexes["line"] is first.indexes["line"]
    builder.put("film", "i1", {"film:available": True}, 1)
    second = indexes.snapshot(builder.snapshot(), 0.0)
    assert second.indexes["line"].search(HERE, 9, Allowed.by(second.catalogue.allowed)).places.tolist() == [0, 1]


def test_an_item_that_comes_back_is_found_again() -> None:
    """An item that was deleted when the index was first seen is found as soon as it is an item again."""
    builder = builder_of(2)
    for view in ("film", "counts"):
        builder.delete(view, ["i0"])
    indexes = Indexes({"line": on_a_line(["i0", "i1"])})
    gone = indexes.snapshot(builder.snapshot(), 0.0)
    assert gone.indexes["line"].search(HERE, 9, Allowed.by(gone.catalogue.allowed)).places.tolist() == [1]
    builder.put("film", "i0", {"film:available": True}, 1)
    back = indexes.snapshot(builder.snapshot(), 0.0)
    assert back.indexes["line"].search(HERE, 9, Allowed.by(back.catalogue.allowed)).places.tolist() == [0, 1]


def test_places_that_moved_up_are_found_anew() -> None:
    """After the catalogue left out places of deleted items, searches give the new places."""
    builder = builder_of(2_500)
    indexes = Indexes({"line": on_a_line([name(n) for n in range(2_500)])})
    before = indexes.snapshot(builder.snapshot(), 0.0)
    for view in ("film", "counts"):
        builder.delete(view, [name(n) for n in range(2_400)])
    after = indexes.snapshot(builder.snapshot(), 0.0)
    assert after.catalogue.generation > before.catalogue.generation
    hits = after.indexes["line"].search(HERE, 2, Allowed.by(after.catalogue.allowed))
    assert after.catalogue.id_texts(hits.places) == ["i2400", "i2401"]
    old = before.indexes["line"].search(HERE, 1, Allowed.by(before.catalogue.allowed))
    assert before.catalogue.id_texts(old.places) == ["i0"]


def test_indexes_show_what_they_are() -> None:
    """repr() names each index."""
    assert repr(Indexes({"line": on_a_line(["i0"])})) == "Indexes([ExactIndex(v1, 1 × 2, L2)])"


@given(st.integers(0, 12), st.integers(0, 12), NUMBERS)
def test_an_index_that_grew_is_one_made_anew(before: int, more: int, numbers: list[int]) -> None:
    """With whatever items a catalogue grows, the places of an index are those that looking all of them up gives."""
    builder, index = builder_of(before), on_a_line([name(n) for n in numbers])
    first = Indexed.of(index, builder.snapshot())
    for number in range(before, before + more):
        builder.put("film", name(number), {"film:available": True}, 1)
    catalogue = builder.snapshot()
    grown, anew = first.grown(catalogue), Indexed.of(index, catalogue)
    assert grown.places.tolist() == anew.places.tolist()
    assert grown.rows.tolist() == anew.rows.tolist()
    hits = [indexed.search(HERE, 30, Allowed.by(catalogue.allowed)).places.tolist() for indexed in (grown, anew)]
    assert hits[0] == hits[1]


def test_what_was_prepared_is_there() -> None:
    """A catalogue and an index that were prepared cost a request no look-up, and those that are served stay."""
    builder, later = builder_of(3), on_a_line(["i1", "i2"], version="v2")
    indexes = Indexes({"line": on_a_line(["i0", "i1"])})
    served = builder.snapshot()
    before = indexes.snapshot(served, 0.0).indexes["line"]
    builder.put("film", "i3", {"film:available": True}, 1)
    turns: list[int] = []
    indexes.prepare(builder.snapshot())
    indexes.prepare(builder.snapshot(), {"line": later}, lambda: turns.append(1))
    assert turns == [1]
    assert indexes.snapshot(served, 0.0).indexes["line"] is before
    indexes.swap("line", later)
    prepared = indexes._known["line", served.name]["v2", 0, 4]
    assert indexes.snapshot(builder.snapshot(), 0.0).indexes["line"] is prepared
    assert repr(Aligned(later, prepared.places)) == f"Aligned({later!r})"
