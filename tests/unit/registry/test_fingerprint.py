"""The fingerprint changes with everything that can change an answer, and with nothing else."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from recsvc import (
    FLOAT32,
    FLOAT64,
    INT64,
    STRING,
    AnyOf,
    Boost,
    Condition,
    Diversity,
    Entity,
    Expected,
    Experiment,
    Feature,
    FeatureService,
    FeatureView,
    IsTrue,
    MeanOfRecent,
    Nearest,
    Newest,
    NoneOf,
    OnDemandFeature,
    OnDemandView,
    Pin,
    Range,
    Registry,
    RequestField,
    Sensitivity,
    Source,
    Variant,
    WhenStale,
)
from tests.unit.registry.definitions import Array, difference, double
from tests.unit.registry.placed import NEAREST, POPULAR, catalogue, placed, placement

HOUR = timedelta(hours=1)


def made(**changes: dict[str, Any]) -> Registry:
    """Return a registry of one of everything, with changes to entity, feature, view, computed, service, field, more."""

    def part(of: str, /, **usual: object) -> dict[str, Any]:
        return usual | changes.get(of, {})

    item = Entity(**part("entity", name="item", join_key="item_id", spread=32))
    features = [Feature(**part("feature", name="mean", type=FLOAT64, default=0.5)), Feature("year", INT64)]
    film = FeatureView(**part("view", name="film", entities=[item], features=features, freshness=HOUR))
    inputs = {"a": "film:mean", "b": "film:year"}
    x = OnDemandFeature(**part("computed", name="x", type=FLOAT64, inputs=inputs, function=difference))
    model = FeatureService(**part("service", name="model", features=["film:mean", "film:year"]))
    now = RequestField(**part("field", name="now", type=FLOAT64))
    live = OnDemandView("live", [x])
    return Registry(**part("more", views=[film], on_demand=[live], services=[model], request=[now]))


def opposite(a: Array, b: Array) -> Array:
    """Return b - a."""
    return np.asarray(b - a)


def again(a: Array, b: Array) -> Array:
    # The same as difference, under another name, with another docstring and layout.
    """Do what difference does."""
    return np.asarray(
        a - b,
    )


DECIDING: dict[str, dict[str, Any]] = {
    "join key": {"entity": {"join_key": "film_id"}},
    "key type": {"entity": {"key_type": INT64}},
    "spread": {"entity": {"spread": 64}},
    "no spread": {"entity": {"spread": None}},
    "type": {"feature": {"type": FLOAT32}},
    "default": {"feature": {"default": 0.25}},
    "no default": {"feature": {"default": None}},
    "bound": {"view": {"features": [Feature("mean", FLOAT64, 0.5), Feature("year", INT64), Feature("s", STRING[8])]}},
    "order": {"view": {"features": [Feature("year", INT64), Feature("mean", FLOAT64, 0.5)]}},
    "version": {"view": {"version": 2}},
    "no default may stand in": {"view": {"serve_default": False}},
    "max age": {"view": {"max_age": 3 * HOUR, "ttl": 9 * HOUR}},
    "no max age": {"view": {"max_age": None}},
    "freshness, and so max age": {"view": {"freshness": 2 * HOUR}},
    "function": {"computed": {"function": opposite}},
    "inputs": {"computed": {"inputs": {"a": "film:year", "b": "film:mean"}}},
    "on-demand default": {"computed": {"default": 1.0}},
    "on-demand type": {"computed": {"type": FLOAT32}},
    "service": {"service": {"features": ["film:mean"]}},
    "service order": {"service": {"features": ["film:year", "film:mean"]}},
    "service name": {"service": {"name": "other"}},
    "context": {"field": {"name": "hour"}},
    "context type": {"field": {"type": INT64}},
    "no services": {"more": {"services": []}},
}


@pytest.mark.parametrize("changes", DECIDING.values(), ids=DECIDING)
def test_what_changes_answers_changes_the_fingerprint(changes: dict[str, Any]) -> None:
    """Keys, types, order, defaults, ages, functions, inputs and services all count."""
    assert made(**changes).fingerprint != made().fingerprint


def test_each_change_has_a_fingerprint_of_its_own() -> None:
    """No two of these registries are taken for one another."""
    prints = [made(**changes).fingerprint for changes in DECIDING.values()]
    assert len({*prints, made().fingerprint}) == len(prints) + 1


INDIFFERENT: dict[str, dict[str, Any]] = {
    "entity's description": {"entity": {"description": "a film"}},
    "description": {
        "feature": {"description": "mean of all ratings", "owner": "us", "sensitivity": Sensitivity.PUBLIC}
    },
    "expected": {"feature": {"expected": Expected(min=0, max=5)}},
    "view's": {"view": {"description": "films", "owner": "us", "mirrored": True}},
    "source": {"view": {"source": Source("ratings", query="select 1")}},
    "ttl": {"view": {"ttl": 99 * HOUR}},
    "how long copies are used": {"view": {"cache": HOUR, "stale_if_error": HOUR}},
    "that a default may stand in": {"view": {"serve_default": True}},
    "freshness beside a max age": {"view": {"freshness": HOUR / 2, "max_age": 2 * HOUR}},
    "function's name and layout": {"computed": {"function": again}},
    "order of inputs": {"computed": {"inputs": {"b": "film:year", "a": "film:mean"}}},
    "on-demand description": {"computed": {"description": "x", "owner": "us"}},
    "service's description": {"service": {"description": "x", "owner": "us"}},
    "context's description": {"field": {"description": "x"}},
    "active spelled out": {"more": {"active": {"film": 1}}},
    "tuples": {"service": {"features": ("film:mean", "film:year")}},
}


@pytest.mark.parametrize("changes", INDIFFERENT.values(), ids=INDIFFERENT)
def test_what_changes_no_answer_does_not(changes: dict[str, Any]) -> None:
    """Words about definitions, sources and monitoring do not count."""
    assert made(**changes).fingerprint == made().fingerprint


def test_the_order_of_definitions_does_not_count() -> None:
    """Views and services may be moved about in the file."""
    user = Entity("user", "user_id")
    views = [FeatureView(n, [user], [Feature("a", INT64)]) for n in "abc"]
    services = [FeatureService(n, ["a"]) for n in "st"]
    one = Registry(views=views, services=services)
    assert Registry(views=views[::-1], services=services[::-1]).fingerprint == one.fingerprint


def test_the_active_version_counts() -> None:
    """A rollback is another registry."""
    user = Entity("user", "user_id")
    views = [FeatureView("p", [user], [Feature("a", INT64)], version=v) for v in (1, 2)]
    assert Registry(views=views, active={"p": 1}).fingerprint != Registry(views=views, active={"p": 2}).fingerprint


def test_equal_defaults_are_equal_however_written() -> None:
    """1 and 1.0 of a float, a list and a tuple are the same default."""
    assert made(feature={"default": 1}).fingerprint == made(feature={"default": 1.0}).fingerprint
    nan = float("nan")
    assert made(feature={"default": nan}).fingerprint == made(feature={"default": float("nan")}).fingerprint


def test_the_fingerprint_is_the_same_in_another_process() -> None:
    """Two servers of one definition file agree, whatever their hash seeds are."""
    program = "from tests.unit.registry.test_fingerprint import made; print(made().fingerprint)"
    prints = {
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert prints == {made().fingerprint}
    assert len(made().fingerprint) == 16


def test_two_functions_that_differ_in_a_constant_differ() -> None:
    """What a factory put into a function counts."""

    def times(factor: float) -> Any:  # noqa: ANN401  # a function
        return lambda a: a * factor

    computed = [{"function": times(f), "inputs": {"a": "film:mean"}} for f in (1.5, 2.5, 1.5)]
    prints = [made(computed=c).fingerprint for c in computed]
    assert prints[0] == prints[2] != prints[1]
    assert made(computed={"function": double, "inputs": {"a": "film:mean"}}).fingerprint not in prints


def test_registries_without_placements_keep_their_fingerprint() -> None:
    """Servers and stores that were there before placements agree with those that know them."""
    assert made().fingerprint == "4de5c936772df83f"
    assert made(more={"catalogues": [], "placements": ()}).fingerprint == made().fingerprint


PLACED: dict[str, Registry] = {
    "none": placed(catalogues=[], placements=[]),
    "catalogue alone": placed(placements=[]),
    "usual": placed(),
    "popularity": placed(films=catalogue(popularity="film:year")),
    "filterable": placed(films=catalogue(filterable=["film:year"])),
    "title": placed(films=catalogue(title="film:title")),
    "name": placed(placement("other")),
    "limit": placed(placement(limit=11)),
    "weight": placed(placement(sources=[NEAREST, replace(POPULAR, weight=0.75)])),
    "kind of source": placed(placement(sources=[NEAREST, Newest("pop")])),
    "mean": placed(placement(sources=[Nearest("near", "films", MeanOfRecent("taste:recent")), POPULAR])),
    "mean of more": placed(placement(sources=[Nearest("near", "films", MeanOfRecent("taste:recent", 11)), POPULAR])),
    "order of sources": placed(placement(sources=[POPULAR, NEAREST])),
    "timeout": placed(placement(sources=[replace(NEAREST, timeout=HOUR), POPULAR])),
    "filter": placed(placement(filters=[Condition("film:year", AnyOf([1]))])),
    "filter's kind": placed(placement(filters=[Condition("film:year", NoneOf([1]))])),
    "filter's value": placed(placement(filters=[Condition("film:year", AnyOf([2]))])),
    "filter's time": placed(placement(filters=[Condition("film:out", Range(min=datetime(2026, 1, 1, tzinfo=UTC)))])),
    "ranker": placed(placement(ranker="linear")),
    "seen": placed(placement(seen=())),
    "allow seen": placed(placement(allow_seen=True)),
    "no user": placed(placement(user=None, sources=[POPULAR], seen=(), seen_pairs=(), service=None)),
    "diversity": placed(placement(diversity=Diversity("films", 0.5))),
    "boost": placed(placement(boosts=[Boost(Condition("film:open", IsTrue()), 2)])),
    "pin": placed(placement(pins=[Pin("1", 2)])),
    "experiment": placed(placement(experiments=[Experiment("e", "s", [Variant("b", [(0, 10)])])])),
    "share": placed(placement(experiments=[Experiment("e", "s", [Variant("b", [(0, 11)])])])),
    "stale": placed(placement(when_stale=WhenStale.LEAVE_OUT)),
}


def test_each_change_of_a_placement_has_a_fingerprint_of_its_own() -> None:
    """Everything in catalogues and placements can change a slate, so it counts."""
    assert len({one.fingerprint for one in PLACED.values()}) == len(PLACED)


def test_how_a_placement_is_written_does_not_count() -> None:
    """The order of placements in the file, lists and tuples, and an integer for a float are the same definitions."""
    one = placed(placement(), placement("other"))
    assert placed(placement("other"), placement()).fingerprint == one.fingerprint
    assert placed(placement(sources=(NEAREST, POPULAR))).fingerprint == placed().fingerprint
    weights = [placed(placement(sources=[replace(POPULAR, weight=w)])).fingerprint for w in (2, 2.0)]
    assert weights[0] == weights[1]
    times = [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 1, tzinfo=timezone(HOUR))]
    filters = [placement(filters=[Condition("film:out", Range(max=time))]) for time in times]
    assert placed(filters[0]).fingerprint == placed(filters[1]).fingerprint
