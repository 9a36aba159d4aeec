"""Experiments: who gets which variant, how it is told, and what it changes."""

from __future__ import annotations

from collections import Counter

import pytest

from recsvc.app import running
from recsvc.pb import serving_pb2 as pb
from recsvc.recommend.experiments import bucket
from tests.parts.topologies import Endpoint
from tests.rpc.calling import Caller
from tests.rpc.serving import settings
from tests.rpc.shop import GOODS, SPEC, Shop, names
from tests.rpc.shop_definitions import CHEAP

pytestmark = pytest.mark.asyncio(loop_scope="module")

HASHED = pb.ASSIGNMENT_SOURCE_HASHED
OVERRIDE = pb.ASSIGNMENT_SOURCE_OVERRIDE
DEFAULT = pb.ASSIGNMENT_SOURCE_DEFAULT


def assigned(reply: pb.RecommendResponse) -> tuple[str, int]:
    """Return the variant and how it was chosen."""
    (assignment,) = reply.assignments
    assert assignment.experiment == "ranking_test"
    return assignment.variant, assignment.source


def variant(unit: str) -> str:
    """Return the variant of a unit, by its bucket."""
    place = bucket("salt", unit)
    return "cheap" if place < 5_000 else "same" if place < 6_000 else "control"


def is_cheap(reply: pb.RecommendResponse) -> bool:
    """Say whether all items of a slate pass the filter of the placement of the variant."""
    prices = [GOODS[name]["price"] for name in names(reply)]
    return all(price is not None and price <= CHEAP for price in prices)


async def test_users_have_the_variant_of_their_bucket(shop: Shop) -> None:
    """Each user has the variant of the bucket, the same each time, and its placement makes the slate."""
    found: Counter[str] = Counter()
    for number in range(40):
        reply = await shop.slate("tested", user_id=str(number), limit=40)
        assert assigned(reply) == (variant(str(number)), HASHED)
        assert is_cheap(reply) == (variant(str(number)) == "cheap")
        found[variant(str(number))] += 1
    assert set(found) == {"cheap", "same", "control"}


async def test_anonymous_callers_have_the_variant_of_their_unit(shop: Shop) -> None:
    """Without a user the randomization unit decides; with one it is the user."""
    for unit in map(str, range(20)):
        assert assigned(await shop.slate("tested", randomization_unit=unit)) == (variant(unit), HASHED)
        both = await shop.slate("tested", user_id="7", randomization_unit=unit)
        assert assigned(both) == (variant("7"), HASHED)


async def test_nobody_in_particular_has_the_control(shop: Shop) -> None:
    """Without user and unit the control answers, by default."""
    reply = await shop.slate("tested", limit=40)
    assert assigned(reply) == ("control", DEFAULT)
    assert not is_cheap(reply)


@pytest.mark.parametrize("wanted", ["cheap", "same", "control"])
async def test_a_variant_can_be_asked_for(shop: Shop, wanted: str) -> None:
    """Where it is allowed, a call can choose the variant, whatever its unit is."""
    for unit in ("", "1", "2", "3"):
        fields = {"user_id": unit, "experiment_overrides": {"ranking_test": wanted}}
        reply = await shop.slate("tested", limit=40, **fields)
        assert assigned(reply) == (wanted, OVERRIDE)
        assert is_cheap(reply) == (wanted == "cheap")


async def test_pages_keep_their_variant(shop: Shop) -> None:
    """Later pages are made by the variant of the first, which is told on each."""
    for user in map(str, range(6)):
        pages = await shop.pages("tested", user_id=user, limit=9)
        assert {assigned(page) for page in pages} == {(variant(user), HASHED)}
        assert len({is_cheap(page) for page in pages}) == 1 or variant(user) != "cheap"
        assert len(pages) > 2


async def test_placements_without_experiments_have_no_assignments(shop: Shop) -> None:
    """Where there is no experiment nothing is assigned, and none can be chosen."""
    assert not (await shop.slate("home", user_id="1")).assignments
    refusal = await shop.refused("home", experiment_overrides={"ranking_test": "cheap"})
    assert list(refusal.wrong) == ["experiment_overrides['ranking_test']"]


async def test_overrides_are_refused_unless_allowed(shop: Shop, redis_8: Endpoint) -> None:
    """A server that does not allow it refuses the choice of a variant, and answers without one."""
    async with running(settings(redis_8.url), SPEC) as app, Caller(app.address) as caller:
        other = Shop(app, caller, shop.rows)
        refusal = await other.refused("tested", experiment_overrides={"ranking_test": "cheap"})
        assert (refusal.code.name, list(refusal.wrong)) == ("INVALID_ARGUMENT", ["experiment_overrides"])
        assert assigned(await other.slate("tested")) == ("control", DEFAULT)
