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
from recsvc.registry.compat import Change, compare, ensure_compatible
from tests.unit.registry.definitions import HOUR, USER, difference, double, profile, registry
from tests.unit.registry.placed import NEAREST, POPULAR, catalogue, placed, placement

A, B, C = Feature("a", INT64, 0), Feature("b", STRING[8], "x"), Feature("c", VECTOR[4])


def of(*features: Feature, entity: Entity = USER, **options: Any) -> Registry:  # noqa: ANN401  # any of FeatureView's
    """Return a registry of one view."""
    return Registry(views=[FeatureView("p", [entity], features or (A, B, C), **options)])


def told(old: Registry, new: Registry) -> list[tuple[str, bool]]:
    """Return each change with whether it breaks."""
    return [(str(c), c.breaking) for c in compare(old, new)]


BREAKING: list[tuple[Registry, str]] = [
    (of(Feature("a", FLOAT64, 0), B, C), "view 'p@v1': feature 'a': type INT64 -> FLOAT64; needs a new version"),
    (of(Feature("a", TIMESTAMP, 0), B, C), "view 'p@v1': feature 'a': type INT64 -> TIMESTAMP; needs a new version"),
    (of(A, B, Feature("c", VECTOR[5])), "view 'p@v1': feature 'c': type VECTOR[4] -> VECTOR[5]; needs a new version"),
    (of(A, B), "view 'p@v1': feature 'c' removed; features can only be appended, anything else needs a new version"),
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
    assert change.breaking
    assert str(change).startswith(words)
    with pytest.raises(DefinitionError) as caught:
        ensure_compatible(of(), new)
    assert caught.value.problems == (str(change),)


def test_other_entities_break() -> None:
    """A view of another entity has other keys."""
    new = of(entity=Entity("guest", "guest_id"))
    assert ("view 'p@v1': entities ['user'] -> ['guest']; needs a new version", True) in told(of(), new)


def test_a_feature_put_between_others_breaks() -> None:
    """Only at the end can a feature be added."""
    changes = told(of(A, C), of(A, B, C))
    assert changes[0][0].startswith("view 'p@v1': feature 'c' moved, 'b' stands in its place")
    assert [breaking for _, breaking in changes] == [True, False]


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
    assert told(of(), new) == [(line, False) for line in lines]
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
    assert told(old, both) == [("view 'profile@v2': added", False)]
    assert told(both, after) == [("view 'profile': active version 1 -> 2", False)]


def test_a_rollback_shows_what_it_changes() -> None:
    """Compared the other way round: the version that is served, and what is no longer there."""
    old = Registry(views=[profile()], services=[FeatureService("m", ["profile"])])
    new = Registry(
        views=[profile(), profile(Feature("age", FLOAT64), version=2)],
        services=[FeatureService("m", ["profile@v2:age"]), FeatureService("n", ["profile"])],
        active={"profile": 2},
    )
    assert told(new, old) == [
        ("view 'profile@v2': removed", False),
        ("service 'm': features removed ['profile@v2:age'], added ['profile']", False),
        ("service 'n': removed", False),
        ("view 'profile': active version 2 -> 1", False),
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
    assert told(with_live(X), old) == [("view 'live@v1': feature 'y' (FLOAT64) added", False)]
    assert told(old, with_live(X)) == [("view 'live@v1': feature 'y' removed; needs a new version", True)]
    other = OnDemandFeature("x", FLOAT64, {"a": "p:a"}, lambda a: a * 3, 0.0)
    assert told(old, with_live(other, Y)) == [
        ("view 'live@v1': feature 'x': computed differently under the same version", False)
    ]
    narrow = OnDemandFeature("x", FLOAT32, {"a": "p:a"}, double, 0.0)
    assert told(old, with_live(narrow, Y)) == [
        ("view 'live@v1': feature 'x': type FLOAT64 -> FLOAT32; needs a new version", True)
    ]
    turned = OnDemandFeature("y", FLOAT64, {"a": "request:now", "b": "p:a"}, difference)
    assert told(old, with_live(X, turned)) == [
        ("view 'live@v1': feature 'y': computed differently under the same version", False)
    ]


def test_context_fields_keep_their_types() -> None:
    """Callers send them: another type breaks, a new field does not."""
    old = with_live(X)
    more = (RequestField("now", FLOAT64), RequestField("device", STRING[8]))
    assert told(old, with_live(X, request=more)) == [("request field 'device': added", False)]
    ((line, breaking),) = told(old, with_live(X, request=(RequestField("now", INT64),)))
    assert breaking
    assert line.startswith("request field 'now': type FLOAT64 -> INT64; callers send the old one")


def test_services_may_change() -> None:
    """What a service reads is for its owner to say; what went and came is told."""

    def service(*features: str) -> Registry:
        return Registry(views=[of().view("p")], services=[FeatureService("m", features)])

    assert told(service("p:a", "p:b"), service("p:b", "p:c")) == [
        ("service 'm': features removed ['p:a'], added ['p:c']", False)
    ]
    assert told(service("p:a", "p:b"), service("p:b", "p:a")) == [("service 'm': features order changed", False)]
    assert told(service("p:a", "p:b"), service("p:a", "p:b")) == []


def test_catalogues_and_placements_may_change() -> None:
    """What they are made of is for their owners to say; each field that changed is a line, and none breaks."""
    assert told(placed(), placed()) == []
    assert told(placed(placements=[], catalogues=[]), placed()) == [
        ("catalogue 'films': added", False),
        ("placement 'home': added", False),
    ]
    new = placed(placement(limit=20, seen=()), placement("other"), films=catalogue(category="film:title"))
    assert told(placed(), new) == [
        ("catalogue 'films': category film:genres -> film:title", False),
        ("placement 'home': limit 10 -> 20", False),
        ("placement 'home': seen ['taste:recent'] -> []", False),
        ("placement 'other': added", False),
    ]
    assert told(new, placed())[-1] == ("placement 'other': removed", False)


def test_a_change_within_a_source_shows_both() -> None:
    """A weight that changed is seen in the line."""
    new = placed(placement(sources=[POPULAR, NEAREST]))
    ((line, breaking),) = told(placed(), new)
    assert not breaking
    assert line.startswith("placement 'home': sources [{'kind': 'Nearest', 'name': 'near', ")
    assert " -> [{'kind': 'Popular', 'name': 'pop', " in line


def test_a_change_reads_as_a_line() -> None:
    """What, and how."""
    assert str(Change("view 'p'", "added")) == "view 'p': added"
