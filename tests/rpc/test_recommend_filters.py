"""Who may come: filters, exclusions, seeds, seen and unavailable items, against a model in plain Python."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsvc.pb import serving_pb2 as pb
from tests.rpc.shop import (
    AVAILABLE,
    CATEGORIES,
    COUNT,
    DAY,
    GOODS,
    IDS,
    START,
    TAGS,
    USERS,
    Shop,
    all_of,
    any_of,
    between,
    end,
    flaws,
    is_present,
    is_true,
    names,
    none_of,
    who_may_come,
)
from tests.rpc.shop_definitions import CHEAP

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILTERS: Final = {
    "any_of": any_of("goods:category", "book", "game", "nowhere"),
    "any_of list": any_of("goods:tags", "red", "new"),
    "all_of": all_of("goods:category", "film"),
    "all_of list": all_of("goods:tags", "red", "blue"),
    "none_of": none_of("goods:category", "book"),
    "none_of list": none_of("goods:tags", "red"),
    "numbers": any_of("goods:stock", 1, 3),
    "min": between("goods:price", end(30.0)),
    "min out": between("goods:price", end(30.0, exclusive=True)),
    "max": between("goods:price", None, end(30.0)),
    "both out": between("goods:stock", end(1, exclusive=True), end(4, exclusive=True)),
    "times": between("goods:created_at", end(START - 20 * DAY, time=True), end(START - 3 * DAY, time=True)),
    "whole number for a float": between("goods:price", end(30)),
    "is_true": is_true("goods:fragile"),
    "is_present": is_present("goods:price"),
    "bools": any_of("goods:fragile", *[False]),
}


async def test_the_category_is_filtered_by_its_role(shop: Shop) -> None:
    """`category` is whatever the catalogue calls so; where it has none, it is no feature."""
    by_role = await shop.slate("plain", limit=500, filters=[any_of("category", "book")])
    assert set(names(by_role)) == {n for n in AVAILABLE if GOODS[n]["category"] == "book"}
    assert by_role.items
    refusal = await shop.refused("plain", filters=[any_of("category", 1)])
    assert list(refusal.wrong) == ["filters[0].any_of[0]"]


@pytest.mark.parametrize("wanted", FILTERS.values(), ids=list(FILTERS))
async def test_filters_hold_for_every_item_and_lose_none(shop: Shop, wanted: pb.Filter) -> None:
    """A slate has all items that pass a filter and may come, whatever the sources found, and no other."""
    reply = await shop.slate(user_id="1", limit=500, filters=[wanted])
    assert sorted(names(reply)) == sorted(who_may_come("1", [wanted]))
    assert 0 < len(reply.items) < len(AVAILABLE)
    assert not flaws(reply)


async def test_a_placements_filters_cannot_be_loosened(shop: Shop) -> None:
    """What a request filters by comes on top of the placement's own filters."""
    dear = between("goods:price", end(CHEAP - 10))
    reply = await shop.slate("cheap", user_id="2", limit=500, filters=[dear])
    assert sorted(names(reply)) == sorted(who_may_come("2", [dear, between("goods:price", None, end(CHEAP))]))
    assert (await shop.slate("cheap", filters=[between("goods:price", end(CHEAP + 1))])).items == []


@pytest.mark.parametrize("user", ["", "404", *USERS])
async def test_a_full_slate_has_all_that_may_come(shop: Shop, user: str) -> None:
    """Seen items, by list and by pair, and those not available never come, all others do, for any kind of user."""
    reply = await shop.slate(user_id=user, limit=500)
    assert sorted(names(reply)) == sorted(who_may_come(user))
    assert not flaws(reply)


@pytest.mark.parametrize("limit", [0, 1, 7, 20, 48, 49, 53])
async def test_slates_are_full_while_enough_passes(shop: Shop, limit: int) -> None:
    """A slate has as many items as asked for, or all that may come; without a limit as many as the placement says."""
    reply = await shop.slate(user_id="1", limit=limit)
    assert len(reply.items) == min(limit or 10, len(who_may_come("1")))
    assert [item.rank for item in reply.items] == list(range(1, len(reply.items) + 1))


async def test_a_slate_whose_sources_find_seen_items_only_is_filled(shop: Shop) -> None:
    """Where all candidates turn out to be seen, by pair, the slate is filled by those that were not looked at."""
    reply = await shop.slate(user_id="4", limit=5)
    assert len(reply.items) == 5
    assert set(names(reply)) <= who_may_come("4")


async def test_allow_seen_lets_seen_items_come(shop: Shop) -> None:
    """A placement that allows seen items leaves none out."""
    assert set(names(await shop.slate("repeating", user_id="1", limit=500))) == AVAILABLE


async def test_unknown_exclusions_and_seeds_are_ignored(shop: Shop) -> None:
    """Excluded and seed items do not come, and ids that nobody knows change nothing."""
    reply = await shop.slate(
        user_id="1", limit=500, exclude_item_ids=["i20", "nope"], seed_item_ids=["i21", "no", "i21"]
    )
    assert sorted(names(reply)) == sorted(who_may_come("1", exclude=["i20"], seeds=["i21"]))


async def test_the_bounds_are_allowed(shop: Shop) -> None:
    """32 filters of 1,000 values, 10,000 exclusions, 100 seeds and 500 items may be asked for."""
    wanted = [any_of("goods:stock", *range(1_000))] * 32
    excluded = [f"x{i}" for i in range(9_999)] + ["i00"]
    reply = await shop.slate(limit=500, filters=wanted, exclude_item_ids=excluded, seed_item_ids=IDS + ["s"] * 40)
    assert names(reply) == []
    reply = await shop.slate(limit=500, filters=wanted, exclude_item_ids=excluded, seed_item_ids=["i01"] * 100)
    assert set(names(reply)) == who_may_come(exclude=["i00"], seeds=["i01"])


async def test_caps_hold_while_they_can(shop: Shop) -> None:
    """No category has more than its cap in a slate that can be filled otherwise; items without one are not capped."""
    reply = await shop.slate("capped", limit=12)
    categories = [GOODS[name]["category"] for name in names(reply)]
    assert len(categories) == 12
    assert all(categories.count(name) <= 3 for name in CATEGORIES if name is not None)
    assert not reply.relaxed
    only = await shop.slate("capped", limit=12, filters=[any_of("goods:category", "book")])
    assert len(only.items) == 12
    assert list(only.relaxed) == [pb.SLATE_RULE_CAPS]


def filters() -> st.SearchStrategy[pb.Filter]:
    """Draw a filter that is right."""
    texts = [("goods:category", [c for c in CATEGORIES if c]), ("goods:tags", list(TAGS))]
    lists = st.one_of(
        *(st.tuples(st.just(name), st.lists(st.sampled_from(of), min_size=1, max_size=3)) for name, of in texts),
        st.tuples(st.just("goods:stock"), st.lists(st.integers(-1, 6), min_size=1, max_size=3)),
        st.tuples(st.just("goods:fragile"), st.lists(st.booleans(), min_size=1, max_size=2)),
    )
    named = st.sampled_from([any_of, all_of, none_of])
    chosen = st.builds(lambda make, of: make(of[0], *of[1]), named, lists)
    flags = st.sampled_from([is_true("goods:fragile"), *(is_present(f"goods:{n}") for n in ("price", "tags", "stock"))])
    return st.one_of(chosen, flags, ranges("goods:price", 1.5), ranges("goods:stock", 1), ranges("goods:created_at", 0))


def ranges(feature: str, step: float) -> st.SearchStrategy[pb.Filter]:
    """Draw a range with one end or two; ``step`` 0: of days ago."""

    def make(ks: list[int], outs: tuple[bool, bool], which: int) -> pb.Filter:
        points = [k * step if step else START - k * DAY for k in ks]
        low, high = (end(at, exclusive=out, time=not step) for at, out in zip(sorted(points), outs, strict=True))
        return between(feature, None if which == 1 else low, None if which == 2 else high)

    ks = st.lists(st.integers(0, COUNT if step != 1 else 6), min_size=2, max_size=2)
    return st.builds(make, ks, st.tuples(st.booleans(), st.booleans()), st.integers(0, 2))


@settings(max_examples=150)
@given(
    user=st.sampled_from(["", "404", *USERS]),
    wanted=st.lists(filters(), max_size=3),
    without=st.tuples(
        st.lists(st.sampled_from([*IDS, "nope"]), max_size=30), st.lists(st.sampled_from([*IDS, "nope"]), max_size=3)
    ),
    limit=st.integers(1, 70),
)
async def test_no_slate_has_what_may_not_come(
    shop: Shop, user: str, wanted: list[pb.Filter], without: tuple[list[str], list[str]], limit: int
) -> None:
    """Whatever is asked: only items that may come do, none twice, and as many as were asked for or all."""
    exclude, seeds = without
    fields: dict[str, Any] = {"filters": wanted, "exclude_item_ids": exclude, "seed_item_ids": seeds, "limit": limit}
    reply = await shop.slate(user_id=user, **fields)
    may_come = who_may_come(user, wanted, exclude, seeds)
    came = names(reply)
    assert set(came) <= may_come
    assert len(set(came)) == len(came) == min(limit, len(may_come))
    assert not flaws(reply)
