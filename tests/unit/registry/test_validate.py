"""Every mistake in definitions is one line that names it and says what would be right, and all are told at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from recsvc import (
    BOOL,
    FLOAT64,
    INT64,
    STRING,
    VECTOR,
    Entity,
    Expected,
    Feature,
    FeatureService,
    FeatureView,
    OnDemandFeature,
    OnDemandView,
    Registry,
    RequestField,
    Source,
)
from recsvc.errors import DefinitionError
from recsvc.registry.model import AUTO
from tests.unit.registry.definitions import (
    HOUR,
    ITEM,
    USER,
    Array,
    computed,
    difference,
    double,
    problems,
    profile,
    registry,
)


def test_right_definitions_have_no_problems() -> None:
    """The definitions that the other tests spoil are right, and so is nothing at all."""
    registry()
    assert problems() == []


def view(*features: Feature, name: str = "p", entities: Sequence[Entity] = (USER,), **options: Any) -> FeatureView:  # noqa: ANN401  # any of FeatureView's
    """Return a view, by default of one right feature."""
    return FeatureView(name, entities, features or (Feature("a", INT64),), **options)


def on_demand(*features: OnDemandFeature) -> dict[str, Any]:
    """Return definitions with these on-demand features over p:a."""
    return {"views": [view()], "on_demand": [OnDemandView("d", features)], "request": [RequestField("now", INT64)]}


def x(function: Any = double, name: str = "x", **inputs: str) -> OnDemandFeature:  # noqa: ANN401  # right and wrong functions
    """Return an on-demand feature."""
    return OnDemandFeature(name, FLOAT64, inputs, function)


async def later(a: Array) -> Array:
    """Compute too late."""
    return a


NAMES: list[tuple[dict[str, Any], str]] = [
    ({"views": [view(name="P")]}, "view 'P': a name starts with a-z"),
    ({"views": [view(name="a" * 65)]}, "at most 64 characters"),
    ({"views": [view(Feature("Age", INT64))]}, "feature 'Age': a name starts with a-z"),
    ({"views": [view(entities=[Entity("U", "u")])]}, "entity 'U': a name starts with a-z"),
    ({"views": [view(entities=[Entity("u", "u-id")])]}, "entity 'u': join key 'u-id': a name starts with"),
    ({"views": [view()], "services": [FeatureService("M 1", ["p"])]}, "service 'M 1': a name starts with a-z"),
    ({"request": [RequestField("Now", INT64)]}, "request field 'Now': a name starts with a-z"),
    ({"views": [view(name="request")]}, "view 'request': this name stands for the request context; choose another"),
    (on_demand(x(name="X", a="p:a")), "feature 'X': a name starts with a-z"),
]
DUPLICATES: list[tuple[dict[str, Any], str]] = [
    ({"views": [view(), view()]}, "view p@v1: defined 2 times; give each version its own number"),
    ({"views": [view(Feature("a", INT64), Feature("a", BOOL))]}, "view p@v1: feature 'a': defined 2 times; keep one"),
    ({"views": [view(entities=[USER, USER])]}, "view p@v1: entity 'user': defined 2 times; keep one"),
    (
        {"views": [view()], "services": [FeatureService("m", ["p"]), FeatureService("m", ["p:a"])]},
        "service 'm': defined 2 times; keep one",
    ),
    ({"views": [view()], "services": [FeatureService("m", ["p", "p"])]}, "service 'm': reference 'p': defined 2 times"),
    ({"request": [RequestField("a", INT64)] * 2}, "request field 'a': defined 2 times; keep one"),
    (
        {"views": [view(), view(name="q", entities=[Entity("user", "uid")])]},
        "entity 'user': has 2 different definitions; share one Entity object between its views",
    ),
    (
        {"views": [view(), view(name="q", entities=[Entity("guest", "user_id")])]},
        "join key 'user_id': belongs to 2 entities; each entity needs its own",
    ),
    (
        {"views": [view()], "on_demand": [OnDemandView("p", [x(a="p:a")], version=2)], "active": {"p": 1}},
        "view 'p': is both a FeatureView and an OnDemandView; rename one",
    ),
]
TYPES: list[tuple[dict[str, Any], str]] = [
    ({"views": [view(Feature("a", INT64, "x"))]}, "feature p@v1:a: default 'x' is not an integer of 64 bits (INT64)"),
    ({"views": [view(Feature("a", STRING[2], "abc"))]}, "default has 3 bytes, more than the bound 2 (STRING[2])"),
    (
        {"views": [view(Feature("a", VECTOR[2], [1.0]))]},
        "feature p@v1:a: default has 1 components, must have 2 (VECTOR[2])",
    ),
    ({"views": [view(Feature("a", VECTOR))]}, "feature p@v1:a: VECTOR needs a bound from 1 to 65536"),
    ({"views": [view(Feature("a", VECTOR[0], [1.0]))]}, "feature p@v1:a: VECTOR needs a bound"),
    ({"request": [RequestField("a", STRING[0])]}, "request field 'a': STRING needs a bound"),
    (
        {"views": [view(entities=[Entity("u", "u", FLOAT64)])]},
        "entity 'u': key_type FLOAT64 cannot be an id; use STRING or INT64",
    ),
    ({"views": [view(entities=[Entity("u", "u", spread=0)])]}, "entity 'u': spread 0 must be from 1 to 1024"),
    ({"views": [view(entities=[Entity("u", "u", spread=1_025)])]}, "entity 'u': spread 1025 must be from 1 to 1024"),
    ({"views": [view(Feature("a", INT64, expected=Expected(min=2, max=1)))]}, "expected min 2 is above max 1"),
    (
        on_demand(OnDemandFeature("x", FLOAT64, {"a": "p:a"}, double, "no")),
        "feature d@v1:x: default 'no' is not a number (FLOAT64)",
    ),
]
SHAPES: list[tuple[dict[str, Any], str]] = [
    ({"views": [FeatureView("p", [USER], ())]}, "view p@v1: has no features"),
    ({"views": [view(entities=[])]}, "view p@v1: has no entity; a view describes one, or a pair"),
    (
        {"views": [view(*(Feature(f"f{i}", INT64) for i in range(2_001)))]},
        "view p@v1: has 2001 features, at most 2000 fit",
    ),
    ({"views": [view(version=0)]}, "view p@v0: version must be from 1"),
    ({"views": [view(version=10**9)]}, "version must be from 1 to 999999999"),
    ({"views": [view()], "services": [FeatureService("m", [])]}, "service 'm': has no features"),
    (
        {"views": [view(), view(version=2)]},
        "view 'p': has versions 1, 2; say which is active: Registry(active={'p': 2})",
    ),
    ({"views": [view()], "active": {"p": 3}}, "view 'p': active version 3 is not defined; there is 1"),
    ({"views": [view()], "active": {"q": 1}}, "active: view 'q' is not defined; there is p"),
    (
        {"views": [view(source=[Source("a"), Source("b")])]},
        "view p@v1: has 2 sources ('a', 'b'); features of another source belong in another view",
    ),
    (
        {"views": [view(source=[Source("a"), Source("b", backfill=True)])]},
        "backfill 'b' is not of the view's source 'a'",
    ),
    ({"views": [view(source=Source("a", backfill=True))]}, "has only a backfill; it needs the source"),
]
TIMES: list[tuple[dict[str, Any], str]] = [
    ({"freshness": timedelta(0)}, "freshness must be a timedelta above 0"),
    ({"freshness": -HOUR}, "freshness must be a timedelta above 0"),
    ({"freshness": 3600}, "freshness must be a timedelta above 0 and up to 36525 days, or None, not 3600"),
    ({"max_age": timedelta(0)}, "max_age must be a timedelta above 0"),
    ({"ttl": timedelta.max}, "ttl must be a timedelta above 0 and up to 36525 days"),
    ({"freshness": timedelta.max}, "freshness must be a timedelta above 0 and up to"),
    ({"max_age": 2 * HOUR, "ttl": HOUR}, "ttl 1:00:00 is less than max age 2:00:00; rows would vanish"),
    ({"cache": -timedelta.resolution}, "cache must be a timedelta from 0 to 1 day, not datetime.timedelta(days=-1"),
    ({"cache": timedelta(days=1, microseconds=1)}, "cache must be a timedelta from 0 to 1 day"),
    ({"cache": None}, "cache must be a timedelta from 0 to 1 day, not None"),
    ({"cache": 5}, "cache must be a timedelta from 0 to 1 day, not 5"),
    ({"stale_if_error": timedelta.max}, "stale_if_error must be a timedelta from 0 to 1 day"),
    ({"stale_if_error": -HOUR}, "stale_if_error must be a timedelta from 0 to 1 day"),
    ({"stale_if_error": None}, "stale_if_error must be a timedelta from 0 to 1 day, not None"),
    ({"serve_default": None}, "serve_default must be True or False, not None"),
    ({"serve_default": 0}, "serve_default must be True or False, not 0"),
]
REFERENCES: list[tuple[dict[str, Any], str]] = [
    (
        {"views": [view()], "services": [FeatureService("m", ["q:a"])]},
        "service 'm': 'q:a': view 'q' is not defined; there is p@v1",
    ),
    ({"views": [view()], "services": [FeatureService("m", ["p:b"])]}, "'p:b': view 'p' has no feature 'b'; there is a"),
    ({"views": [view()], "services": [FeatureService("m", ["p@v2:a"])]}, "view 'p@v2' is not defined; there is p@v1"),
    ({"views": [view()], "services": [FeatureService("m", ["p.a"])]}, "'p.a' is not a reference (view:feature"),
    (
        {
            "views": [view()],
            "services": [FeatureService("m", ["request:now"])],
            "request": [RequestField("hour", INT64)],
        },
        "service 'm': 'request:now': no such request field; there is request:hour",
    ),
    (on_demand(x(a="p:b")), "feature d@v1:x: input 'a': 'p:b': view 'p' has no feature 'b'"),
    (on_demand(x(a="q:b")), "input 'a': 'q:b': view 'q' is not defined; there is d@v1, p@v1"),
    (on_demand(x(a="p")), "input 'a': 'p' is a whole view; name one feature of it"),
    (on_demand(x(a="request")), "input 'a': 'request' is a whole view; name one feature of it"),
    (on_demand(x(a="request@v2:now")), "'request@v2:now': no such request field; there is request:now"),
    (on_demand(x(a="")), "'' is not a reference"),
]
FUNCTIONS: list[tuple[dict[str, Any], str]] = [
    (on_demand(x(lambda: np.zeros(1))), "feature d@v1:x: has no inputs; a constant is not a feature"),
    (on_demand(x(b="p:a")), "inputs ['b'] do not fit its function's parameters: missing a required argument: 'a'"),
    (
        on_demand(x(difference, a="p:a")),
        "inputs ['a'] do not fit its function's parameters: missing a required argument: 'b'",
    ),
    (on_demand(x(a="p:a", b="p:a")), "inputs ['a', 'b'] do not fit its function's parameters: got an unexpected"),
    (on_demand(x(lambda a, /: a, a="p:a")), "inputs ['a'] do not fit"),
    (on_demand(x(later, a="p:a")), "its function is async; a plain function of arrays is wanted"),
    (on_demand(x(dict.fromkeys, a="p:a")), "do not fit its function's parameters"),
]
ALL = NAMES + DUPLICATES + TYPES + SHAPES + REFERENCES + FUNCTIONS


@pytest.mark.parametrize(("definitions", "words"), ALL, ids=lambda v: v[:60] if isinstance(v, str) else "")
def test_a_mistake_names_the_definition_and_what_would_be_right(definitions: dict[str, Any], words: str) -> None:
    """One mistake is one line."""
    found = problems(**definitions)
    assert len(found) == 1, found
    assert words in found[0]


@pytest.mark.parametrize(("options", "words"), TIMES, ids=lambda v: v[:60] if isinstance(v, str) else "")
def test_times_that_do_not_fit(options: dict[str, Any], words: str) -> None:
    """Freshness, max age and TTL are times above nothing, and a row lasts until it is too old."""
    found = problems(views=[profile(**options)])
    assert len(found) == 1, found
    assert found[0].startswith("view profile@v1: ")
    assert words in found[0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"freshness": HOUR},
        {"freshness": HOUR, "max_age": None},
        {"freshness": HOUR, "max_age": None, "ttl": None},
        {"freshness": HOUR, "max_age": 5 * HOUR, "ttl": 5 * HOUR},
        {"max_age": HOUR, "ttl": None},
        {"max_age": None, "ttl": HOUR},
        {"freshness": timedelta(days=36_525), "ttl": None},
        {"freshness": timedelta(microseconds=1)},
        {"cache": timedelta(0), "stale_if_error": timedelta(0), "serve_default": False},
        {"cache": timedelta(days=1), "stale_if_error": timedelta(days=1)},
        {"cache": HOUR, "stale_if_error": AUTO, "max_age": HOUR / 2},
        {"cache": HOUR, "stale_if_error": HOUR / 2},
    ],
)
def test_times_that_fit(options: dict[str, Any]) -> None:
    """All combinations that make sense are taken."""
    assert problems(views=[profile(**options)]) == []


def test_functions_without_parameters_that_can_be_read_are_refused() -> None:
    """A function that takes no keywords, or does not say which, would fail at every call."""
    for function in (np.subtract, np.hypot, max, difference.__get__(1)):
        assert len(problems(**on_demand(x(function, a="p:a", b="p:a")))) == 1
    for right in (difference, lambda a, b: a + b, lambda **inputs: inputs, lambda *, a, b=1, c=2: a + b + c):
        assert problems(**on_demand(x(right, a="p:a", b="p:a"))) == []


def test_every_circle_is_found() -> None:
    """Features that depend on each other in a circle are listed, each circle once; one on itself as well."""
    found = problems(
        views=[view()],
        on_demand=[
            computed("a", a="b:x"),
            computed("b", a="c:x"),
            computed("c", a="a:x"),
            computed("d", a="d:x"),
            computed("e", a="f:x"),
            computed("f", a="e@v1:x"),
            computed("g", a="a:x"),
            computed("h", a="p:a"),
        ],
    )
    assert len(found) == 3
    assert all(line.startswith("on-demand features depend on each other in a circle: ") for line in found)
    circles = [
        set(line.rpartition(": ")[2].replace("circle: ", "").split(" -> "))
        for line in (f.replace("@v1:", "@v1.") for f in found)
    ]
    assert sorted(map(sorted, circles)) == [["a@v1.x", "b@v1.x", "c@v1.x"], ["d@v1.x"], ["e@v1.x", "f@v1.x"]]


def test_a_circle_through_versions_is_one() -> None:
    """A version that uses the active one, which uses it, is a circle; one that uses another version is none."""
    two = [computed("a", a="a@v2:x"), computed("a", version=2, a="a:x")]
    assert len(problems(on_demand=two, active={"a": 1})) == 1
    assert problems(views=[view()], on_demand=[computed("a", a="p:a"), two[1]], active={"a": 1}) == []


def test_all_mistakes_are_told_at_once() -> None:
    """Ten mistakes of ten kinds are ten lines, in one error that has them all in its text."""
    definitions: dict[str, Any] = {
        "views": [
            FeatureView("Bad", [USER], [Feature("a", INT64, "x"), Feature("v", VECTOR[2], [1.0]), Feature("v", INT64)]),
            FeatureView("late", [ITEM], [Feature("a", INT64)], freshness=-HOUR, ttl=-HOUR),
            FeatureView("two", [USER], [Feature("a", INT64)], source=[Source("a"), Source("b")]),
        ],
        "on_demand": [OnDemandView("d", [x(a="d:x"), x(name="y", a="none:at_all")])],
        "services": [FeatureService("m", ["nothing", "two:b"])],
    }
    found = problems(**definitions)
    expected = [
        "view 'Bad': a name",
        "feature Bad@v1:a: default",
        "feature Bad@v1:v: default",
        "view Bad@v1: feature 'v': defined 2",
        "freshness must",
        "ttl must",
        "view two@v1: has 2 sources",
        "circle: d@v1:x -> d@v1:x",
        "feature d@v1:y: input 'a'",
        "service 'm': 'nothing'",
        "service 'm': 'two:b'",
    ]
    assert len(found) == len(expected), found
    for words in expected:
        assert sum(words in line for line in found) == 1, words
    with pytest.raises(DefinitionError) as caught:
        Registry(**definitions)
    assert str(caught.value).splitlines() == found


def test_lists_of_names_are_cut() -> None:
    """A line that says what there is stays short."""
    many = view(*(Feature(f"f{i:03}", INT64) for i in range(500)))
    (line,) = problems(views=[many], services=[FeatureService("m", ["p:x"])])
    assert line.endswith("f008, f009 and 490 more")


FLOAT: Any = float
"""Python's own type, where one of recsvc's is due; and others that a type checker would refuse."""
TEXT: Any = "INT64"
ONE_USER: Any = USER
ONE_FEATURE: Any = Feature("a", INT64)
NAMES_ONLY: Any = ["a"]
ONE_VIEW: Any = [view()]
INPUTS: Any = ["p:a"]
NUMBERS: Any = {"a": 5}
KINDS: list[tuple[dict[str, Any], str]] = [
    (
        {"views": [view(Feature("a", FLOAT))]},
        "view 'p': feature 'a': type <class 'float'> is not one of INT64, FLOAT64",
    ),
    ({"views": [view(Feature("a", TEXT))]}, "type 'INT64' is not one of INT64"),
    (
        {"views": [FeatureView("p", ONE_USER, [ONE_FEATURE])]},
        "view 'p': entities must be a list of Entity, not Entity(",
    ),
    ({"views": [FeatureView("p", NAMES_ONLY, [ONE_FEATURE])]}, "entities must be a list of Entity; 'a' is not one"),
    ({"views": [FeatureView("p", [USER], ONE_FEATURE)]}, "features must be a list of Feature, not Feature("),
    ({"views": [FeatureView("p", [USER], NAMES_ONLY)]}, "features must be a list of Feature; 'a' is not one"),
    ({"views": [view(entities=[Entity("u", "u", FLOAT)])]}, "entity 'u': key: type <class 'float'> is not one of"),
    (
        {"views": [view(entities=[Entity("u", "u", spread=TEXT)])]},
        "entity 'u': spread must be a whole number, not 'INT64'",
    ),
    ({"views": [view(version="2")]}, "view 'p': version must be a whole number, not '2'"),
    ({"views": [view(version=True)]}, "view 'p': version must be a whole number, not True"),
    ({"views": [view(source="events")]}, "view 'p': source must be a list of Source, not 'events'"),
    ({"views": ["p"]}, "registry: views must be a list of FeatureView; 'p' is not one"),
    ({"views": [OnDemandView("d", [x(a="p:a")])]}, "registry: views must be a list of FeatureView; OnDemandView("),
    (
        {"views": [view()], "services": [FeatureService("m", "p")]},
        "service 'm': features must be a list of str, not 'p'",
    ),
    ({"views": [view()], "services": [FeatureService("m", ONE_VIEW)]}, "service 'm': features must be a list of str; "),
    (on_demand(OnDemandFeature("x", FLOAT64, INPUTS, double)), "feature 'x': inputs must map parameters to references"),
    (on_demand(OnDemandFeature("x", FLOAT64, NUMBERS, double)), "inputs must map parameters to references"),
    (on_demand(x("double", a="p:a")), "feature 'x': function 'double' is not callable"),
    ({"request": [RequestField("now", FLOAT)]}, "request field 'now': type <class 'float'> is not one of"),
]


@pytest.mark.parametrize(("definitions", "words"), KINDS, ids=lambda v: v[:60] if isinstance(v, str) else "")
def test_things_of_the_wrong_kind_are_told_apart(definitions: dict[str, Any], words: str) -> None:
    """What Python's types would have refused is a line like any other mistake, not a traceback."""
    found = problems(**definitions)
    assert len(found) == 1, found
    assert words in found[0]


def test_a_registry_takes_generators() -> None:
    """Definitions may come from a loop."""
    made = Registry(views=(view(name=f"v{i}") for i in range(3)), services=(s for s in [FeatureService("m", ["v1"])]))  # type: ignore[arg-type]  # a user's
    assert sorted(name for name, _ in made.views) == ["v0", "v1", "v2"]
    assert made.service_plan("m").outputs
