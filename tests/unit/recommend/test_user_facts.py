"""What is known of a user: vectors and lists of items, or nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recsvc import INT64_LIST, STRING_LIST, VECTOR, Entity
from recsvc.online.answer import Source, Status
from recsvc.recommend.user_facts import UserFacts, references
from recsvc.registry.placement import (
    CandidateSource,
    MeanOfRecent,
    Nearest,
    Newest,
    Placement,
    Popular,
    SimilarToRecent,
    SimilarToSeeds,
)
from tests.unit.recommend.queries import RECENT, TASTE, answer, one, user

LIST = STRING_LIST[50, 16]


def test_a_placement_reads_what_its_sources_and_mask_need() -> None:
    """Each list and vector is read once; seen items only where they do not come again."""
    sources: list[CandidateSource] = [
        Nearest("near", "line", TASTE),
        SimilarToSeeds("seeds", "line"),
        SimilarToRecent("recent", "line", RECENT),
        Popular("popular", recent="user:liked"),
        Nearest("mean", "line", MeanOfRecent("user:met")),
        Popular("all"),
        Newest("new"),
    ]
    placement = Placement("home", "films", sources, user=Entity("user", "user_id"), seen=["user:seen", RECENT])
    assert references(placement) == ("user:seen", RECENT, TASTE, "user:liked", "user:met")
    again = Placement("home", "films", sources, seen=["user:seen"], allow_seen=True)
    assert references(again) == (TASTE, RECENT, "user:liked", "user:met")
    assert references(replace(placement, sources=sources[5:])) == ("user:seen", RECENT)
    assert references(replace(again, sources=[Newest("new")])) == ()


@pytest.mark.parametrize("facts", [UserFacts(None), UserFacts(answer({}))], ids=["anonymous", "nothing read"])
def test_of_an_unknown_user_nothing_is_known(facts: UserFacts) -> None:
    """Without an answer there is no vector and no item."""
    assert facts.vector(TASTE) is None
    assert facts.items(RECENT) == []
    assert facts.items(None) == []
    assert facts.all_items([RECENT, "user:seen"]) == []
    assert repr(facts) == "UserFacts(nothing)"


def test_a_vector_is_a_direction() -> None:
    """Numbers that are finite and not all zero are a vector; anything else is none."""
    found = user([1.5, 0.0]).vector(TASTE)
    assert found is not None
    assert found.tolist() == [1.5, 0.0]
    assert found.dtype == np.float32
    for wrong in ([0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [1.0, -np.inf]):
        assert user(wrong).vector(TASTE) is None
    assert user([1.0, 1.0]).vector(RECENT) is None


def test_items_are_ids_in_their_order() -> None:
    """Lists of strings and of integers give canonical ids, newest first."""
    assert user(recent=["b", "a"]).items(RECENT) == ["b", "a"]
    numbers = UserFacts(answer({RECENT: one(INT64_LIST[9], (7, -1, 2**62))}))
    assert numbers.items(RECENT) == ["7", "-1", str(2**62)]
    assert all(type(item) is str for item in numbers.items(RECENT))


def test_items_of_several_lists_come_once() -> None:
    """What stands in several lists, or twice in one, is there once; lists that are not known add nothing."""
    facts = UserFacts(answer({"a:x": one(LIST, ("1", "2", "1")), "b:y": one(LIST, ("2", "3"))}))
    assert facts.all_items(["a:x", "b:y", "c:z"]) == ["1", "2", "3"]
    assert repr(facts) == "UserFacts(a:x, b:y)"


@pytest.mark.parametrize(
    ("status", "source", "known"),
    [
        (Status.PRESENT, Source.STORE, True),
        (Status.NOT_FOUND, Source.DEFAULT, True),
        (Status.OUTSIDE_MAX_AGE, Source.NONE, False),
        (Status.UNAVAILABLE, Source.NONE, False),
        (Status.NULL_VALUE, Source.STORE, False),
    ],
)
def test_what_has_no_value_is_not_known(status: Status, source: Source, *, known: bool) -> None:
    """A null, or what is not there and has no default, is nothing; a default is a value."""
    columns = {
        RECENT: one(LIST, ("a",), status=status, source=source),
        TASTE: one(VECTOR[2], [1.0, 1.0], status=status, source=source),
    }
    facts = UserFacts(answer(columns))
    assert facts.items(RECENT) == (["a"] if known else [])
    assert (facts.vector(TASTE) is not None) == known
