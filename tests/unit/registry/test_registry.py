"""What a caller names becomes a plan: what to read, what to compute, and what to answer in which order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc import FLOAT64, Feature, FeatureService, FeatureView, OnDemandFeature, OnDemandView, Registry
from recsvc.errors import RequestError, UnknownNameError
from recsvc.registry.plan import ComputedColumn, ReadPlan, RequestColumn, StoredColumn
from recsvc.registry.registry import PLANS_KEPT
from tests.unit.registry.definitions import ITEM, USER, difference, double, profile, registry

REGISTRY = registry()
EVERYTHING = frozenset({"user_id", "item_id", "now"})


def names(plan: ReadPlan) -> list[str]:
    """Return what is answered, in order, as asked."""
    return [name for name, _ in plan.outputs]


def slots(plan: ReadPlan) -> list[str]:
    """Return the columns that are answered, by their full names."""
    return [plan.slots[slot].name for _, slot in plan.outputs]


def test_outputs_come_in_the_order_asked() -> None:
    """Neither the order of definitions nor that of views decides."""
    asked = ("rated:stars", "profile:name", "film:year", "profile:age", "live:gap", "film:mean")
    assert names(REGISTRY.plan(asked)) == list(asked)
    assert names(REGISTRY.plan(asked[::-1])) == list(asked[::-1])


def test_a_bare_view_is_all_of_it() -> None:
    """A view's name stands for its features in their order, under the name as it was asked for."""
    assert names(REGISTRY.plan(("profile",))) == ["profile:age", "profile:name", "profile:taste"]
    assert names(REGISTRY.plan(("profile@v2", "live"))) == ["profile@v2:age", "live:gap", "live:idle", "live:hour"]
    assert names(REGISTRY.plan(("request",))) == ["request:now", "request:device"]


def test_versions_are_the_active_one_or_pinned() -> None:
    """A reference without a version means the active one; both may be asked for at once, and are read apart."""
    plan = REGISTRY.plan(("profile:age", "profile@v1:age", "profile@v2:age"))
    assert slots(plan) == ["profile@v1:age", "profile@v1:age", "profile@v2:age"]
    assert [r.view.label for r in plan.reads] == ["profile@v1", "profile@v2"]
    assert plan.served == (("profile", 1), ("profile", 2))
    other = registry(active={"profile": 2}, services=[])
    assert slots(other.plan(("profile:age", "profile@v1:age"))) == ["profile@v2:age", "profile@v1:age"]


def test_a_view_is_read_once_and_only_what_is_needed() -> None:
    """Features asked for and inputs of computed ones come from one read per view."""
    plan = REGISTRY.plan(("live:gap", "film:mean", "profile:name"))
    assert {r.view.name: r.columns for r in plan.reads} == {"film": (0,), "profile": (0, 1)}
    assert plan.join_keys == {"user_id", "item_id"}
    assert plan.request_fields == frozenset()


def test_columns_of_a_read_are_in_the_order_of_the_row() -> None:
    """Neither the order asked nor the alphabet decides."""
    view = FeatureView("v", [ITEM], [Feature(name, FLOAT64) for name in "zmab"])
    plan = Registry(views=[view]).plan(("v:b", "v:z", "v:a"))
    assert [r.columns for r in plan.reads] == [(0, 2, 3)]
    assert [slot.column for slot in plan.slots if isinstance(slot, StoredColumn)] == [3, 0, 2]


def test_inputs_come_before_what_is_computed_from_them() -> None:
    """Slots can be filled in order; inputs that were not asked for are not answered."""
    plan = REGISTRY.plan(("live:idle",))
    order = [slot.name for slot in plan.slots]
    assert order.index("live@v1:idle") > max(order.index("request:now"), order.index("live@v1:gap"))
    assert order.index("live@v1:gap") > max(order.index("film@v1:mean"), order.index("profile@v1:age"))
    assert names(plan) == ["live:idle"]
    computed = plan.slots[plan.outputs[0][1]]
    assert isinstance(computed, ComputedColumn)
    assert [(p, plan.slots[s].name) for p, s in computed.inputs] == [("a", "request:now"), ("b", "live@v1:gap")]
    assert computed.join_keys == {"user_id", "item_id"}
    assert computed.request_fields == plan.request_fields == {"now"}


def test_a_feature_that_needs_no_row_reads_none() -> None:
    """Context alone needs no join key."""
    plan = REGISTRY.plan(("live:hour", "request:device"))
    assert plan.reads == ()
    assert plan.join_keys == frozenset()
    assert plan.request_fields == {"now", "device"}
    assert [type(s) for s in plan.slots] == [RequestColumn, ComputedColumn, RequestColumn]


def test_a_service_is_its_references() -> None:
    """A service's plan is that of its list, pinned versions included."""
    plan = REGISTRY.service_plan("model")
    assert names(plan) == ["rated:stars", "film:mean", "film:year", "live:idle", "profile@v2:age"]
    assert {r.view.label for r in plan.reads} == {"rated@v1", "film@v1", "profile@v1", "profile@v2"}
    assert REGISTRY.service_plan("model") is plan


def test_a_long_chain_of_features_is_planned() -> None:
    """Each feature of a chain comes after the one before it, also where the last is asked for alone."""
    chain = [OnDemandFeature("f0", FLOAT64, {"a": "film:mean"}, double)]
    chain += [OnDemandFeature(f"f{i}", FLOAT64, {"a": f"chain:f{i - 1}"}, double) for i in range(1, 200)]
    view = FeatureView("film", [ITEM], [Feature("mean", FLOAT64)])
    plan = Registry(views=[view], on_demand=[OnDemandView("chain", chain)]).plan(("chain:f199",))
    assert [s.name.rpartition(":")[2] for s in plan.slots] == ["mean", *(f"f{i}" for i in range(200))]


def test_a_shared_input_is_one_slot() -> None:
    """What two features are computed from is there once."""
    plan = REGISTRY.plan(("live:idle", "live:hour", "live:gap", "live:gap"))
    assert len({s.name for s in plan.slots}) == len(plan.slots)
    assert plan.outputs[2][1] == plan.outputs[3][1]


@given(st.lists(st.sampled_from(["profile", "film:year", "rated", "live", "request:now", "profile@v2"]), max_size=8))
def test_a_plan_is_whole(asked: list[str]) -> None:
    """Whatever is asked for: reads, slots and outputs refer to each other, and nothing is in vain."""
    plan = REGISTRY.plan(tuple(asked))
    used = {slot for _, slot in plan.outputs}
    for index, slot in enumerate(plan.slots):
        if isinstance(slot, StoredColumn):
            read = plan.reads[slot.read]
            assert slot.column in read.columns
            assert read.schema.types[slot.column] == slot.type
            assert slot.name == f"{read.view.label}:{read.schema.names[slot.column]}"
        elif isinstance(slot, ComputedColumn):
            assert all(i < index for _, i in slot.inputs)
            used |= {i for _, i in slot.inputs}
    assert used == set(range(len(plan.slots)))
    assert {s.read for s in plan.slots if isinstance(s, StoredColumn)} == set(range(len(plan.reads)))


def test_nothing_asked_is_an_empty_plan() -> None:
    """No references make no outputs."""
    assert REGISTRY.plan(()).outputs == ()


@pytest.mark.parametrize(
    ("asked", "error", "lines"),
    [
        (["none"], UnknownNameError, ["features[0]: 'none': there is no view 'none'"]),
        (
            ["film", "profile@v3:age"],
            UnknownNameError,
            ["features[1]: 'profile@v3:age': there is no view 'profile@v3'"],
        ),
        (["film:none"], UnknownNameError, ["features[0]: 'film:none': 'film' has no feature 'none'"]),
        (["request:none"], UnknownNameError, ["'request' has no feature 'none'"]),
        (["request@v1:now"], UnknownNameError, ["there is no view 'request@v1'"]),
        (["live:none"], UnknownNameError, ["'live' has no feature 'none'"]),
        (["Film"], RequestError, ["features[0]: 'Film' is not a feature reference (view:feature"]),
        ([""], RequestError, ["features[0]: '' is not a feature reference"]),
        (["no:no", "film", "x y", "film:no"], RequestError, ["features[0]", "features[2]", "features[3]"]),
    ],
)
def test_every_wrong_reference_is_told(asked: list[str], error: type[RequestError], lines: list[str]) -> None:
    """All wrong names are in one error; NOT_FOUND where all of them are names that do not exist."""
    with pytest.raises(RequestError) as caught:
        REGISTRY.plan(tuple(asked))
    assert type(caught.value) is error
    assert len(caught.value.violations) == len(lines)
    for line in lines:
        assert line in str(caught.value)


@pytest.mark.parametrize("text", ["a" * 100_000, "film:" + "a" * 100_000, "a" * 100_000 + ":b", "é" * 100_000])
def test_a_long_wrong_name_is_not_repeated(text: str) -> None:
    """An error stays short, whatever a caller sends."""
    with pytest.raises(RequestError) as caught:
        REGISTRY.plan((text,))
    assert len(str(caught.value)) < 500


def test_an_unknown_service_is_told() -> None:
    """A service that there is not is NOT_FOUND, with its name."""
    with pytest.raises(UnknownNameError, match="'models' is not a feature service"):
        REGISTRY.service_plan("models")


def test_views_are_found_by_label() -> None:
    """A stored view is found by name or with its version; others are told what there is."""
    assert REGISTRY.view("profile").version == 1
    assert REGISTRY.view("profile@v2").version == 2
    for text in ("none", "live", "profile:age", "profile@v3", "request", "", "P"):
        with pytest.raises(UnknownNameError, match="there is film@v1, profile@v1, profile@v2, rated@v1"):
            REGISTRY.view(text)


def test_plans_are_remembered_up_to_a_bound() -> None:
    """The same list gives the same plan; lists that callers make up do not fill the memory."""
    assert REGISTRY.plan(("film", "rated")) is REGISTRY.plan(("film", "rated"))
    for i in range(PLANS_KEPT + 10):
        REGISTRY.plan(("film",) * (i % 50 + 1) + ("rated",) * (i // 50 + 1))
    assert len(REGISTRY._plans) == PLANS_KEPT


@pytest.mark.parametrize(
    ("asked", "varying", "lengths"),
    [
        ("profile:age", {"user_id"}, [100]),
        ("profile:age", {"item_id"}, [1]),
        ("film:mean", {"item_id"}, [100]),
        ("rated:stars", {"item_id"}, [100]),
        ("rated:stars", {"user_id"}, [100]),
        ("rated:stars", {"now"}, [1]),
        ("live:gap", {"item_id"}, [100]),
        ("live:gap", {"now"}, [1]),
        ("live:idle", {"now"}, [100]),
        ("live:hour", {"now"}, [100]),
        ("live:hour", {"user_id", "item_id"}, [1]),
        ("request:now", {"now"}, [100]),
        ("request:now", {"device"}, [1]),
        ("request:device", {"now"}, [1]),
    ],
)
def test_columns_have_a_value_per_row_only_where_something_varies(
    asked: str, varying: set[str], lengths: list[int]
) -> None:
    """A column whose keys and context are all broadcast has one value, however many rows are asked for."""
    plan = REGISTRY.plan((asked,))
    assert [plan.column_rows(slot, 100, frozenset(varying)) for _, slot in plan.outputs] == lengths
    assert plan.cells(100, frozenset(varying)) == sum(lengths)
    assert plan.cells(0, frozenset(varying)) == 0
    assert plan.cells(1, frozenset()) == 1


def test_cells_are_the_values_of_an_answer() -> None:
    """One user × 500 items: user features count once, items and pairs 500 times."""
    plan = REGISTRY.plan(("profile", "film", "rated", "live:gap"))
    assert plan.cells(500, frozenset({"item_id"})) == 3 + 2 * 500 + 500 + 500
    assert plan.cells(500, EVERYTHING) == 7 * 500


def test_registries_say_what_they_are() -> None:
    """repr() has the fingerprint and how much is defined."""
    assert repr(REGISTRY) == f"Registry({REGISTRY.fingerprint}, 4 views, 1 services)"
    assert Registry().plan(()).served == ()


def test_services_may_share_a_view_with_pairs() -> None:
    """A pair's view has both join keys, in its own order."""
    both = FeatureView("pair", [ITEM, USER], [Feature("x", FLOAT64)])
    made = Registry(
        views=[both, profile()],
        on_demand=[OnDemandView("d", [OnDemandFeature("x", FLOAT64, {"a": "pair:x", "b": "profile:age"}, difference)])],
        services=[FeatureService("s", ["d:x"])],
    )
    assert [e.name for e in made.service_plan("s").reads[0].entities] == ["item", "user"]
    assert set(made.join_keys) == {"item_id", "user_id"}
