"""What a view says of its copies, what the server says where it does not, and what a call may still shorten."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsvc import INT64, Entity, Feature, FeatureView
from recsvc.online.policy import ViewPolicy
from recsvc.registry.model import AUTO, Auto
from tests.unit.online.strategies import FEW

SERVER = ViewPolicy(5.0, 300.0)
NONE, SECOND, DAY = timedelta(0), timedelta(seconds=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("cache", "stale", "policy"),
    [
        (AUTO, AUTO, SERVER),
        (SECOND, AUTO, ViewPolicy(1.0, 300.0)),
        (AUTO, SECOND, ViewPolicy(5.0, 1.0)),
        (DAY, DAY, ViewPolicy(86_400.0, 86_400.0)),
        (NONE, AUTO, ViewPolicy(0.0, 300.0)),
        (AUTO, NONE, ViewPolicy(5.0, 0.0)),
        (NONE, NONE, ViewPolicy(0.0, 0.0, kept=False)),
        (timedelta(microseconds=1), NONE, ViewPolicy(1e-6, 0.0)),
    ],
)
def test_a_view_comes_before_the_server(cache: timedelta | Auto, stale: timedelta | Auto, policy: ViewPolicy) -> None:
    """What a view says counts, AUTO is the server's setting; where no copy may ever be used none is kept."""
    view = FeatureView("v", [Entity("user", "user_id")], [Feature("a", INT64)], cache=cache, stale_if_error=stale)
    assert ViewPolicy.of(view, SERVER) == policy


def test_a_server_that_keeps_nothing() -> None:
    """A server without copies keeps those of the views that ask for it."""
    nothing = ViewPolicy(0.0, 0.0)
    entity, features = [Entity("user", "user_id")], [Feature("a", INT64)]
    assert not ViewPolicy.of(FeatureView("v", entity, features), nothing).kept
    assert ViewPolicy.of(FeatureView("v", entity, features, cache=SECOND), nothing) == ViewPolicy(1.0, 0.0)


ages = st.floats(0, 1_000)


@given(ages, ages, st.booleans(), st.none() | ages)
@FEW
def test_a_call_may_only_shorten(lifetime: float, stale: float, kept: bool, most: float | None) -> None:  # noqa: FBT001  # drawn
    """No copy older than the view allows, nor than the call does, in either role; whether to keep is the view's."""
    policy = ViewPolicy(lifetime, stale, kept)
    found = policy.within(most)
    bound = float("inf") if most is None else most
    assert found == ViewPolicy(min(lifetime, bound), min(stale, bound), kept)
    assert found.within(most) is found


def test_nothing_is_made_where_nothing_changes() -> None:
    """A call without a bound of its own, or with a wide one, has the view's policy itself."""
    assert SERVER.within(None) is SERVER.within(300.0) is SERVER
    assert SERVER.within(299.0) is not SERVER
