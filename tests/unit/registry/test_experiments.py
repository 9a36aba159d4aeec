"""Definitions of experiments: every mistake is found, and shares say whom they move."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc.registry.experiments import CONTROL, MAX_EXPERIMENTS, moved, placement_problems, problems, share
from recsvc.registry.placement import BUCKETS, Experiment, Variant

RIGHT = Experiment(
    "ranker",
    "ranker-2026",
    [Variant("trees", [(0, 500), (2_000, 2_100)], placement="home_trees"), Variant("same", [(500, 1_000)])],
)
cuts = st.lists(st.integers(0, BUCKETS), min_size=2, max_size=8, unique=True).map(sorted)


def with_buckets(*buckets: Any) -> Experiment:  # noqa: ANN401  # users write anything
    """Make an experiment whose variants have these ranges each."""
    return Experiment("ranker", "s", [Variant(f"v{i}", b) for i, b in enumerate(buckets)])


def test_a_right_experiment_has_no_problems() -> None:
    """Variants with ranges that touch but do not overlap are what experiments are made of."""
    assert problems(RIGHT) == []
    assert placement_problems([RIGHT, replace(RIGHT, name="other", salt="other")]) == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        pytest.param(replace(RIGHT, name="Ranker!"), "a name starts with a-z", id="name"),
        pytest.param(replace(RIGHT, salt=""), "salt '' must be a text", id="no salt"),
        pytest.param(replace(RIGHT, salt="\ud800"), "cannot be written as UTF-8", id="salt"),
        pytest.param(replace(RIGHT, variants=[]), "has no variant", id="no variant"),
        pytest.param(Experiment("e", "s", [Variant("Big", [(0, 1)])]), "variant 'Big': a name", id="variant's name"),
        pytest.param(Experiment("e", "s", [Variant(CONTROL, [(0, 1)])]), "the control needs no variant", id="control"),
        pytest.param(with_buckets([]), "has no buckets", id="no buckets"),
        pytest.param(with_buckets([(5, 5)]), "(5, 5) must be (begin, end)", id="empty range"),
        pytest.param(with_buckets([(-1, 5)]), "(-1, 5) must be", id="below"),
        pytest.param(with_buckets([(0, BUCKETS + 1)]), "must be (begin, end)", id="above"),
        pytest.param(with_buckets([(0.0, 0.5)]), "must be (begin, end)", id="shares"),
        pytest.param(with_buckets([7]), "buckets 7 must be", id="no range"),
        pytest.param(with_buckets([(0, 10)], [(9, 20)]), "buckets 9 to 10 belong to 'v0' and 'v1'", id="overlap"),
        pytest.param(with_buckets([(0, 9), (3, 5)]), "buckets 3 to 5 belong to 'v0' and 'v0'", id="own overlap"),
        pytest.param(replace(RIGHT, variants=[*RIGHT.variants, Variant("same", [(9, 10)])]), "defined 2 times", id="2"),
    ],
)
def test_each_mistake_is_found(wrong: Experiment, says: str) -> None:
    """A line names the experiment and says what would be right."""
    lines = problems(wrong)
    assert any(says in line for line in lines), lines
    assert all(line.startswith(f"experiment {wrong.name!r}") for line in lines)


def test_a_wide_range_overlaps_all_that_lie_in_it() -> None:
    """Each of them has a line, not only the first."""
    assert len(problems(with_buckets([(0, 100)], [(10, 20)], [(50, 60)]))) == 2


def test_experiments_of_a_placement_need_names_and_salts_of_their_own() -> None:
    """The same salt would give the units of one experiment to the other."""
    assert any("defined 2 times" in line for line in placement_problems([RIGHT, RIGHT]))
    [line] = placement_problems([RIGHT, replace(RIGHT, name="other")])
    assert "salt 'ranker-2026': 2 experiments" in line


def test_a_placement_has_so_many_experiments_and_no_more() -> None:
    """A page token has to carry all of them."""
    many = [replace(RIGHT, name=f"e{i}", salt=f"e{i}") for i in range(MAX_EXPERIMENTS + 1)]
    assert placement_problems(many[1:]) == []
    assert len(placement_problems(many)) == 1


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), min_size=1, max_size=6))
def test_overlaps_are_found_exactly_where_a_bucket_has_two_variants(spans: list[tuple[int, int]]) -> None:
    """The check agrees with counting each bucket."""
    ranges = [(begin, begin + length) for begin, length in spans]
    covered = [b for begin, end in ranges for b in range(begin, end)]
    assert bool(problems(with_buckets(*([r] for r in ranges)))) == (len(covered) > len(set(covered)))


@given(cuts, st.data())
def test_growing_from_the_control_moves_nobody(bounds: list[int], data: st.DataObject) -> None:
    """A variant that takes free buckets takes them from the control alone; one that loses them moves that many."""
    begin, end = bounds[0], bounds[-1]
    small_end = data.draw(st.integers(begin + 1, end))
    small, grown = with_buckets([(begin, small_end)]), with_buckets([(begin, end)])
    assert problems(grown) == []
    assert moved(small, grown) == 0
    assert moved(grown, small) == end - small_end
    assert share(grown, "v0") + share(grown, CONTROL) == pytest.approx(1)


def test_another_salt_moves_everybody() -> None:
    """Under a new salt all units are drawn anew."""
    assert moved(RIGHT, replace(RIGHT, salt="new")) == BUCKETS


def test_share_of_a_variant_is_that_of_its_ranges() -> None:
    """Shares add up over ranges, and what does not exist has none."""
    assert share(RIGHT, "trees") == pytest.approx(0.06)
    assert share(RIGHT, CONTROL) == pytest.approx(0.89)
    assert share(RIGHT, "unknown") == 0
