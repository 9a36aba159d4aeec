"""What each candidate source finds, and what none of them ever gives."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsvc.recommend import filling
from recsvc.recommend.candidates import CATEGORIES, Found, MissingIndexError, Query, find
from recsvc.recommend.catalogue import UNKNOWN
from recsvc.recommend.index.exact import ExactIndex
from recsvc.recommend.index.metric import Metric
from recsvc.recommend.index.protocol import Allowed
from recsvc.recommend.index.table import vector_table
from recsvc.recommend.quality_factor import Narrowing
from recsvc.registry.placement import (
    CandidateSource,
    MeanOfRecent,
    Nearest,
    Newest,
    Popular,
    SimilarToRecent,
    SimilarToSeeds,
)
from tests.unit.recommend.queries import (
    ALL,
    GENRES,
    NOW,
    RECENT,
    TASTE,
    ScriptedIndex,
    builder_of,
    name,
    on_a_line,
    query,
    user,
)

NEAREST = Nearest("near", "line", TASTE, candidates=3)
SEEDS = SimilarToSeeds("seeds", "line", candidates=4)
SIMILAR = SimilarToRecent("recent", "line", RECENT, last=2, candidates=4)
POPULAR = Popular("popular", pool=20, candidates=5)
NEWEST = Newest("new", within=timedelta(seconds=5), candidates=3)
MEAN = Nearest("mean", "line", MeanOfRecent(RECENT, last=2), candidates=3)
SOURCES = [NEAREST, MEAN, SEEDS, SIMILAR, POPULAR, replace(POPULAR, recent=RECENT), NEWEST]
ITEMS = st.lists(st.integers(0, 25).map(name), max_size=6)


def ids(asked: Query, found: Found | None) -> list[str]:
    """Return the items of what was found, in order."""
    assert found is not None
    return asked.snapshot.catalogue.id_texts(found.candidates.places)


@settings(max_examples=200)
@given(
    st.sampled_from(SOURCES),
    st.integers(0, 8),
    st.integers(0, 20),
    st.lists(st.booleans(), min_size=20, max_size=20),
    ITEMS,
    ITEMS,
    st.integers(0, 2**64 - 1),
)
def test_no_source_gives_what_may_not_come(  # noqa: PLR0913, PLR0917  # all that a query has
    source: CandidateSource, most: int, count: int, mask: list[bool], seeds: list[str], recent: list[str], seed: int
) -> None:
    """No masked item, no item twice, none that it is to be like, no more than asked for, best first."""
    source = replace(source, candidates=most)
    catalogue = builder_of(count).snapshot()
    seeds = [s for s in seeds if catalogue.places([s])[0] != UNKNOWN]
    allowed = np.array(mask[:count], np.bool_)
    asked = query(catalogue, mask=allowed, seeds=seeds, seed=seed, facts=user([3.0, 1.0], recent))
    found = find(source, asked)
    if found is None:
        assert source.name in {"mean", "seeds", "recent"}
        return
    places, scores = found.candidates.places, found.candidates.scores
    assert len(set(places.tolist())) == len(places) <= most
    assert allowed[places].all()
    assert (np.diff(scores) <= 0).all()
    assert found.candidates.source == source.name
    if isinstance(source, SimilarToSeeds | SimilarToRecent):
        anchors = seeds if isinstance(source, SimilarToSeeds) else recent[: source.last]
        assert not set(ids(asked, found)) & set(anchors)
        assert set(found.like) == set(places.tolist())
        assert set(catalogue.id_texts(np.array(list(found.like.values()), np.int64))) <= set(anchors)
    else:
        assert not found.like


def test_nearest_goes_by_the_users_vector() -> None:
    """The items nearest to the user's vector come, of those that may; nothing without a vector."""
    catalogue = builder_of(9).snapshot()
    mask = catalogue.allowed.copy()
    mask[4] = False
    asked = query(catalogue, mask=mask, facts=user([4.1, 1.0]))
    assert ids(asked, find(NEAREST, asked)) == ["i5", "i3", "i6"]
    for facts in (user(), user([0.0, 0.0]), user([float("nan"), 1.0])):
        assert find(NEAREST, query(catalogue, facts=facts)) is None


def test_nearest_can_go_by_the_mean_of_recent_items() -> None:
    """The newest items, as many as the source says, are one point; those that catalogue or index have not do not count.

    Without any of them there is nothing to go by.
    """
    catalogue = builder_of(20).snapshot()
    asked = query(catalogue, facts=user(recent=["i3", "i10", "i19"]))
    assert set(ids(asked, find(replace(MEAN, candidates=2), asked))) == {"i6", "i7"}
    of_three = replace(MEAN, query=MeanOfRecent(RECENT, last=3))
    assert ids(asked, find(of_three, asked)) == ["i11", "i10", "i12"]  # of 10.67
    partly = query(catalogue, facts=user(recent=["nobody", "i5", "i4"]), index=on_a_line(["i4", "i9", "i13"]))
    assert ids(partly, find(of_three, partly)) == ["i4", "i9", "i13"]
    for recent in ([], ["nobody"], ["i5"]):
        assert find(MEAN, replace(partly, facts=user(recent=recent))) is None


@pytest.mark.parametrize(("metric", "nearest"), [(Metric.COSINE, "i2"), (Metric.INNER_PRODUCT, "i0")])
def test_by_cosine_the_mean_is_of_directions(metric: Metric, nearest: str) -> None:
    """However long the embedding of a recent item is, under COSINE it counts as any other."""
    catalogue = builder_of(4).snapshot()
    vectors = np.array([[100.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.1]])
    index = ExactIndex(vector_table(catalogue.ids.tolist(), vectors, metric), version="v1")
    asked = query(catalogue, index=index, facts=user(recent=["i0", "i1"]))
    assert ids(asked, find(MEAN, asked))[0] == nearest


def test_recent_items_that_cancel_each_other_out_are_no_direction() -> None:
    """A mean of zeros has nothing near it."""
    catalogue = builder_of(2).snapshot()
    index = ExactIndex(vector_table(["i0", "i1"], np.array([[1.0, 2.0], [-1.0, -2.0]]), Metric.COSINE), version="v1")
    assert find(MEAN, query(catalogue, index=index, facts=user(recent=["i0", "i1"]))) is None


class Countdown:
    """How many seconds are left: at each look one fewer."""

    def __init__(self, left: float) -> None:
        self.left = left

    def __call__(self) -> float:
        """Return what is left."""
        self.left -= 1.0
        return self.left + 1.0


def test_each_seed_is_searched_once() -> None:
    """A seed that is given again says nothing new, and costs nothing."""
    asked = query(builder_of(20).snapshot(), seeds=["i2", "i10", "i2", "i2"])
    clock = Countdown(20.0)
    found = find(SEEDS, asked, clock)
    assert found is not None
    assert (set(ids(asked, found)), found.late) == ({"i1", "i3", "i9", "i11"}, False)
    assert clock.left == 16.0  # two searches, each with a look before and after


@pytest.mark.parametrize(("left", "searched"), [(100.0, 20), (10.0, 5), (3.0, 1), (0.0, 1)])
def test_where_time_is_short_the_first_seeds_count(left: float, searched: int) -> None:
    """No search is begun that would take more than half of what is left; what was found until then is there."""
    seeds = [name(3 * n) for n in range(20)]
    asked = query(builder_of(60).snapshot(), seeds=seeds)
    found = find(replace(SEEDS, candidates=60), asked, Countdown(left))
    assert found is not None
    assert {name(anchor) for anchor in found.like.values()} == set(seeds[:searched])
    assert found.late == (searched < len(seeds))


def test_similar_to_seeds_says_which_seed() -> None:
    """Items near any of the seeds come, each with the seed that it is nearest to; nothing without seeds."""
    asked = query(builder_of(20).snapshot(), seeds=["i2", "i10"])
    found = find(SEEDS, asked)
    assert found is not None
    assert set(ids(asked, found)) == {"i1", "i3", "i9", "i11"}
    assert found.like == {1: 2, 3: 2, 9: 10, 11: 10}
    assert find(SEEDS, query(builder_of(20).snapshot())) is None


def test_similar_to_recent_looks_at_the_last_ones_alone() -> None:
    """Only the newest items count, as many as the source says; those that the catalogue has not are passed over."""
    catalogue = builder_of(20).snapshot()
    asked = query(catalogue, facts=user(recent=["nobody", "i5", "i15"]))
    found = find(SIMILAR, asked)
    assert set(found.like.values() if found else ()) == {5}
    assert find(SIMILAR, query(catalogue, facts=user(recent=["nobody"]))) is None
    assert find(SIMILAR, query(catalogue)) is None


def test_what_is_like_an_item_without_a_vector_is_not_known() -> None:
    """Anchors that the index has not, or whose vector is no direction, are passed over; with no other there is none."""
    catalogue = builder_of(6).snapshot()
    asked = query(catalogue, seeds=["i1", "i5"], index=on_a_line(["i0", "i2", "i5"]))
    found = find(SEEDS, asked)
    assert set(found.like.values() if found else ()) == {5}
    assert find(SEEDS, replace(asked, seeds=np.array([1]))) is None


def test_a_narrowed_search_says_so() -> None:
    """Of indexes only a part of the candidates is searched for; who may have missed some says so, and nobody else."""
    catalogue = builder_of(20).snapshot()
    asked = query(catalogue, seeds=["i2"], facts=user([4.1, 1.0], ["i9"]), narrowing=Narrowing(0.5, 1))
    for source in (NEAREST, SEEDS, SIMILAR):
        found = find(replace(source, candidates=4), asked)
        assert found is not None
        assert (len(found.candidates.places) <= 2, found.narrowed) == (True, True)
        whole = find(replace(source, candidates=4), replace(asked, narrowing=ALL))
        assert whole is not None
        assert not whole.narrowed
    few = np.arange(20) == 3
    found = find(replace(NEAREST, candidates=4), replace(asked, allowed=Allowed.by(few)))
    assert (ids(asked, found), found is not None and found.narrowed) == (["i3"], False)
    for other in (POPULAR, NEWEST):
        assert ids(asked, find(other, asked)) == ids(asked, find(other, replace(asked, narrowing=ALL)))


def test_an_index_that_is_not_there_is_named() -> None:
    """A source that needs an index and has what to go by says which one is missing; others do not care."""
    catalogue = builder_of(3).snapshot()
    asked = query(catalogue, seeds=["i0"], facts=user([1.0, 1.0], ["i1"]))
    for source in (replace(NEAREST, index="gone"), replace(SEEDS, index="gone"), replace(SIMILAR, index="gone")):
        with pytest.raises(MissingIndexError, match="there is no vector index 'gone'") as caught:
            find(source, asked)
        assert caught.value.name == "gone"


def test_rubbish_of_an_index_reaches_no_item() -> None:
    """Places that are none and scores that are no numbers are passed on as such, for merging to leave out."""
    catalogue = builder_of(3).snapshot()
    index = ScriptedIndex(["i0", "i1", "i2"], [-1, 1, 7], [float("nan"), 2.0, 1.0])
    asked = query(catalogue, index=index, facts=user([0.0, 1.0]), seeds=["i0"])
    for source in (NEAREST, SEEDS):
        found = find(source, asked)
        assert found is not None
        assert set(found.candidates.places.tolist()) <= {UNKNOWN, 1}


def test_popular_is_a_draw_that_can_be_made_again() -> None:
    """The same seed draws the same items, in order of popularity; other seeds draw others."""
    catalogue = builder_of(60).snapshot()
    drawn = [ids(asked := query(catalogue, seed=seed), find(POPULAR, asked)) for seed in range(20)]
    again = [ids(asked := query(catalogue, seed=seed), find(POPULAR, asked)) for seed in range(20)]
    assert drawn == again
    assert len({tuple(items) for items in drawn}) > 15
    for items in drawn:
        numbers = [int(item.removeprefix("i")) for item in items]
        assert numbers == sorted(numbers)
        assert max(numbers) < 20  # the pool


def test_popular_draws_in_proportion_to_popularity() -> None:
    """One item with 3 times the popularity of another is drawn alone 3 times as often."""
    builder = builder_of(2)
    for item, popularity in (("i0", 3.0), ("i1", 1.0)):
        builder.put("counts", item, {"counts:pop": popularity})
    catalogue = builder.snapshot()
    alone = replace(POPULAR, candidates=1)
    first = sum(ids(asked := query(catalogue, seed=s), find(alone, asked)) == ["i0"] for s in range(2_000))
    assert 1_400 < first < 1_600  # 1,500 ± 5 standard deviations


@pytest.mark.parametrize("popularity", [0.0, -5.0, float("nan"), float("inf")])
def test_popular_takes_any_popularity(popularity: float) -> None:
    """Items of no, negative or endless popularity can be drawn without a warning, each once."""
    builder = builder_of(4)
    for number in range(4):
        builder.put("counts", name(number), {"counts:pop": popularity})
    asked = query(builder.snapshot())
    assert sorted(ids(asked, find(POPULAR, asked))) == ["i0", "i1", "i2", "i3"]


def test_popular_by_recent_items_is_of_their_categories() -> None:
    """With recent items only their categories come; of a user without any, or unknown ones, all categories do."""
    catalogue = builder_of(30).snapshot()
    source = replace(POPULAR, recent=RECENT, candidates=20)
    asked = query(catalogue, facts=user(recent=["i3", "nobody", "i6"]))
    assert {int(i.removeprefix("i")) % 3 for i in ids(asked, find(source, asked))} == {0}
    assert (found := find(source, asked)) is not None
    assert found.by_category
    for recent in ([], ["nobody"]):
        asked = query(catalogue, facts=user(recent=recent))
        assert {int(i.removeprefix("i")) % 3 for i in ids(asked, find(source, asked))} == {0, 1, 2}
        assert (found := find(source, asked)) is not None
        assert not found.by_category


def test_recent_items_without_a_category_say_nothing_of_categories() -> None:
    """Then popular items are of all, and not told to be popular in one."""
    builder = builder_of(6)
    builder.put("film", "i6", {"film:available": True})
    asked = query(builder.snapshot(), facts=user(recent=["i6"]))
    found = find(replace(POPULAR, recent=RECENT, candidates=20), asked)
    assert sorted(ids(asked, found)) == [f"i{n}" for n in range(7)]
    assert found is not None
    assert not found.by_category


def test_popular_goes_by_the_categories_of_the_newest_items() -> None:
    """Who has liked items of very many categories gets those of the newest, not a walk for each of them."""
    builder = builder_of(0)
    for number in range(CATEGORIES + 5):
        builder.put("film", name(number), {"film:available": True, "film:genres": (f"c{number}",)})
    recent = [name(number) for number in range(CATEGORIES + 5)]
    asked = query(builder.snapshot(), facts=user(recent=recent))
    found = find(replace(POPULAR, recent=RECENT, candidates=100), asked)
    assert sorted(ids(asked, found)) == sorted(recent[:CATEGORIES])


class Looked(np.ndarray):
    """A mask that counts the places it is asked for."""

    count = 0

    def __getitem__(self, at: Any) -> Any:  # noqa: ANN401  # as of an array
        """Count, and answer."""
        Looked.count += np.size(at)
        return np.asarray(self)[at]


def test_popular_items_of_rare_categories_are_found_without_a_look_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come however far down they are, and no item of other categories is looked at for them."""
    monkeypatch.setattr(filling, "WALKED", 8)
    builder = builder_of(300)
    for number in (280, 299):
        builder.put("film", name(number), {"film:available": True, "film:genres": ("rare",)})
    catalogue = builder.snapshot()
    asked = query(catalogue, mask=catalogue.allowed.view(Looked), facts=user(recent=["i299"]))
    monkeypatch.setattr(Looked, "count", 0)  # what was counted as the query was made
    assert ids(asked, find(replace(POPULAR, recent=RECENT), asked)) == ["i280", "i299"]
    assert Looked.count == 2


@settings(max_examples=50)
@given(st.integers(0, 2**64 - 1), st.integers(1, 30))
def test_a_large_category_does_not_take_all_of_popular(seed: int, wanted: int) -> None:
    """However much more popular its items are: of each category come as many as of any, while it has some."""
    builder = builder_of(0)
    sizes = dict(zip(GENRES, (25, 12, 3), strict=True))
    genres = [genre for genre, size in sizes.items() for _ in range(size)]
    for number, genre in enumerate(genres):
        builder.put("film", name(number), {"film:available": True, "film:genres": (genre,)})
        builder.put("counts", name(number), {"counts:pop": 1e6 / 2**number})
    asked = query(builder.snapshot(), seed=seed, facts=user(recent=["i39", "i0", "i26"]))
    found = ids(asked, find(replace(POPULAR, recent=RECENT, pool=20, candidates=wanted), asked))
    numbers = [int(i.removeprefix("i")) for i in found]
    drawn = Counter(genres[number] for number in numbers)
    assert numbers == sorted(numbers)
    assert len(numbers) == wanted
    assert all(count >= min(size, max(drawn.values()) - 1) for count, size in ((drawn[g], sizes[g]) for g in GENRES))


def test_each_category_has_a_pool_of_its_own() -> None:
    """Only the most popular of each category are drawn from."""
    catalogue = builder_of(30).snapshot()
    source = replace(POPULAR, recent=RECENT, pool=2, candidates=30)
    asked = query(catalogue, facts=user(recent=["i3", "i4"]))
    assert ids(asked, find(source, asked)) == ["i0", "i1", "i3", "i4"]


def test_newest_are_the_last_created() -> None:
    """The youngest come first, none older than the source allows, none of the future, none without a time."""
    builder = builder_of(9)
    builder.put("film", "i100", {"film:available": True, "film:out": NOW + 1})
    builder.put("film", "i101", {"film:available": True})
    asked = query(builder.snapshot())
    assert ids(asked, find(NEWEST, asked)) == ["i0", "i1", "i2"]
    assert ids(asked, find(replace(NEWEST, candidates=99), asked)) == ["i0", "i1", "i2", "i3", "i4", "i5"]
    assert ids(asked, find(replace(NEWEST, within=timedelta(0)), asked)) == ["i0"]
    assert find(NEWEST, replace(asked, created_at=None)) is None
