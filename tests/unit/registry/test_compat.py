"""Which changes of definitions break rows or callers that there are, and which do not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from recsvc import (
    FLOAT32,
    FLOAT64,
    INT64,
    STRING,
    TIMESTAMP,
    VECTOR,
    Entity,
    Feature,
    FeatureService,
    FeatureView,
    OnDemandFeature,
    OnDemandView,
    Registry,
    RequestField,
)
from recsvc.errors import DefinitionError
from recsvc.registry.compat import Breaks, Change, compare, ensure_compatible, to_judge
from tests.unit.registry.definitions import HOUR, USER, difference, double, profile, registry
from tests.unit.registry.placed import catalogue, placed, placement

A, B, C = Feature("a", INT64, 0), Feature("b", STRING[8], "x"), Feature("c", VECTOR[4])


def of(*features: Feature, entity: Entity = USER, **options: Any) -> Registry:  # noqa: ANN401  # any of FeatureView's
    """Return a registry of one view."""
    return Registry(views=[FeatureView("p", [entity], features or (A, B, C), **options)])


def told(old: Registry, new: Registry, **stored: list[str]) -> list[tuple[str, Breaks | None]]:
    """Return each change with what it breaks; ``stored`` has the lines of the rows of views, of version 1, by name."""
    return [(str(c), c.breaks) for c in compare(old, new, {(name, 1): lines for name, lines in stored.items()})]


BREAKING: list[tuple[Registry, str]] = [
    (of(Feature("a", FLOAT64, 0), B, C), "view 'p@v1': feature 'a': type INT64 -> FLOAT64; needs a new version"),
    (of(Feature("a", TIMESTAMP, 0), B, C), "view 'p@v1': feature 'a': type INT64 -> TIMESTAMP; needs a new version"),
    (of(A, B, Feature("c", VECTOR[5])), "view 'p@v1': feature 'c': type VECTOR[4] -> VECTOR[5]; needs a new version"),
    (of(A, C), "view 'p@v1': feature 'b' removed; features can only be appended, anything else needs a new version"),
    (of(B, C), "view 'p@v1': feature 'a' removed; features can only be appended"),
    (of(B, A, C), "view 'p@v1': feature 'a' moved, 'b' stands in its place; features can only be appended"),
    (
        of(entity=Entity("user", "user_id", INT64, spread=8)),
        "entity 'user': spread None -> 8; it decides where rows are",
    ),
    (of(entity=Entity("user", "user_id")), "entity 'user': key_type 'INT64' -> 'STRING'; it decides where rows are"),
    (of(entity=Entity("user", "uid", INT64)), "entity 'user': join_key 'user_id' -> 'uid'; it decides where rows are"),
]


@pytest.mark.parametrize(("new", "words"), BREAKING, ids=lambda v: v[:70] if isinstance(v, str) else "")
def test_what_moves_bytes_or_rows_breaks(new: Registry, words: str) -> None:
    """Type, dimension, order, a removed feature, spread and key type are refused, with the reason."""
    (change,) = compare(of(), new)
    assert change.breaks is Breaks.ROWS
    assert str(change).startswith(words)
    with pytest.raises(DefinitionError) as caught:
        ensure_compatible(of(), new)
    assert caught.value.problems == (str(change),)


def test_other_entities_break() -> None:
    """A view of another entity has other keys."""
    new = of(entity=Entity("guest", "guest_id"))
    assert ("view 'p@v1': entities ['user'] -> ['guest']; needs a new version", Breaks.ROWS) in told(of(), new)


def test_a_feature_put_between_others_breaks() -> None:
    """Only at the end can a feature be added."""
    changes = told(of(A, C), of(A, B, C))
    assert changes[0][0].startswith("view 'p@v1': feature 'c' moved, 'b' stands in its place")
    assert [breaks for _, breaks in changes] == [Breaks.ROWS, None]


def test_features_dropped_from_the_end_break_callers_alone() -> None:
    """Rows and readers agree on the prefix that they share; another feature in the place of one is another row."""
    dropped = "dropped from the end"
    assert told(of(), of(A)) == [
        (f"view 'p@v1': feature 'b' {dropped}", Breaks.CALLERS),
        (f"view 'p@v1': feature 'c' {dropped}", Breaks.CALLERS),
    ]
    assert ensure_compatible(of(), of(A)) == compare(of(), of(A))
    (gone, come) = told(of(), of(A, B, Feature("d", INT64)))
    assert gone[0].startswith("view 'p@v1': feature 'c' removed; features can only be appended")
    assert (gone[1], come[1]) == (Breaks.ROWS, None)


STORED = ["a:INT64", "b:STRING", "c:VECTOR[4]"]
OTHER_ROWS = "the store holds rows whose feature"


def test_stored_rows_decide_where_they_are_known() -> None:
    """What the store holds counts, not what was defined last: what does not fit it is refused, what does is not."""
    other = of(Feature("a", FLOAT64, 0))
    wrong = f"view 'p@v1': {OTHER_ROWS} 1 is 'a:INT64', here it is 'a:FLOAT64'; give the view a new version"
    assert told(Registry(), other, p=STORED)[1:] == [("view 'p@v1': added", None), (wrong, Breaks.ROWS)]
    assert told(of(), other, p=STORED)[-1] == (wrong, Breaks.ROWS)
    with pytest.raises(DefinitionError, match=OTHER_ROWS):
        ensure_compatible(Registry(), other, {("p", 1): STORED})
    back = told(of(Feature("a", FLOAT64, 0), B, C), of(), p=STORED)
    assert back == [("view 'p@v1': feature 'a': type FLOAT64 -> INT64; needs a new version", Breaks.CALLERS)]
    assert told(of(A), of(A, Feature("b", INT64)), p=STORED)[-1] == (
        f"view 'p@v1': {OTHER_ROWS} 2 is 'b:STRING', here it is 'b:INT64'; give the view a new version",
        Breaks.ROWS,
    )
    moved = "view 'p@v1': feature 'b' moved, 'a' stands in its place; features can only be appended, anything else"
    assert told(of(B, A, C), of(), p=STORED) == [(f"{moved} needs a new version", None)]
    assert told(of(), of(A, B, C, Feature("d", INT64)), p=STORED) == [
        ("view 'p@v1': feature 'd' (INT64) appended", None)
    ]


def test_the_keys_of_rows_are_not_known_from_the_store() -> None:
    """Which entity a row is of is in its key: features that fit say nothing about it."""
    new = of(entity=Entity("guest", "guest_id"))
    assert ("view 'p@v1': entities ['user'] -> ['guest']; needs a new version", Breaks.ROWS) in told(
        of(), new, p=STORED
    )


def test_views_that_are_new_or_of_other_features_are_to_be_judged() -> None:
    """Others were judged before: what the server runs with does not keep it from taking other definitions."""
    assert to_judge(of(), of(cache=HOUR)) == []
    assert [v.label for v in to_judge(of(), of(A))] == ["p@v1"]
    assert [v.label for v in to_judge(Registry(), of())] == ["p@v1"]


def test_all_that_breaks_is_told_at_once() -> None:
    """Each removed feature, each changed type; what follows a removed one is not moved."""
    old = of(A, Feature("gone", INT64), B, Feature("lost", INT64), C)
    new = of(Feature("a", FLOAT64, 0), B, Feature("c", VECTOR[5]), Feature("d", INT64))
    with pytest.raises(DefinitionError) as caught:
        ensure_compatible(old, new)
    found = [line.partition(": ")[2].partition(";")[0] for line in caught.value.problems]
    assert found == [
        "feature 'gone' removed",
        "feature 'lost' removed",
        "feature 'a': type INT64 -> FLOAT64",
        "feature 'c': type VECTOR[4] -> VECTOR[5]",
    ]


ALLOWED: list[tuple[Registry, list[str]]] = [
    (of(A, B, C, Feature("d", FLOAT32)), ["view 'p@v1': feature 'd' (FLOAT32) appended"]),
    (of(A, Feature("b", STRING[9], "x"), C), ["view 'p@v1': feature 'b': bound STRING[8] -> STRING[9]"]),
    (of(Feature("a", INT64, 1), B, C), ["view 'p@v1': feature 'a': default 0 -> 1"]),
    (of(Feature("a", INT64), B, C), ["view 'p@v1': feature 'a': default 0 -> None"]),
    (
        of(freshness=HOUR),
        [
            "view 'p@v1': freshness None -> 1:00:00",
            "view 'p@v1': max_age None -> 2:00:00",
            "view 'p@v1': ttl None -> 3:00:00",
        ],
    ),
    (
        of(cache=HOUR, stale_if_error=2 * HOUR),
        ["view 'p@v1': cache auto -> 1:00:00", "view 'p@v1': stale_if_error auto -> 2:00:00"],
    ),
    (of(serve_default=False), ["view 'p@v1': serve_default True -> False"]),
    (of(mirrored=True), ["view 'p@v1': mirrored False -> True"]),
    (of(description="new", owner="us"), []),
    (of(max_age=timedelta(hours=1), ttl=None), ["view 'p@v1': max_age None -> 1:00:00"]),
]


@pytest.mark.parametrize(("new", "lines"), ALLOWED, ids=lambda v: str(v)[:60] if isinstance(v, list) else "")
def test_what_rows_and_readers_bear_does_not_break(new: Registry, lines: list[str]) -> None:
    """Appended features, bounds, defaults and ages are told, and go live without a new version."""
    assert told(of(), new) == [(line, None) for line in lines]
    assert ensure_compatible(of(), new) == compare(of(), new)


def test_the_same_definitions_have_no_changes() -> None:
    """Built twice they are the same, defaults of NaN and lists among them."""
    odd = [Feature("nan", FLOAT64, float("nan")), Feature("v", VECTOR[2], [0.0, 1.0])]
    assert compare(registry(), registry()) == []
    assert compare(of(*odd), of(odd[0], Feature("v", VECTOR[2], (0, 1)))) == []
    assert compare(of(odd[0]), of(Feature("nan", FLOAT64, float("nan")))) == []


def test_a_new_version_lives_beside_the_old_one() -> None:
    """Any change is allowed in a new version, and activating it is a change of its own."""
    old = Registry(views=[profile()])
    both = Registry(views=[profile(), profile(Feature("age", FLOAT64), version=2)], active={"profile": 1})
    after = Registry(views=[profile(), profile(Feature("age", FLOAT64), version=2)], active={"profile": 2})
    assert told(old, both) == [("view 'profile@v2': added", None)]
    assert told(both, after) == [("view 'profile': active version 1 -> 2", None)]


def test_a_rollback_shows_what_it_changes() -> None:
    """Compared the other way round: the version that is served, and what is no longer there."""
    old = Registry(views=[profile()], services=[FeatureService("m", ["profile"])])
    new = Registry(
        views=[profile(), profile(Feature("age", FLOAT64), version=2)],
        services=[FeatureService("m", ["profile@v2:age"]), FeatureService("n", ["profile"])],
        active={"profile": 2},
    )
    assert told(new, old) == [
        ("view 'profile@v2': removed", Breaks.CALLERS),
        ("service 'm': features removed ['profile@v2:age'], added ['profile']", Breaks.CALLERS),
        ("service 'n': removed", Breaks.CALLERS),
        ("view 'profile': active version 2 -> 1", None),
    ]


def with_live(
    *features: OnDemandFeature, request: tuple[RequestField, ...] = (RequestField("now", FLOAT64),)
) -> Registry:
    """Return a registry with these on-demand features."""
    return Registry(views=[of().view("p")], on_demand=[OnDemandView("live", features)], request=request)


X = OnDemandFeature("x", FLOAT64, {"a": "p:a"}, double, 0.0)
Y = OnDemandFeature("y", FLOAT64, {"a": "p:a", "b": "request:now"}, difference)


def test_on_demand_features_may_come_but_not_go() -> None:
    """Callers ask for them by name and type; how they are computed may change, and is told."""
    old = with_live(X, Y)
    assert told(with_live(X), old) == [("view 'live@v1': feature 'y' (FLOAT64) added", None)]
    assert told(old, with_live(X)) == [("view 'live@v1': feature 'y' removed; needs a new version", Breaks.CALLERS)]
    other = OnDemandFeature("x", FLOAT64, {"a": "p:a"}, lambda a: a * 3, 0.0)
    assert told(old, with_live(other, Y)) == [
        ("view 'live@v1': feature 'x': computed differently under the same version", None)
    ]
    narrow = OnDemandFeature("x", FLOAT32, {"a": "p:a"}, double, 0.0)
    assert told(old, with_live(narrow, Y)) == [
        ("view 'live@v1': feature 'x': type FLOAT64 -> FLOAT32; needs a new version", Breaks.CALLERS)
    ]
    turned = OnDemandFeature("y", FLOAT64, {"a": "request:now", "b": "p:a"}, difference)
    assert told(old, with_live(X, turned)) == [
        ("view 'live@v1': feature 'y': computed differently under the same version", None)
    ]


def test_context_fields_keep_their_types() -> None:
    """Callers send them: another type and a removed field break them, a new field does not."""
    old = with_live(X)
    more = (RequestField("now", FLOAT64), RequestField("device", STRING[8]))
    assert told(old, with_live(X, request=more)) == [("request field 'device': added", None)]
    assert told(old, with_live(X, request=())) == [("request field 'now': removed", Breaks.CALLERS)]
    ((line, breaks),) = told(old, with_live(X, request=(RequestField("now", INT64),)))
    assert breaks is Breaks.CALLERS
    assert line.startswith("request field 'now': type FLOAT64 -> INT64; callers send the old one")


def test_services_lose_no_features() -> None:
    """Models read them by name: what went breaks them, what came, another order and another spelling do not."""

    def service(*features: str) -> Registry:
        return Registry(views=[of().view("p")], services=[FeatureService("m", features)])

    assert told(service("p:a", "p:b"), service("p:b", "p:c")) == [
        ("service 'm': features removed ['p:a'], added ['p:c']", Breaks.CALLERS)
    ]
    assert told(service("p:a"), service("p:a", "p:b")) == [("service 'm': features added ['p:b']", None)]
    assert told(service("p:a", "p:b"), service("p:b", "p:a")) == [("service 'm': features order changed", None)]
    assert told(service("p:b"), service("p")) == [("service 'm': features removed ['p:b'], added ['p']", None)]
    assert told(service("p:a", "p:b"), service("p:a", "p:b")) == []


def test_catalogues_and_placements_may_change_but_not_go() -> None:
    """What they are made of is for their owners to say; a placement that goes, and a filter, is what callers name."""
    assert told(placed(), placed()) == []
    assert told(placed(placements=[], catalogues=[]), placed()) == [
        ("catalogue 'films': added", None),
        ("placement 'home': added", None),
    ]
    new = placed(placement(limit=20, seen=()), placement("other"), films=catalogue(category="film:title"))
    assert told(placed(), new) == [
        ("catalogue 'films': category film:genres -> film:title", None),
        ("placement 'home': limit 10 -> 20", None),
        ("placement 'home': seen removed ['taste:recent']", None),
        ("placement 'other': added", None),
    ]
    assert told(new, placed())[-1] == ("placement 'other': removed", Breaks.CALLERS)
    fewer = placed(films=catalogue(filterable=["film:year", "film:title", "film:genres"]))
    assert told(placed(), fewer) == [
        ("catalogue 'films': filterable removed ['film:tags']", None),
        ("catalogue 'films': filters can no longer name ['film:tags']", Breaks.CALLERS),
    ]
    same = placed(films=catalogue(filterable=["film:year", "film:title", "film:tags"]))  # genres are its category
    assert told(placed(), same) == [("catalogue 'films': filterable removed ['film:genres']", None)]


def test_a_change_reads_as_a_line() -> None:
    """What, and how."""
    assert str(Change("view 'p'", "added")) == "view 'p': added"
