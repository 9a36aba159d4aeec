"""Changes of placements are told field by field, as a person would say them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from recsvc import (
    AnyOf,
    Boost,
    Condition,
    Diversity,
    Experiment,
    IsTrue,
    MeanOfRecent,
    Nearest,
    Newest,
    Pin,
    SimilarToSeeds,
    Variant,
    WhenStale,
)
from recsvc.registry.differences import differences
from tests.unit.registry.placed import NEAREST, POPULAR, placement

MEAN = Nearest("near", "films", MeanOfRecent("taste:recent"))
OPEN, DRAMA = Condition("film:open", IsTrue()), Condition("film:genres", AnyOf(["Drama"]))
TEST = Experiment("color", "s", [Variant("b", [(0, 10)])])
WIDER = replace(TEST, variants=[Variant("b", [(0, 20)]), Variant("c", [(20, 30)], "other")])
CHANGES: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({}, {"sources": [NEAREST, replace(POPULAR, weight=3.0)]}, ["source 'pop': weight 0.5 -> 3.0"]),
    ({}, {"sources": [POPULAR, NEAREST]}, ["sources order changed"]),
    ({}, {"sources": [NEAREST]}, ["source 'pop' removed"]),
    (
        {},
        {"sources": [NEAREST, POPULAR, SimilarToSeeds("seeds", "films", quota=2)]},
        ["source 'seeds' added: SimilarToSeeds(name=seeds, index=films, quota=2)"],
    ),
    ({}, {"sources": [NEAREST, Newest("pop")]}, ["source 'pop': Popular(name=pop) -> Newest(name=pop)"]),
    (
        {"sources": [MEAN]},
        {"sources": [replace(MEAN, query=MeanOfRecent("taste:recent", 5))]},
        ["source 'near': query: last 10 -> 5"],
    ),
    (
        {},
        {"sources": [replace(MEAN, timeout=timedelta(seconds=1)), POPULAR]},
        [
            "source 'near': query taste:likes -> MeanOfRecent(recent=taste:recent)",
            "source 'near': timeout 0:00:00.050000 -> 0:00:01",
        ],
    ),
    ({}, {"user": None}, ["user user -> None"]),
    (
        {"filters": [OPEN]},
        {"filters": [DRAMA, OPEN]},
        ["filters added ['Condition(feature=film:genres, predicate=AnyOf(values=[Drama]))']"],
    ),
    (
        {"boosts": [Boost(OPEN, 2)], "pins": [Pin("1", 1)]},
        {"boosts": [], "pins": [Pin("1", 2)]},
        [
            "boosts removed ['Boost(when=Condition(feature=film:open, predicate=IsTrue()), positions=2)']",
            "pins removed ['Pin(item=1, position=1)'], added ['Pin(item=1, position=2)']",
        ],
    ),
    ({}, {"diversity": Diversity("films", 0.5)}, ["diversity: weight 0.3 -> 0.5"]),
    ({}, {"diversity": None}, ["diversity Diversity(index=films) -> None"]),
    (
        {"experiments": [TEST]},
        {"experiments": [WIDER]},
        [
            "experiment 'color': variant 'b': buckets removed ['[0, 10]'], added ['[0, 20]']",
            "experiment 'color': variant 'c' added: Variant(name=c, buckets=[[20, 30]], placement=other)",
        ],
    ),
    ({}, {"when_stale": WhenStale.LEAVE_OUT, "limit": 20.0}, ["limit 10 -> 20.0", "when_stale serve -> leave_out"]),
    ({}, {"candidates": 500.0}, []),
]


@pytest.mark.parametrize(("old", "new", "lines"), CHANGES, ids=lambda v: str(v)[:60] if isinstance(v, list) else "")
def test_each_field_that_changed_is_a_line(old: dict[str, Any], new: dict[str, Any], lines: list[str]) -> None:
    """Parts with names are found by those; of a part only what is not as usual is told."""
    assert list(differences(placement(**old), placement(**new))) == lines
