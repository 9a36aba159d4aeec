"""Every mistake in catalogues and placements is one line that names it, and all are told at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recsvc import (
    FLOAT64,
    INT64,
    STRING,
    AllOf,
    AnyOf,
    Boost,
    Condition,
    Diversity,
    Entity,
    Experiment,
    Feature,
    FeatureView,
    IsPresent,
    IsTrue,
    MeanOfRecent,
    Nearest,
    Newest,
    NoneOf,
    Pin,
    Placement,
    Popular,
    Range,
    SimilarToRecent,
    SimilarToSeeds,
    Variant,
    WhenStale,
)
from recsvc.registry.placement import CandidateSource
from recsvc.registry.types import FeatureType
from recsvc.registry.validate_placements import MAX_CANDIDATES, MAX_LIMIT
from tests.unit.registry.definitions import HOUR, ITEM, USER
from tests.unit.registry.placed import NEAREST, POPULAR, VIEWS, catalogue, placed, placement, told

OTHER_ITEM, OTHER_USER = Entity("item", "film_id"), Entity("user", "uid", INT64)
INF, NAN = float("inf"), float("nan")
TIME = datetime(2026, 1, 1, tzinfo=UTC)
NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001  # without a time zone is what is wrong
LIKED = Condition("film:open", IsTrue())
TO_OTHER = Experiment("e", "s", [Variant("b", [(0, 10)], placement="other")])


def test_right_placements_have_no_problems() -> None:
    """All kinds of sources, filters, pins and experiments, and a catalogue with nothing but popularity, are right."""
    filters = [
        Condition("film:year", Range(min=1990, max=1990)),
        Condition("film:out", Range(max=TIME, max_exclusive=True)),
        Condition("film:genres", AnyOf(["Drama", "War"])),
        Condition("film:tags", AllOf([1, 2])),
        Condition("film:title", NoneOf(["Heat"])),
        Condition("film:open", IsTrue()),
        Condition("film:pop", IsPresent()),
    ]
    sources = [
        NEAREST,
        Nearest("mean", "films", MeanOfRecent("taste:recent", last=3)),
        SimilarToSeeds("seeds", "films", quota=1),
        SimilarToRecent("recent", "films", "taste:recent"),
        Popular("liked", recent="taste:recent"),
        Newest("new"),
    ]
    home = placement(
        sources=sources,
        filters=filters,
        pins=[Pin("1", 1), Pin("2", 3)],
        boosts=[Boost(LIKED, 3), Boost(LIKED, -2)],
        ranker="linear",
        experiments=[TO_OTHER],
        when_stale=WhenStale.LEAVE_OUT,
    )
    assert told(home, placement("other")) == []
    bare = catalogue(available=None, created_at=None, category=None, filterable=())
    plain = placement(user=None, sources=[POPULAR], service=None, seen=(), seen_pairs=(), cap=None, diversity=None)
    assert told(plain, films=bare) == []


CATALOGUES: list[tuple[dict[str, Any], str]] = [
    ({"popularity": "film:none"}, "popularity: 'film:none' is not a stored feature (view:feature)"),
    ({"popularity": "film"}, "popularity: 'film' is not a stored feature"),
    ({"popularity": "film@v2:pop"}, "popularity: 'film@v2:pop' is not a stored feature"),
    ({"popularity": "live:age"}, "popularity: 'live:age' is not a stored feature"),
    ({"popularity": "film:title"}, "popularity: 'film:title' is STRING[8], not FLOAT32 or FLOAT64 or INT64"),
    ({"popularity": "slow:pop"}, "popularity: 'slow:pop': its view must be mirrored=True, since every server keeps"),
    ({"popularity": "taste:age"}, "popularity: 'taste:age' is a feature of user, not of item"),
    ({"popularity": "rated:stars"}, "popularity: 'rated:stars' is a feature of user and item, not of item"),
    ({"available": "film:year"}, "available: 'film:year' is INT64, not BOOL"),
    ({"created_at": "film:year"}, "created_at: 'film:year' is INT64, not TIMESTAMP"),
    ({"category": "film:tags"}, "category: 'film:tags' is INT64_LIST[4], not STRING or STRING_LIST"),
    ({"filterable": ["film:year", "film:look"]}, "filterable: 'film:look' is VECTOR[2], not "),
    ({"title": "film:tags"}, "title: 'film:tags' is INT64_LIST[4], not STRING"),
    ({"filterable": ["film:none"]}, "filterable: 'film:none' is not a stored feature"),
    ({"item": OTHER_ITEM}, "item: entity 'item' is not the one that the views have; share one"),
]


@pytest.mark.parametrize(("changes", "words"), CATALOGUES, ids=lambda v: v[:60] if isinstance(v, str) else "")
def test_a_mistake_of_a_catalogue_is_a_line(changes: dict[str, Any], words: str) -> None:
    """Its references are stored, mirrored features of the item alone, of the kind that each is for."""
    found = told(films=catalogue(**changes))
    assert len(found) == 1, found
    assert found[0].startswith(f"catalogue 'films': {words}")


PLACEMENTS: list[tuple[dict[str, Any], str]] = [
    ({"limit": 0}, "limit: 0 must be from 1 to 500"),
    ({"limit": MAX_LIMIT + 1, "candidates": MAX_CANDIDATES}, "limit: 501 must be from 1 to 500"),
    ({"candidates": 9}, "candidates: 9 must be from its limit to 2000"),
    ({"candidates": MAX_CANDIDATES + 1}, "candidates: 2001 must be from its limit to 2000"),
    ({"catalogue": "songs"}, "there is no catalogue 'songs'"),
    ({"service": "none"}, "there is no feature service 'none'"),
    ({"service": None, "ranker": "linear"}, "ranker: needs a service, whose features it ranks by"),
    ({"service": "visitors"}, "service 'visitors' needs the id of guest, unknown to the placement"),
    ({"sources": []}, "has no candidate sources"),
    ({"sources": [POPULAR, POPULAR]}, "source 'pop': defined 2 times"),
    ({"sources": [Popular("Pop!")]}, "source 'Pop!': a name starts with a-z"),
    ({"user": OTHER_USER}, "user: entity 'user' is not the one that the views have; share one"),
    ({"seen": ["film:tags"]}, "seen: 'film:tags' is a feature of item, not of user"),
    ({"seen": ["taste:age"]}, "seen: 'taste:age' is INT64, not INT64_LIST or STRING_LIST"),
    ({"seen_pairs": ["rated:stars"]}, "seen_pairs: 'rated:stars' is FLOAT64, not BOOL"),
    ({"seen_pairs": ["film:open"]}, "seen_pairs: 'film:open' is a feature of item, not of user and item"),
    ({"pins": [Pin("1", 1), Pin("2", 1)]}, "pins: each item and each position at most once"),
    ({"pins": [Pin("1", 1), Pin("1", 2)]}, "pins: each item and each position at most once"),
    ({"pins": [Pin("1", 0)]}, "pins: position 0 must be at least 1"),
    ({"pins": [Pin("", 1)]}, "pins: item '': an id must not be empty"),
    ({"boosts": [Boost(LIKED, 0)]}, "boosts[0]: positions: 0 must be 1 to 2000, or as much below 0"),
    ({"boosts": [Boost(LIKED, -2001)]}, "boosts[0]: positions: -2001 must be 1 to 2000"),
    ({"boosts": [Boost(Condition("film:nope", IsTrue()), 1)]}, "boosts[0]: 'film:nope' is not a feature"),
    ({"cap": 0}, "cap: 0 must be at least 1"),
    ({"diversity": Diversity("films", 1.5)}, "diversity: weight 1.5 must be from 0 to 1"),
    ({"diversity": Diversity("films", NAN)}, "diversity: weight nan must be from 0 to 1"),
    ({"diversity": Diversity("films", timeout=timedelta(0))}, "diversity: timeout must be more than 0"),
    ({"ranker_timeout": timedelta(0)}, "ranker_timeout: must be more than 0"),
    ({"stale_after": timedelta(0)}, "stale_after: must be more than 0"),
    ({"experiments": [Experiment("e", "", [Variant("b", [(0, 1)])])]}, "experiment 'e': salt '' must be a text"),
    (
        {"experiments": [TO_OTHER]},
        "experiment 'e': variant 'b': there is no placement 'other'",
    ),
    (
        {"experiments": [Experiment("e", "s", [Variant("b", [(0, 1)], "home")])]},
        "experiment 'e': variant 'b': 'home' has experiments of its own, or another catalogue or user",
    ),
]


@pytest.mark.parametrize(("changes", "words"), PLACEMENTS, ids=lambda v: v[:60] if isinstance(v, str) else "")
def test_a_mistake_of_a_placement_is_a_line(changes: dict[str, Any], words: str) -> None:
    """Each thing that cannot be served is told at start, by the name of the placement."""
    found = told(placement(**changes))
    assert len(found) == 1, found
    assert found[0].startswith(f"placement 'home': {words}")


SOURCES: list[tuple[CandidateSource, str]] = [
    (replace(POPULAR, weight=0.0), "weight: 0.0 must be more than 0"),
    (replace(POPULAR, weight=-1), "weight: -1 must be more than 0"),
    (replace(POPULAR, weight=INF), "weight: inf must be more than 0"),
    (replace(POPULAR, weight=NAN), "weight: nan must be more than 0"),
    (replace(POPULAR, candidates=0), "candidates: 0 must be from 1 to 2000"),
    (replace(POPULAR, candidates=MAX_CANDIDATES + 1), "candidates: 2001 must be from 1 to 2000"),
    (replace(POPULAR, quota=-1), "quota: -1 must be from 0 to the limit"),
    (replace(POPULAR, quota=11), "quota: 11 must be from 0 to the limit"),
    (replace(POPULAR, timeout=timedelta(0)), "timeout: must be more than 0"),
    (replace(POPULAR, pool=0), "pool: 0 must be at least 1"),
    (replace(POPULAR, recent="taste:age"), "recent: 'taste:age' is INT64, not INT64_LIST or STRING_LIST"),
    (SimilarToRecent("pop", "films", "taste:recent", last=0), "last: 0 must be at least 1"),
    (SimilarToRecent("pop", "films", "film:tags"), "recent: 'film:tags' is a feature of item, not of user"),
    (Nearest("pop", "films", "taste:age"), "query: 'taste:age' is INT64, not VECTOR"),
    (Nearest("pop", "films", "film:look"), "query: 'film:look' is a feature of item, not of user"),
    (Nearest("pop", "films", "taste"), "query: 'taste' is not a stored feature"),
    (Nearest("pop", "films", MeanOfRecent("taste:age")), "query.recent: 'taste:age' is INT64, not INT64_LIST or "),
    (Nearest("pop", "films", MeanOfRecent("film:tags")), "query.recent: 'film:tags' is a feature of item, not of user"),
    (Nearest("pop", "films", MeanOfRecent("taste:recent", last=0)), "query.last: 0 must be at least 1"),
    (Newest("pop", within=-HOUR), "within: must be more than 0"),
]


@pytest.mark.parametrize(("source", "words"), SOURCES, ids=lambda v: v[:60] if isinstance(v, str) else "")
def test_a_mistake_of_a_source_is_a_line(source: CandidateSource, words: str) -> None:
    """Weights, sizes, times and references of each kind of source are looked at."""
    found = told(placement(sources=[source]))
    assert len(found) == 1, found
    assert found[0].startswith(f"placement 'home': source 'pop': {words}")


def numbered(key_type: FeatureType) -> list[str]:
    """Return what is told of lists of integers, where the ids of films are of this type."""
    item = Entity("item", "item_id", key_type)
    views = [FeatureView(v.name, [item], v.features, mirrored=True) if v.name == "film" else v for v in VIEWS[:2]]
    sources = [
        Nearest("mean", "films", MeanOfRecent("taste:numbers")),
        SimilarToRecent("recent", "films", "taste:numbers"),
        Popular("liked", recent="taste:numbers"),
    ]
    home = placement(sources=sources, seen=["taste:numbers", "taste:recent"], seen_pairs=(), service=None)
    return told(home, films=catalogue(item=item), views=views, on_demand=[], services=[])


def test_lists_of_items_hold_what_their_ids_are() -> None:
    """Integers are no ids of a STRING entity; those of an INT64 one may be integers, or texts of such."""
    wrong = "'taste:numbers' is INT64_LIST[5], but ids of item are STRING: name a STRING_LIST of them"
    assert numbered(STRING) == [
        f"placement 'home': source 'mean': query.recent: {wrong}",
        f"placement 'home': source 'recent': recent: {wrong}",
        f"placement 'home': source 'liked': recent: {wrong}",
        f"placement 'home': seen: {wrong}",
    ]
    assert numbered(INT64) == []


def test_what_needs_a_user_is_told_where_there_is_none() -> None:
    """A placement without users has no use for features of users; each of them is a line."""
    mean = Nearest("mean", "films", MeanOfRecent("taste:recent"))
    recent = SimilarToRecent("recent", "films", "taste:recent")
    sources = [NEAREST, mean, recent, Popular("liked", recent="taste:recent")]
    found = told(placement(user=None, sources=sources, service=None))
    for_want = "needs to know the user's entity: give the placement a user"
    assert found == [
        f"placement 'home': source 'near': query: 'taste:likes' {for_want}",
        f"placement 'home': source 'mean': query.recent: 'taste:recent' {for_want}",
        f"placement 'home': source 'recent': recent: 'taste:recent' {for_want}",
        f"placement 'home': source 'liked': recent: 'taste:recent' {for_want}",
        f"placement 'home': seen: 'taste:recent' {for_want}",
        "placement 'home': seen_pairs: 'rated:rated' is a feature of user and item, not of item",
    ]


def test_what_needs_a_column_of_the_catalogue_is_told_where_there_is_none() -> None:
    """Caps and popularity by category need a category, new items need to know since when they are."""
    bare = catalogue(category=None, created_at=None)
    home = placement(sources=[Popular("liked", recent="taste:recent"), Newest("new")])
    assert told(home, films=bare) == [
        "placement 'home': source 'liked': recent: the catalogue has no category",
        "placement 'home': source 'new': the catalogue has no created_at, by which items are new",
        "placement 'home': cap: the catalogue has no category",
    ]


FILTERS: list[tuple[str, Any, str]] = [
    ("film:look", IsPresent(), "'film:look' is not a feature that the catalogue keeps; add it to filterable"),
    ("slow:pop", IsPresent(), "'slow:pop' is not a feature that the catalogue keeps"),
    ("film", IsPresent(), "'film' is not a feature that the catalogue keeps"),
    ("film:year", AnyOf([]), "'film:year': any_of: has no values, needs at least one"),
    ("film:year", AllOf([1, 2.5]), "'film:year': all_of[1]: 2.5 is not an integer of 64 bits"),
    ("film:year", NoneOf([True]), "'film:year': none_of[0]: True is a bool, not INT64"),
    ("film:genres", AnyOf(["too long for it"]), "'film:genres': any_of[0]: has 15 bytes, more than the bound 8"),
    ("film:tags", AnyOf(["a"]), "'film:tags': any_of[0]: 'a' is not an integer"),
    ("film:pop", AnyOf([NAN]), "'film:pop': any_of[0]: NaN equals nothing"),
    ("film:pop", Range(), "'film:pop': range: has no end, needs min or max or both"),
    ("film:pop", Range(min=2, max=1.5), "'film:pop': range: has min 2 above max 1.5"),
    ("film:pop", Range(min=NAN), "'film:pop': range.min: NaN"),
    ("film:out", Range(max=NAIVE), "'film:out': range.max: datetime.datetime(2026, 1, 1, 0, 0) is not a datetime with"),
    ("film:title", Range(min="a"), "'film:title': range: the feature is STRING[8]; a range is for numbers and times"),
    ("film:year", IsTrue(), "'film:year': is_true: the feature is INT64; is_true is for BOOL"),
]


@pytest.mark.parametrize(("feature", "predicate", "words"), FILTERS)
def test_a_mistake_of_a_filter_is_a_line(feature: str, predicate: Any, words: str) -> None:  # noqa: ANN401  # any predicate
    """A placement's own filters are checked as those of requests are, on all that the catalogue keeps."""
    right = Condition("film:open", IsTrue())
    found = told(placement(filters=[right, Condition(feature, predicate)]))
    assert len(found) == 1, found
    assert found[0].startswith(f"placement 'home': filters[1]: {words}")


def test_a_registry_has_the_values_of_filters_as_masks_want_them() -> None:
    """Times become microseconds and integers of a float feature floats, as FeatureType.normalize gives them."""
    given = [
        Condition("film:out", Range(min=TIME)),
        Condition("film:pop", AnyOf([1])),
        Condition("film:open", IsTrue()),
    ]
    filters = placed(placement(filters=given)).placements["home"].filters
    assert filters == (
        Condition("film:out", Range(min=round(TIME.timestamp() * 1e6))),
        Condition("film:pop", AnyOf((1.0,))),
        Condition("film:open", IsTrue()),
    )
    assert isinstance(filters[1].predicate, AnyOf)
    assert isinstance(filters[1].predicate.values[0], float)


def test_names_are_names_and_given_once() -> None:
    """Catalogues and placements have names of their own."""
    films = [catalogue(), catalogue(), catalogue("Films")]
    found = told(placement(), placement(), placement("a" * 65), catalogues=films)
    right = "a name starts with a-z, goes on with a-z, 0-9 and _, and has at most 64 characters"
    assert found == [
        "catalogue 'films': defined 2 times",
        f"catalogue 'Films': {right}",
        "placement 'home': defined 2 times",
        f"placement '{'a' * 65}': {right}",
    ]


def test_a_variant_stays_with_the_catalogue() -> None:
    """A placement that stands for another has the same items, and no experiments of its own."""
    home = placement(experiments=[TO_OTHER])
    films = [catalogue(), catalogue("others")]
    (line,) = told(home, placement("other", catalogue="others"), catalogues=films)
    assert line.endswith("'other' has experiments of its own, or another catalogue or user")


@pytest.mark.parametrize("users", [(USER, None), (None, USER)])
def test_a_variant_stays_with_the_user(users: tuple[Entity | None, Entity | None]) -> None:
    """A placement that stands for another knows the same user: what is asked of the one is asked of both."""
    own, others = users
    home = Placement("home", "films", [POPULAR], user=own, experiments=[TO_OTHER])
    other = Placement("other", "films", [POPULAR], user=own)
    assert told(home, other) == []
    (line,) = told(home, replace(other, user=others))
    assert line.endswith("'other' has experiments of its own, or another catalogue or user")


def test_the_active_version_of_a_view_counts() -> None:
    """A reference without a version is to the one that is served; one with a version is to that."""
    views = [*VIEWS, FeatureView("film", [ITEM], [Feature("pop", FLOAT64)], version=2, mirrored=True)]
    bare = catalogue(available=None, created_at=None, category=None, filterable=())
    plain = placement(cap=None, service=None)
    assert told(plain, films=bare, views=views, services=[], active={"film": 2}) == []
    (line,) = told(plain, films=replace(bare, popularity="film:year"), views=views, services=[], active={"film": 2})
    assert "'film:year' is not a stored feature" in line
    right = replace(bare, popularity="film@v1:year")
    assert told(plain, films=right, views=views, services=[], active={"film": 2}) == []


def test_all_mistakes_are_told_at_once() -> None:
    """Mistakes of views, catalogues and placements, also of one without its catalogue, stand in one error."""
    views = [*VIEWS, FeatureView("Bad", [USER], [Feature("a", INT64)])]
    lost = placement("lost", catalogue="songs", experiments=[TO_OTHER])
    home = placement(limit=0, sources=[replace(POPULAR, weight=0)], filters=[Condition("film:year", AnyOf([]))])
    found = told(home, lost, films=catalogue(available="film:year", category="no"), views=views)
    assert [line.partition(": ")[0] + " " + line.rpartition(": ")[2][:20] for line in found] == [
        "view 'Bad' a name starts with a",
        "catalogue 'films' 'film:year' is INT64",
        "catalogue 'films' 'no' is not a stored",
        "placement 'home' 0 must be from 1 to ",
        "placement 'home' 0 must be more than ",
        "placement 'home' has no values, needs",
        "placement 'lost' there is no catalogu",
        "placement 'lost' there is no placemen",
    ]


TEXT: Any = "text"
TWO: Any = 2
SHORT: Any = 0.05
ONE: Any = POPULAR
KINDS: list[tuple[dict[str, Any], str]] = [
    ({"sources": ONE}, "sources must be a list of Nearest or SimilarToSeeds or SimilarToRecent or Popular or Newest, "),
    ({"sources": [TEXT]}, "sources[0] must be Nearest or SimilarToSeeds or SimilarToRecent or Popular or Newest, not"),
    ({"sources": [Popular("pop", timeout=SHORT)]}, "sources[0].timeout must be timedelta, not 0.05"),
    ({"sources": [POPULAR, Popular(TWO)]}, "sources[1].name must be str, not 2"),
    ({"sources": [Popular("pop", weight=TEXT)]}, "sources[0].weight must be float, not 'text'"),
    ({"sources": [Popular("pop", candidates=True)]}, "sources[0].candidates must be int, not True"),
    ({"sources": [Nearest("near", "films", TWO)]}, "sources[0].query must be str or MeanOfRecent, not 2"),
    ({"sources": [Nearest("near", "films", MeanOfRecent(TWO))]}, "sources[0].query.recent must be str, not 2"),
    ({"catalogue": catalogue()}, "catalogue must be str, not Catalogue("),
    ({"limit": "10"}, "limit must be int, not '10'"),
    ({"limit": 10.0}, "limit must be int, not 10.0"),
    ({"user": "user"}, "user must be Entity or None, not 'user'"),
    ({"seen": "taste:recent"}, "seen must be a list of str, not 'taste:recent'"),
    ({"seen": {"taste:recent"}}, "seen must be a list of str, not {'taste:recent'}"),
    ({"allow_seen": 1}, "allow_seen must be bool, not 1"),
    ({"cap": "2"}, "cap must be int or None, not '2'"),
    ({"diversity": 0.3}, "diversity must be Diversity or None, not 0.3"),
    ({"diversity": Diversity(TWO)}, "diversity.index must be str, not 2"),
    ({"pins": [("1", 1)]}, "pins[0] must be Pin, not ('1', 1)"),
    ({"pins": [Pin(TWO, 1)]}, "pins[0].item must be str, not 2"),
    ({"stale_after": 60}, "stale_after must be timedelta, not 60"),
    ({"when_stale": "serve"}, "when_stale must be WhenStale, not 'serve'"),
    ({"filters": Condition("film:year", IsPresent())}, "filters must be a list of Condition, not Condition("),
    ({"filters": [Condition("film:year", TWO)]}, "filters[0].predicate must be AnyOf or AllOf or NoneOf or Range or "),
    ({"filters": [Condition("film:title", AnyOf("Heat"))]}, "filters[0].predicate.values must be a list of int or "),
    ({"filters": [Condition("film:year", AnyOf([None]))]}, "filters[0].predicate.values[0] must be int or float or "),  # type: ignore[list-item]  # a user's
    ({"experiments": [TEXT]}, "experiments[0] must be Experiment, not 'text'"),
    ({"experiments": [Experiment("e", "s", [TEXT])]}, "experiments[0].variants[0] must be Variant, not 'text'"),
    ({"experiments": [Experiment("e", "s", [Variant("b", TWO)])]}, "buckets must be a list of (begin, end), not 2"),
]


@pytest.mark.parametrize(("changes", "words"), KINDS, ids=lambda v: v[:60] if isinstance(v, str) else "")
def test_things_of_the_wrong_kind_are_told_apart(changes: dict[str, Any], words: str) -> None:
    """What Python's types would have refused is a line like any other mistake, not a traceback."""
    found = told(placement(**changes))
    assert len(found) == 1, found
    assert found[0].startswith("placement 'home': ")
    assert words in found[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"films": catalogue(item="item")}, "catalogue 'films': item must be Entity, not 'item'"),
        ({"films": catalogue(available=True)}, "catalogue 'films': available must be str or None, not True"),
        ({"films": catalogue(filterable="film:year")}, "catalogue 'films': filterable must be a list of str, not"),
        ({"films": "films"}, "registry: catalogues must be a list of Catalogue; 'films' is not one"),
        ({"placements": ["home"]}, "registry: placements must be a list of Placement; 'home' is not one"),
        ({"placements": [catalogue()]}, "registry: placements must be a list of Placement; Catalogue("),
    ],
)
def test_catalogues_and_placements_are_such(changes: dict[str, Any], words: str) -> None:
    """Also what stands where a catalogue or a placement is due is a line."""
    (line,) = told(**changes)
    assert line.startswith(words)


def test_sequences_of_any_kind_are_taken() -> None:
    """Tuples and lists of definitions are the same, and an integer is a weight."""
    sources: Sequence[CandidateSource] = (replace(POPULAR, weight=2),)
    assert told(placement(sources=sources, seen=("taste:recent",), filters=())) == []
