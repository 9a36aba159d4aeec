"""Slates are full, without repeats or masked items, and keep each rule unless a stronger one is in the way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.errors import RecsvcError
from recsvc.recommend.places import firsts
from recsvc.recommend.slate import compose, compose_among
from recsvc.recommend.slate_rules import CategoryCap, Ranked, Rule, Rules, SourceQuota, Standing, Variety
from tests.unit.recommend.slate_cases import Case, best_possible, cases, excess, keeps_quotas

TEN = np.ones(10, dtype=np.bool_)
POPULAR = np.arange(9, -1, -1)


def ranked(*places: int) -> Ranked:
    """Rank places with falling scores."""
    return Ranked(np.array(places, dtype=np.int64), np.linspace(1, 0, len(places)))


def flags(*marks: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Make bool[m] of zeros and ones."""
    return np.array(marks, dtype=np.bool_)


@given(cases())
def test_a_slate_is_full_without_repeats_and_never_shows_what_is_masked(case: Case) -> None:
    """There are `limit` different items that may be shown, or all of them."""
    places = case.compose().places.tolist()
    assert len(places) == case.size
    assert len(set(places)) == len(places)
    assert set(places) <= case.allowed


@given(cases())
def test_a_pin_stands_where_nothing_stronger_is_in_the_way(case: Case) -> None:
    """The first pin of each position that may be shown and fits the slate stands there; PINS tells of any other."""
    slate = case.compose()
    taken: set[int] = set()
    missed = False
    for place, position in case.rules.pins.items():
        stands = position <= case.size and slate.places[position - 1] == place
        if place in case.allowed and position <= case.size and position not in taken:
            assert stands
            assert slate.standings[position - 1] == Standing.PINNED
            taken.add(position)
        missed |= position <= case.limit and not stands
    assert (Rule.PINS in slate.relaxed) == missed


@given(cases())
def test_the_cap_is_exceeded_by_as_little_as_fullness_and_pins_demand(case: Case) -> None:
    """No other full slate with these pins has fewer items over the cap; CAPS tells that there are any."""
    slate = case.compose()
    over = excess(tuple(slate.places.tolist()), case.rules.cap)
    assert over == best_possible(case)[0]
    assert (Rule.CAPS in slate.relaxed) == (over > 0)


@given(cases(shared=False))
def test_quotas_are_kept_whenever_the_stronger_rules_leave_a_way(case: Case) -> None:
    """Sources that share no items have their quotas in the slate if any slate as full and as capped has them."""
    slate = case.compose()
    assert (Rule.QUOTAS in slate.relaxed) == (not best_possible(case)[1])


@given(cases())
def test_relaxed_tells_of_quotas_that_are_not_kept(case: Case) -> None:
    """QUOTAS is in relaxed exactly where a source has fewer items in the slate than it should."""
    slate = case.compose()
    assert (Rule.QUOTAS in slate.relaxed) == (not keeps_quotas(tuple(slate.places.tolist()), case))


@given(cases(shared=False))
def test_a_weaker_rule_never_costs_a_stronger_one(case: Case) -> None:
    """Rules taken away from the weak end change nothing in whether the others are kept."""
    full = case.compose().relaxed
    rules = replace(case.rules, variety=None)
    assert case.under(rules).relaxed == full - {Rule.DIVERSITY}
    rules = replace(rules, quotas=())
    assert case.under(rules).relaxed == full - {Rule.DIVERSITY, Rule.QUOTAS}
    rules = replace(rules, cap=None)
    assert case.under(rules).relaxed == full & {Rule.PINS}


@given(cases(ruled=False))
def test_without_rules_the_ranking_stands_and_popular_items_follow(case: Case) -> None:
    """The slate is the candidates in order, then the filler, then what is left by place; nothing is relaxed."""
    slate = case.compose()
    order = [*case.usable(), *(p for p in case.filler.tolist() if p in case.allowed), *sorted(case.allowed)]
    assert slate.places.tolist() == list(dict.fromkeys(order))[: case.limit]
    assert slate.relaxed == set()


@given(cases())
def test_rows_scores_and_standings_tell_where_each_item_came_from(case: Case) -> None:
    """A row is the first one of the item among the candidates, the score is that row's, a filler has neither."""
    slate = case.compose()
    candidates = case.ranked.places.tolist()
    for place, row, score, standing in zip(slate.places, slate.rows, slate.scores, slate.standings, strict=True):
        assert row == (candidates.index(place) if place in candidates else -1)
        assert np.isnan(score) if row < 0 else score == case.ranked.scores[row]
        assert standing == Standing.PINNED or (standing == Standing.RANKED) == (row >= 0)


@given(cases(), st.sampled_from([0.0, 0.5]))
def test_diversity_is_given_up_only_where_it_was_asked_for(case: Case, weight: float) -> None:
    """Without variety, or with weight 0, DIVERSITY is never relaxed and the slate is the same."""
    plain = case.under(replace(case.rules, variety=None))
    vectors = np.ones((len(case.ranked.places), 2), dtype=np.float32)
    slate = case.under(replace(case.rules, variety=Variety(weight, vectors)))
    assert Rule.DIVERSITY not in plain.relaxed
    if weight == 0.0:
        assert slate.relaxed == plain.relaxed
        assert slate.places.tolist() == plain.places.tolist()


def test_fillers_under_the_cap_come_before_candidates_over_it() -> None:
    """A cap is stronger than the ranking: popular items of other categories fill up first."""
    cap = CategoryCap(np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 1]), 2, 2)
    slate = compose(ranked(0, 1, 2, 3), TEN, 4, filler=POPULAR, rules=Rules(cap=cap))
    assert slate.places.tolist() == [0, 1, 9, 8]
    assert slate.relaxed == set()


def test_the_cap_gives_way_to_fullness_with_the_best_candidates() -> None:
    """Where all items of all categories are used up to the cap, candidates over it fill the slate."""
    cap = CategoryCap(np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 1]), 2, 1)
    slate = compose(ranked(0, 1, 2, 3), TEN, 4, filler=POPULAR, rules=Rules(cap=cap))
    assert slate.places.tolist() == [0, 9, 1, 2]
    assert slate.relaxed == {Rule.CAPS}


def test_items_without_a_category_are_not_capped() -> None:
    """Code -1 has room without end."""
    cap = CategoryCap(np.full(10, -1), 0, 1)
    slate = compose(ranked(3, 4, 5), TEN, 3, filler=POPULAR, rules=Rules(cap=cap))
    assert slate.places.tolist() == [3, 4, 5]
    assert slate.relaxed == set()


def test_a_quota_takes_the_last_positions_it_needs() -> None:
    """The best of a source that would not have made it stands at the end."""
    quota = SourceQuota("new", 2, flags(0, 0, 0, 0, 1, 1, 1))
    slate = compose(ranked(0, 1, 2, 3, 4, 5, 6), TEN, 4, filler=POPULAR, rules=Rules(quotas=[quota]))
    assert slate.places.tolist() == [0, 1, 4, 5]
    assert slate.relaxed == set()


def test_a_pin_counts_for_the_quota_and_the_cap() -> None:
    """A pinned item of a source is one less that the source needs, and one less that its category may have."""
    quota = SourceQuota("new", 1, flags(0, 0, 0, 1, 1))
    cap = CategoryCap(np.array([0, 1, 1, 0, 1, 1, 1, 1, 1, 1]), 2, 1)
    rules = Rules(pins={3: 1}, cap=cap, quotas=[quota])
    slate = compose(ranked(0, 1, 2, 3, 4), TEN, 2, filler=POPULAR, rules=rules)
    assert slate.places.tolist() == [3, 1]
    assert slate.relaxed == set()


def test_a_quota_holds_room_of_its_category() -> None:
    """A better candidate does not take the last room of a category that a quota needs."""
    quota = SourceQuota("new", 1, flags(0, 0, 1))
    cap = CategoryCap(np.array([0, 1, 0, 1, 1, 1, 1, 1, 1, 1]), 2, 1)
    slate = compose(ranked(0, 1, 2), TEN, 2, filler=POPULAR, rules=Rules(cap=cap, quotas=[quota]))
    assert slate.places.tolist() == [1, 2]


def test_a_candidate_is_no_longer_held_back_once_another_met_the_quota() -> None:
    """Where variety took an item of the source that was not the held one, the held one has no claim left."""
    vectors = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float32)
    quota = SourceQuota("new", 1, flags(0, 1, 1, 0))
    rules = Rules(quotas=[quota], variety=Variety(0.7, vectors))
    slate = compose(ranked(0, 1, 2, 3), TEN, 3, filler=POPULAR, rules=rules)
    assert slate.places.tolist() == [0, 2, 3]
    assert slate.relaxed == set()


def test_a_source_makes_way_in_a_category_that_another_needs() -> None:
    """Where one source can only fill from a category that another holds, the other moves to its second best."""
    near, new = SourceQuota("near", 1, flags(1, 1, 0, 0)), SourceQuota("new", 1, flags(0, 0, 1, 1))
    cap = CategoryCap(np.array([0, 1, 0, 0, 2, 2, 2, 2, 2, 2]), 3, 1)
    slate = compose(ranked(0, 1, 2, 3), TEN, 2, filler=POPULAR, rules=Rules(cap=cap, quotas=[near, new]))
    assert slate.places.tolist() == [1, 2]
    assert slate.relaxed == set()


def test_a_pin_of_a_later_page_or_beyond_the_limit_is_no_matter() -> None:
    """A pin past the limit is not missed: its position is not on the page."""
    slate = compose(ranked(0, 1), TEN, 2, filler=POPULAR, rules=Rules(pins={7: 3}))
    assert slate.places.tolist() == [0, 1]
    assert slate.relaxed == set()


def test_variety_puts_something_else_after_its_like() -> None:
    """A candidate like the first gives way to one that is unlike it, and nothing had to be relaxed."""
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    slate = compose(ranked(0, 1, 2), TEN, 2, filler=POPULAR, rules=Rules(variety=Variety(0.7, vectors)))
    assert slate.places.tolist() == [0, 2]
    assert slate.relaxed == set()


def test_a_pinned_candidate_counts_for_variety_from_the_first_position_on() -> None:
    """What stands before a pin is chosen unlike the pin."""
    vectors = np.array([[1, 0], [0, 1], [1, 0]], dtype=np.float32)
    rules = Rules(pins={2: 3}, variety=Variety(0.9, vectors))
    slate = compose(ranked(0, 1, 2), TEN, 3, filler=POPULAR, rules=rules)
    assert slate.places.tolist() == [1, 0, 2]


@pytest.mark.parametrize("why", ["filler", "no embedding", "quota"])
def test_diversity_gives_way_and_says_so(why: str) -> None:
    """Fillers, candidates without embedding and quotas stand without regard to variety."""
    vectors = np.array([[1, 0], [0, 1], [1, 0]], dtype=np.float32)
    quotas = [SourceQuota("new", 1, flags(0, 0, 1))] if why == "quota" else []
    if why == "no embedding":
        vectors[1] = 0
    limit = 4 if why == "filler" else 2
    rules = Rules(quotas=quotas, variety=Variety(0.5, vectors))
    assert compose(ranked(0, 1, 2), TEN, limit, filler=POPULAR, rules=rules).relaxed == {Rule.DIVERSITY}


def test_without_any_candidate_the_slate_is_what_is_popular() -> None:
    """Every source may be down: popular items that may be shown fill the slate."""
    slate = compose(ranked(), TEN & (np.arange(10) != 8), 3, filler=POPULAR)
    assert slate.places.tolist() == [9, 7, 6]
    assert slate.standings.tolist() == [Standing.FILLED] * 3


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        pytest.param(Rules(quotas=[SourceQuota("new", 1, flags(1))]), "1 flags of the items of 'new'", id="quota"),
        pytest.param(Rules(variety=Variety(0.5, np.ones((3, 2), np.float32))), "3 vectors", id="variety"),
        pytest.param(Rules(cap=CategoryCap(np.zeros(9, np.int64), 1, 1)), "9 category codes", id="cap"),
        pytest.param(Rules(pins={4: 0}), "position 0, the first is 1", id="pin"),
    ],
)
def test_rules_that_do_not_fit_the_candidates_are_refused(rules: Rules, message: str) -> None:
    """An array of another length, or a position that there is not, is an error that names it."""
    with pytest.raises(RecsvcError, match=message):
        compose(ranked(0, 1), TEN, 2, filler=POPULAR, rules=rules)


def _of_rows(rules: Rules, rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Rules:
    """Return the rules for some of the ranked items alone."""
    quotas = [replace(quota, given=quota.given[rows]) for quota in rules.quotas]
    variety = rules.variety and replace(rules.variety, vectors=rules.variety.vectors[rows])
    return replace(rules, quotas=quotas, variety=variety)


@given(cases())
def test_among_what_is_known_a_slate_is_the_same(case: Case) -> None:
    """Composed in numbers of those items alone that were read, it is the slate that a mask of all items gives."""
    n = len(case.mask)
    real = (case.ranked.places >= 0) & (case.ranked.places < n)
    places = np.where(real, case.ranked.places, 0) if n else case.ranked.places[:0]
    if not n:
        return
    once = firsts(places, n)  # no item is ranked twice, here
    rows = np.flatnonzero(once)
    ranked_here, rules = Ranked(places[rows], case.ranked.scores[rows]), _of_rows(case.rules, rows)
    places = places[rows]
    filler = case.filler[(case.filler >= 0) & (case.filler < n)]
    pins = np.array([p for p in case.rules.pins if 0 <= p < n and case.mask[p]], np.int64)
    known = np.concatenate([places, filler, pins])
    read = np.zeros(n, np.bool_)
    read[known] = case.mask[known]
    plain = compose(ranked_here, read, case.limit, filler=filler, rules=rules)
    among = compose_among(known, ranked_here, case.mask, case.limit, filler=filler, rules=rules)
    assert among.places.tolist() == plain.places.tolist()
    assert among.rows.tolist() == plain.rows.tolist()
    assert among.standings.tolist() == plain.standings.tolist()
    assert among.relaxed == plain.relaxed
    np.testing.assert_array_equal(among.scores, plain.scores)
