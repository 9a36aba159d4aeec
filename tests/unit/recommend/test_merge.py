"""Lists of sources merge by weighted reciprocal rank, each item once, and rubbish does not count."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.errors import DefinitionError, RecsvcError
from recsvc.recommend.merge import Candidates, Dropped, K, Merged, Origin, Share, fuse

ITEMS = 12
SOURCES = ["near", "new", "popular"]
ALL = np.ones(ITEMS, dtype=np.bool_)

Entries = list[tuple[int, float]]


def candidates(source: str, entries: Entries) -> Candidates:
    """Make the list of a source."""
    return Candidates(
        source, np.array([p for p, _ in entries], dtype=np.int64), np.array([s for _, s in entries], dtype=np.float32)
    )


def clean(entries: Entries, mask: list[bool], budget: int) -> list[int]:
    """Say in plain Python which places of a source count."""
    sound = [place for place, score in entries if math.isfinite(score) and 0 <= place < len(mask)]
    return [place for place in dict.fromkeys(sound) if mask[place]][:budget]


ENTRIES = st.lists(st.tuples(st.integers(-2, ITEMS + 2), st.sampled_from([1.0, 0.5, -1.0, math.nan, math.inf])))
SHARES = st.builds(Share, st.sampled_from([0.0, 0.25, 1.0, 3.0]), st.integers(0, 8), st.integers(0, 3))
MASKS = st.lists(st.booleans(), min_size=ITEMS, max_size=ITEMS)


def merge(found: dict[str, tuple[Entries, Share]], mask: list[bool], most: int = 1_000) -> Merged:
    """Fuse what the sources found."""
    lists = [candidates(source, entries) for source, (entries, _) in found.items()]
    shares = {source: share for source, (_, share) in found.items()}
    return fuse(lists, shares, np.array(mask, dtype=np.bool_), most=most)


@given(st.dictionaries(st.sampled_from(SOURCES), st.tuples(ENTRIES, SHARES)), MASKS)
def test_scores_are_those_of_the_formula(found: dict[str, tuple[Entries, Share]], mask: list[bool]) -> None:
    """Each item that a source gave and that may be shown has the sum of weight / (60 + rank); there is no other."""
    expected: dict[int, float] = {}
    for entries, share in found.values():
        for rank, place in enumerate(clean(entries, mask, share.budget), start=1):
            expected[place] = expected.get(place, 0.0) + float(Fraction(share.weight) / (K + rank))
    merged = merge(found, mask)
    assert dict(zip(merged.places.tolist(), merged.scores.tolist(), strict=True)) == pytest.approx(expected)
    order = sorted(zip(-merged.scores, merged.places, strict=True))
    assert [place for _, place in order] == merged.places.tolist()


@given(st.dictionaries(st.sampled_from(SOURCES), st.tuples(ENTRIES, SHARES)), MASKS)
def test_each_item_tells_which_sources_gave_it_at_which_rank(
    found: dict[str, tuple[Entries, Share]], mask: list[bool]
) -> None:
    """The origins of an item are its ranks in the cleaned lists."""
    merged = merge(found, mask)
    lists = {source: clean(entries, mask, share.budget) for source, (entries, share) in found.items()}
    for row, place in enumerate(merged.places.tolist()):
        told = [(origin.source, origin.rank) for origin in merged.origins(row)]
        assert told == [(source, lists[source].index(place) + 1) for source in sorted(lists) if place in lists[source]]


@given(st.dictionaries(st.sampled_from(SOURCES), st.tuples(ENTRIES, SHARES)), MASKS)
def test_the_order_in_which_sources_answer_does_not_matter(
    found: dict[str, tuple[Entries, Share]], mask: list[bool]
) -> None:
    """Any order of the lists gives the same places and scores, to the bit."""
    merged, reverse = merge(found, mask), merge(dict(reversed(found.items())), mask)
    assert merged.places.tolist() == reverse.places.tolist()
    assert merged.scores.tolist() == reverse.scores.tolist()


@given(st.dictionaries(st.sampled_from(SOURCES), st.tuples(ENTRIES, SHARES)), MASKS, st.integers(0, 12))
def test_a_cut_keeps_the_best_and_what_quotas_need(
    found: dict[str, tuple[Entries, Share]], mask: list[bool], most: int
) -> None:
    """The cut list has `most` items in the order of the whole one; the items of quotas go last."""
    whole, cut = merge(found, mask), merge(found, mask, most)
    assert len(cut.places) == min(most, len(whole.places))
    kept = set(cut.places.tolist())
    assert cut.places.tolist() == [place for place in whole.places.tolist() if place in kept]
    quotas = {place for entries, share in found.values() for place in clean(entries, mask, share.budget)[: share.quota]}
    assert quotas <= kept or kept <= quotas
    unreserved = [place for place in whole.places.tolist() if place not in quotas]
    assert [place for place in cut.places.tolist() if place not in quotas] == unreserved[: len(kept - quotas)]


def test_an_item_of_two_sources_beats_the_first_of_either() -> None:
    """Agreement counts more than one high rank."""
    merged = fuse(
        [candidates("near", [(1, 9.0), (2, 8.0)]), candidates("new", [(3, 1.0), (2, 0.5)])],
        {"near": Share(), "new": Share()},
        ALL,
        most=10,
    )
    assert merged.places.tolist() == [2, 1, 3]
    assert merged.origins(0) == (Origin("near", 2, 8.0), Origin("new", 2, 0.5))
    assert merged.given_by("near").tolist() == [True, True, False]
    assert merged.given_by("absent").tolist() == [False, False, False]


def test_what_is_dropped_is_counted_by_source_and_kind() -> None:
    """Rubbish (unknown, repeated, no number) and masked places are told apart."""
    mask = ALL & (np.arange(ITEMS) != 4)
    entries = [(-1, 1.0), (99, 1.0), (3, math.nan), (5, 1.0), (5, 0.5), (4, 0.4), (3, 0.3)]
    merged = fuse([candidates("near", entries)], {"near": Share()}, mask, most=10)
    assert merged.places.tolist() == [5, 3]
    assert merged.dropped == {"near": Dropped(rubbish=4, masked=1)}


def test_no_sources_merge_to_nothing() -> None:
    """Where every source failed there is an empty list, not an error."""
    merged = fuse([], {}, ALL, most=10)
    assert merged.places.tolist() == []
    assert merged.places.dtype == np.int64


def test_lists_that_cannot_be_merged_are_refused() -> None:
    """A source without a share, or there twice, is an error that names it."""
    near = candidates("near", [(1, 1.0)])
    with pytest.raises(RecsvcError, match=r"'near' has no share; there are: new"):
        fuse([near], {"new": Share()}, ALL, most=10)
    with pytest.raises(RecsvcError, match=r"'near' is there twice"):
        fuse([near, near], {"near": Share()}, ALL, most=10)


def test_candidates_whose_arrays_do_not_fit_are_refused() -> None:
    """Places and scores of two lengths, or of wrong types, are an error that names the source."""
    with pytest.raises(RecsvcError, match=r"'near': places of shape \(2,\) and scores of \(1,\)"):
        Candidates("near", np.array([1, 2]), np.array([0.5]))
    with pytest.raises(RecsvcError, match=r"'near': places are float64"):
        Candidates("near", np.array([1.0]), np.array([0.5]))


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    """Weights are finite and not negative."""
    with pytest.raises(DefinitionError, match="weight"):
        Share(weight)
