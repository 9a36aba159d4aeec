"""Variants of a request: the documented buckets, overrides, and what stays the same from page to page."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.errors import RequestError
from recsvc.recommend.experiments import Assigned, AssignedBy, Assignment, assign, bucket
from recsvc.registry.experiments import CONTROL
from recsvc.registry.placement import BUCKETS, Experiment, Variant

CONTRACT = Path(__file__).parents[3] / "protos" / "recsvc" / "v1" / "serving.proto"
VECTORS = {
    ("ranker-1", "196"): 4898,
    ("ranker-1", "197"): 192,
    ("ranker-2", "196"): 3818,
    ("ranker-1", "zoë"): 1432,
    ("ranker-11", "96"): 7647,
}
RANKER = Experiment("ranker", "ranker-1", [Variant("trees", [(0, 5_000)], placement="home_trees")])
LAYOUT = Experiment(
    "layout", "layout-1", [Variant("wide", [(0, 5_000)], placement="home_wide"), Variant("aa", [(5_000, 6_000)])]
)
EVERYBODY = Experiment("all", "all-1", [Variant("on", [(0, BUCKETS)])])
units = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@pytest.mark.parametrize(("salt", "unit"), VECTORS)
def test_buckets_are_the_documented_ones(salt: str, unit: str) -> None:
    """Other programs compute the same buckets, so these never change."""
    assert bucket(salt, unit) == VECTORS[salt, unit]


def test_the_documentation_has_true_vectors() -> None:
    """Every row of the contract's table is what the function gives."""
    rows = re.findall(r"^// {5}(\S+) +(\S+) +(\d+)$", CONTRACT.read_text(encoding="utf-8"), re.MULTILINE)
    found = {(salt, unit): int(place) for salt, unit, place in rows}
    assert found == {pair: bucket(*pair) for pair in found}
    assert found.keys() > VECTORS.keys()


def test_buckets_are_even() -> None:
    """Of 20,000 units each tenth gets about a tenth (within 5 standard deviations)."""
    tenths = Counter(bucket("even", str(i)) * 10 // BUCKETS for i in range(20_000))
    assert all(abs(tenths[t] - 2_000) < 5 * (20_000 * 0.1 * 0.9) ** 0.5 for t in range(10))


def test_salts_draw_independently() -> None:
    """Who is in the first half under one salt is in either half under another."""
    both = sum(bucket("a", str(i)) < 5_000 and bucket("b", str(i)) < 5_000 for i in range(20_000))
    assert abs(both - 5_000) < 5 * (20_000 * 0.25 * 0.75) ** 0.5


@given(units)
def test_the_bucket_decides(unit: str) -> None:
    """A unit has the variant whose range has its bucket, and the control where none has."""
    found = assign([RANKER], unit)
    inside = bucket("ranker-1", unit) < 5_000
    assert found.assignments == (Assignment("ranker", "trees" if inside else CONTROL, AssignedBy.HASHED),)
    assert found.placement == ("home_trees" if inside else None)


@given(units)
def test_a_range_ends_before_its_end(unit: str) -> None:
    """The first bucket of a range is in it, its end is not."""
    place = bucket("edge", unit)
    ranges = [Variant("before", [(0, place)]), Variant("here", [(place, place + 1)])]
    assert assign([Experiment("edge", "edge", ranges[:1])], unit).assignments[0].variant == CONTROL
    assert assign([Experiment("edge", "edge", ranges)], unit).assignments[0].variant == "here"


@pytest.mark.parametrize("unit", [None, ""])
def test_no_unit_has_the_control(unit: str | None) -> None:
    """Who cannot be told from others gets the placement as it is."""
    assert assign([EVERYBODY], unit) == Assigned((Assignment("all", CONTROL, AssignedBy.DEFAULT),), None)


@pytest.mark.parametrize("unit", ["196", None])
def test_an_override_stands_with_and_without_a_unit(unit: str | None) -> None:
    """What a permitted caller asks for is what it gets, and it is told so."""
    found = assign([RANKER, EVERYBODY], unit, overrides={"ranker": "trees", "all": CONTROL})
    assert found.placement == "home_trees"
    assert found.assignments == (
        Assignment("ranker", "trees", AssignedBy.OVERRIDE),
        Assignment("all", CONTROL, AssignedBy.OVERRIDE),
    )


def test_wrong_overrides_are_all_named() -> None:
    """An experiment or a variant that does not exist is the caller's mistake, each with what there is."""
    with pytest.raises(RequestError) as caught:
        assign([RANKER], "196", overrides={"rnker": "trees", "ranker": "bushes"})
    assert [v.field for v in caught.value.violations] == [
        "experiment_overrides['rnker']",
        "experiment_overrides['ranker']",
    ]
    assert "it has: ranker" in str(caught.value)
    assert "it has: control, trees" in str(caught.value)


def test_overrides_that_want_two_placements_are_refused() -> None:
    """Only one placement can answer."""
    with pytest.raises(RequestError, match="home_trees, home_wide"):
        assign([RANKER, LAYOUT], "196", overrides={"ranker": "trees", "layout": "wide"})


@given(units)
def test_only_experiments_that_had_a_part_are_reported(unit: str) -> None:
    """After a variant that replaces the placement no later experiment is counted; the first one wins."""
    found = assign([RANKER, LAYOUT], unit)
    names = [a.experiment for a in found.assignments]
    assert names == (["ranker"] if found.placement == "home_trees" else ["ranker", "layout"])


@given(units)
def test_an_override_goes_before_what_is_hashed(unit: str) -> None:
    """Whatever the unit's own buckets, the placement of the override answers."""
    found = assign([RANKER, LAYOUT], unit, overrides={"layout": "wide"})
    assert found == Assigned((Assignment("layout", "wide", AssignedBy.OVERRIDE),), "home_wide")


@given(units, st.integers(0, BUCKETS - 1))
def test_later_pages_keep_the_variants_of_the_first(unit: str, end: int) -> None:
    """Shares that change between two pages do not change what answers."""
    first = assign([RANKER, LAYOUT], unit)
    changed = Experiment("ranker", "ranker-1", [Variant("trees", [(end, BUCKETS)], placement="home_trees")])
    assert assign([changed, LAYOUT], unit, kept=first.assignments) == first


@given(units)
def test_what_is_kept_goes_before_what_is_new(unit: str) -> None:
    """An experiment that begins between two pages does not take the later ones over."""
    kept = Assigned((Assignment("layout", "wide", AssignedBy.HASHED),), "home_wide")
    assert assign([RANKER, LAYOUT], unit, kept=kept.assignments) == kept


def test_a_variant_that_is_gone_is_not_kept() -> None:
    """What no longer exists cannot answer: the unit is hashed as on a first page."""
    gone = [Assignment("ranker", "bushes", AssignedBy.HASHED), Assignment("ended", "x", AssignedBy.HASHED)]
    assert assign([RANKER], "196", kept=gone) == assign([RANKER], "196")


def test_no_experiments_no_assignments() -> None:
    """A placement without experiments answers as it is."""
    assert assign([], "196") == Assigned()
